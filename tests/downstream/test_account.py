"""What the owner of a session tells the ledger, and what waits for it."""

import json
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from mailproxy.downstream.surroundings import Book
from mailproxy.ledger.keyed import NO_KEY, AddressKey
from mailproxy.sandbox.pki import Authority
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3 import POP3Session
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.pop3 import POP3Capabilities
from mailproxy.wire.proxyprotocol import Addresses
from mailproxy.wire.smtp import Extensions
from tests.downstream.test_protocol_tls import Creator, TLSClient, connect, surroundings

NOON = 1_795_262_400.0
OFFER = Extensions(b"mail.test", {})
KEY = AddressKey(b"0123456789abcdef")


class Ledger:
    """Takes records, and says when they are on disk when a test does."""

    def __init__(self, *, durable=False):
        self.records = []
        self.waiting = [] if durable else None
        self.open = True
        self.bench = None

    def write(self, fields):
        self.records.append(json.loads(b"{" + fields + b"}"))
        if self.waiting is None:
            return None
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def book(self, key=NO_KEY):
        return Book(self.write, lambda: self.open, lambda: NOON + self.bench.clock.seconds(), "mail", "acme", key)

    @property
    def one(self):
        (record,) = self.records
        return record


def smtp(benches, ledger, *, key=NO_KEY, around=(), encryption=Encryption.PLAINTEXT):
    def make():
        return SMTPSession(
            SMTPPolicy("proxy.test", encryption=encryption), lambda: None, may_record=lambda: ledger.open
        )

    ledger.bench = benches(make, around={**dict(around), "book": ledger.book(key)})
    return ledger.bench


def pop3(benches, ledger):
    ledger.bench = benches(
        lambda: POP3Session(POP3Policy(), may_record=lambda: ledger.open), around={"book": ledger.book()}
    )
    return ledger.bench


def ask(bench, asker, question, answerer, answer):
    asker.say(question)
    bench.run()
    answerer.hear()
    answerer.say(answer)
    bench.run()
    return asker.hear()


def send(bench, client, server):
    """A message, but for the reply to it."""
    for question in (b"RCPT TO:<b@y>", b"DATA"):
        ask(bench, client, question + b"\r\n", server, b"354 ok\r\n" if question == b"DATA" else b"250 ok\r\n")
    client.say(b"Message-ID: <1@x>\r\n\r\nhello\r\n.\r\n")
    bench.run()
    server.hear()


def begin(bench, *, capabilities=OFFER, words=b"MAIL FROM:<a@x>\r\n"):
    client, protocol = bench.connect()
    client.say(words)
    bench.run()
    client.hear()
    server, stream = bench.let_in(capabilities)
    return client, server, protocol, stream


def test_who_from_where_and_with_whom(benches):
    ledger = Ledger()
    bench = smtp(benches, ledger)
    bench.run(5.0)
    client, server, protocol, stream = begin(bench)
    server.say(b"250 ok\r\n")
    bench.run(2.0)
    send(bench, client, server)
    server.say(b"250 2.0.0 Ok: queued as 4bN1Xk2J9Wz\r\n")
    bench.run()
    record = ledger.one
    assert (record["begin"], record["end"]) == ("2026-11-21T12:00:05.000Z", "2026-11-21T12:00:07.000Z")
    assert (record["tenant"], record["destination"]) == ("acme", "mail")
    assert record["session"] == protocol._log.id
    assert record["client_address"] == "127.0.0.1"
    assert record["client_port"] == protocol.transport.getPeer().port
    assert record["upstream_host"] == "mail.test"
    assert record["upstream_address"] == "127.0.0.1"
    assert record["upstream_port"] == stream.transport.getPeer().port
    assert record["client_tls"] is record["upstream_tls"] is record["client_certificate"] is None
    assert record["outcome"] == "accepted"
    assert (record["reverse_path"], record["message_id"]) == ("a@x", "<1@x>")
    assert record["forward_paths"] == [{"path": "b@y", "code": 250, "text": "ok"}]
    assert (record["reply_by"], record["queue_id"]) == ("upstream", "4bN1Xk2J9Wz")


def test_the_client_is_where_a_header_says_it_is(benches):
    ledger = Ledger()
    bench = smtp(benches, ledger)
    client, protocol = bench.connect()
    protocol.addresses = Addresses("203.0.113.9", 40_000, "192.0.2.1", 25)
    client.say(b"MAIL FROM:<a@x>\r\n")
    bench.run()
    server, _ = bench.let_in(OFFER)
    server.say(b"550 no\r\n")
    bench.run()
    assert (ledger.one["client_address"], ledger.one["client_port"]) == ("203.0.113.9", 40_000)


def test_what_the_session_leaves_open_is_told_at_its_end(benches):
    ledger = Ledger()
    bench = smtp(benches, ledger)
    _, server, _, _ = begin(bench)
    server.say(b"250 ok\r\n")
    bench.run()
    bench.factory.stop()
    bench.run()
    assert (ledger.one["outcome"], ledger.one["reply_by"]) == ("aborted", None)


def test_a_mail_server_that_was_not_there_is_not_named(benches):
    ledger = Ledger()
    bench = smtp(benches, ledger)
    client, _ = bench.connect()
    client.say(b"MAIL FROM:<a@x>\r\n")
    bench.run()
    client.abort()
    bench.run()
    assert ledger.one["outcome"] == "aborted"
    assert ledger.one["upstream_host"] is None
    assert ledger.one["client_address"] == "127.0.0.1"


def test_a_mistake_in_the_ledger_ends_the_session_all_the_same(benches, logged_failures):
    ledger = Ledger()
    bench = smtp(benches, ledger)
    client, server, protocol, _ = begin(bench)
    protocol._session.account = lambda: [object()]
    client.abort()
    bench.run()
    assert server.over
    assert len(bench.tracebacks()) == 1


def test_hidden_addresses(benches):
    ledger = Ledger()
    bench = smtp(benches, ledger, key=KEY)
    client, server, _, _ = begin(bench)
    server.say(b"250 ok\r\n")
    bench.run()
    ask(bench, client, b"RCPT TO:<B@y>\r\n", server, b"550 <b@y>: no\r\n")
    ask(bench, client, b"RSET\r\n", server, b"250 ok\r\n")
    assert ledger.one["reverse_path"] == KEY.hide("a@x")
    assert ledger.one["forward_paths"] == [{"path": KEY.hide("b@y"), "code": 550, "text": f"<{KEY.hide('b@y')}>: no"}]


@cache
def contexts():
    """A server's that wants certificates, and a client's that has one."""
    issued = Authority.create().issue("robot.test")
    server, client = SSL.Context(SSL.TLS_SERVER_METHOD), SSL.Context(SSL.TLS_CLIENT_METHOD)
    for context in (server, client):
        context.use_certificate(x509.load_pem_x509_certificate(issued.certificate_pem))
        context.use_privatekey(load_pem_private_key(issued.key_pem, None))
    server.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    return server, client


class CertifiedClient(TLSClient):
    def start(self):
        self.transport.startTLS(Creator(contexts()[1]))
        self.transport.write(self.words)


def secured(benches, ledger, words):
    around = surroundings(Encryption.OFFERED, Creator(contexts()[0]))
    bench = smtp(benches, ledger, around=around, encryption=Encryption.OFFERED)
    client = words(b"MAIL FROM:<a@x>\r\n", go_ahead=b"220 2.0.0 Ready to start TLS\r\n", first=b"STARTTLS\r\n")
    connect(bench, client)
    client.transport.abortConnection()
    bench.run()
    return ledger.one


def test_tls_with_the_client(benches):
    record = secured(benches, Ledger(), TLSClient)
    assert record["client_tls"].startswith("TLSv1.")
    assert record["client_cipher"]
    assert record["client_certificate"] is None


def test_the_certificate_of_the_client(benches):
    record = secured(benches, Ledger(), CertifiedClient)
    assert "robot.test" in record["client_certificate"]


def test_tls_that_begins_behind_the_login_of_pop3(benches):
    ledger = Ledger()
    policy = POP3Policy(encryption=Encryption.OFFERED)
    around = {**surroundings(Encryption.OFFERED), "book": ledger.book()}
    bench = ledger.bench = benches(lambda: POP3Session(policy, may_record=lambda: ledger.open), around=around)
    client = connect(bench, TLSClient(go_ahead=b"+OK begin TLS\r\n", first=b"STLS\r\n"))
    _, stream = bench.let_in(POP3Capabilities({}, logged_in=True))
    client.go_ahead = b"+OK ready\r\n+OK begin TLS\r\n"
    bench.run()
    assert stream.transport is not None
    client.transport.abortConnection()
    bench.run()
    assert ledger.one["client_tls"].startswith("TLSv1.")


# What waits until it is on disk


def final(benches, ledger, reply=b"250 taken\r\n"):
    bench = smtp(benches, ledger)
    client, server, protocol, _ = begin(bench)
    server.say(b"250 ok\r\n")
    bench.run()
    send(bench, client, server)
    client.hear()
    server.say(reply)
    bench.run()
    return bench, client, server, protocol


def test_a_client_hears_that_its_message_is_taken_when_that_is_on_disk(benches):
    ledger = Ledger(durable=True)
    bench, client, _, _ = final(benches, ledger)
    assert ledger.one["outcome"] == "accepted"
    assert client.hear() == b""
    ledger.waiting[0].callback(None)
    bench.run()
    assert client.hear() == b"250 taken\r\n"


def test_what_the_client_says_meanwhile_waits(benches):
    ledger = Ledger(durable=True)
    bench, client, _, protocol = final(benches, ledger)
    assert not protocol.transport.reading
    client.say(b"NOOP\r\nQUIT\r\n")
    bench.run()
    assert client.hear() == b""
    ledger.waiting[0].callback(None)
    bench.run()
    assert client.hear().startswith(b"250 taken\r\n250 2.0.0 OK\r\n221 ")
    assert bench.outcomes() == {"quit": 1}


def test_nobody_waits_for_a_refusal(benches):
    ledger = Ledger(durable=True)
    _, client, _, _ = final(benches, ledger, b"554 no\r\n")
    assert client.hear() == b"554 no\r\n"


def test_a_record_that_is_on_disk_already_holds_nobody_up(benches):
    ledger = Ledger(durable=True)
    write = ledger.write
    ledger.write = lambda fields: write(fields).callback(None) or ledger.waiting[-1]
    _, client, _, _ = final(benches, ledger)
    assert client.hear() == b"250 taken\r\n"


@pytest.mark.parametrize("end", ["client", "server", "drain", "stop"])
def test_whoever_ends_meanwhile_it_comes_to_an_end(benches, end):
    ledger = Ledger(durable=True)
    bench, client, server, _ = final(benches, ledger)
    {"client": client.abort, "server": server.abort, "drain": bench.factory.drain, "stop": bench.factory.stop}[end]()
    bench.run()
    ledger.waiting[0].callback(None)
    bench.run()
    if end == "drain":
        assert client.hear() == b"250 taken\r\n421 4.3.2 Service shutting down\r\n"
    elif end == "server":
        assert client.hear() == b"250 taken\r\n"
        client.abort()
        bench.run()
    bench.run(10.0)
    assert bench.counters.active == 0
    assert bench.counters.events["message"] == 1
    assert len(ledger.records) == 1


def test_a_ledger_that_cannot_be_written_keeps_mail_from_beginning(benches):
    ledger = Ledger()
    ledger.open = False
    bench = smtp(benches, ledger)
    client, _ = bench.connect()
    client.hear()
    client.say(b"MAIL FROM:<a@x>\r\n")
    bench.run()
    assert client.hear() == b"451 4.3.0 Audit ledger not available, try later\r\n"
    assert bench.openings == []
    assert ledger.records == []


# POP3


def test_a_session_of_pop3_is_told_at_its_end(benches):
    ledger = Ledger(durable=True)
    bench = pop3(benches, ledger)
    client, server, _, _ = begin(bench, capabilities=POP3Capabilities({}, logged_in=True), words=b"")
    bench.run(3.0)
    ask(bench, client, b"DELE 1\r\n", server, b"+OK\r\n")
    assert ask(bench, client, b"QUIT\r\n", server, b"+OK bye\r\n") == b"+OK bye\r\n"
    record = ledger.one
    assert (record["kind"], record["outcome"], record["deleted"], record["committed"]) == ("pop3", "quit", 1, True)
    assert (record["begin"], record["end"]) == ("2026-11-21T12:00:00.000Z", "2026-11-21T12:00:03.000Z")
    assert record["user"] is None
    assert record["upstream_host"] == "mail.test"


def test_a_client_that_was_turned_away_is_not_told_of(benches):
    ledger = Ledger()
    ledger.open = False
    bench = pop3(benches, ledger)
    client, _ = bench.connect()
    assert client.hear() == b"-ERR [SYS/TEMP] audit ledger not available, try later\r\n"
    assert ledger.records == []
    assert bench.outcomes() == {"ledger_unavailable": 1}
