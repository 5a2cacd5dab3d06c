"""Real sessions on a real protocol: each state ends, once, whatever happens; mails pass whole; nothing stays."""

import gc
import weakref
from enum import Enum

import pytest

from mailproxy.downstream.surroundings import Surroundings
from mailproxy.errors import ConnectionLost, RefusedSession
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3 import POP3Session
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.pop3 import POP3Capabilities
from mailproxy.wire.smtp import Extensions
from tests.downstream.bench import CLOSE, FLOOD, FOREVER, MOST_HELD
from tests.downstream.test_protocol_tls import Creator, server_context


def smtp():
    return SMTPSession(SMTPPolicy("proxy.test", encryption=Encryption.OFFERED))


def pop3():
    return POP3Session(POP3Policy(encryption=Encryption.OFFERED))


def extensions():
    return Extensions(b"mail.test", {"PIPELINING": "", "8BITMIME": ""})


SMTP_STATES = {
    "greeted": [],
    "in the middle of a line": [b"EHL"],
    "logging in": [b"EHLO x\r\n"],
    "logged in": [b"EHLO x\r\n", extensions],
    "in a transaction": [b"EHLO x\r\n", extensions, b"MAIL FROM:<a@b>\r\n", "250 ok\r\n"],
    "waiting for a reply": [b"EHLO x\r\n", extensions, b"MAIL FROM:<a@b>\r\n"],
    "waiting for 354": [b"EHLO x\r\n", extensions, b"MAIL FROM:<a@b>\r\n", "250 ok\r\n", b"DATA\r\n"],
    "in mail data": [
        b"EHLO x\r\n",
        extensions,
        b"MAIL FROM:<a@b>\r\nDATA\r\n",
        "250 a\r\n354 b\r\n",
        b"Subject: x\r\n",
    ],
    "behind the dot": [b"EHLO x\r\n", extensions, b"MAIL FROM:<a@b>\r\nDATA\r\n", "250 a\r\n354 b\r\n", b".\r\n"],
    "resetting": [b"EHLO x\r\n", extensions, b"MAIL FROM:<a@b>\r\n", "250 ok\r\n", b"RSET\r\n"],
    "swallowing": [b"BDAT 100\r\nabc"],
    "closing": [b"\x16\x03\x01"],
    "refused": [b"EHLO x\r\n", RefusedSession("no")],
    "in the handshake": [b"EHLO x\r\n", extensions, b"STARTTLS\r\n"],
}
POP3_STATES = {
    "logging in": [],
    "logged in": [lambda: POP3Capabilities({}, logged_in=True)],
    "waiting for a status": [lambda: POP3Capabilities({}, logged_in=True), b"RETR 1\r\n"],
    "in a body": [lambda: POP3Capabilities({}, logged_in=True), b"RETR 1\r\n", "+OK\r\nSubject: x\r\n"],
    "quitting": [lambda: POP3Capabilities({}, logged_in=True), b"QUIT\r\n"],
    "refused": [RefusedSession("no")],
    "in the handshake": [lambda: POP3Capabilities({}, logged_in=True), b"STLS\r\n"],
}
STATES = [(smtp, name) for name in SMTP_STATES] + [(pop3, name) for name in POP3_STATES]


def brought_to(benches, make, name):
    """A session in that state, its client and, if there is one, its server."""
    bench = benches(make, around={"encryption": Encryption.OFFERED, "server_tls": Creator(server_context())})
    client, protocol = bench.connect()
    server = None
    for step in (SMTP_STATES if make is smtp else POP3_STATES)[name]:
        if isinstance(step, bytes):
            client.say(step)
        elif isinstance(step, str):
            server.say(step.encode())
        elif isinstance(step, Exception):
            bench.openings[-1].errback(step)
        else:
            server, _ = bench.let_in(step())
        bench.run()
        client.hear()
    return bench, client, server, protocol


def vanish(bench, client, server, protocol):
    client.abort()
    protocol.transport.resumeProducing()


def half_close(bench, client, server, protocol):
    client.shutdown()


def silence(bench, client, server, protocol):
    pass


def server_vanishes(bench, client, server, protocol):
    if server is not None:
        server.abort()
    elif bench.openings and not bench.openings[0].called:
        bench.openings[0].errback(ConnectionLost("gone"))


def stop(bench, client, server, protocol):
    bench.factory.stop()


def drain(bench, client, server, protocol):
    bench.factory.drain()


def cut(bench, client, server, protocol):
    bench.factory.drain()
    bench.factory.cut(last=False)
    bench.run()
    bench.factory.cut(last=True)
    bench.run(CLOSE)
    assert not bench.factory.sessions


@pytest.mark.parametrize(("make", "name"), STATES)
@pytest.mark.parametrize("event", [vanish, half_close, silence, server_vanishes, stop, drain, cut])
def test_every_session_ends_once_whatever_happens_in_whatever_state(benches, make, name, event):
    bench, client, server, protocol = brought_to(benches, make, name)
    event(bench, client, server, protocol)
    bench.run()
    if (
        event is vanish
        and not (make is smtp and name == "behind the dot")
        and not (make is pop3 and name == "quitting")
    ):
        assert not bench.factory.sessions
        assert not bench.openings or bench.openings[0].called
    if bench.openings and not bench.openings[0].called:
        bench.openings[0].errback(RefusedSession("late, as the connector would be"))
    bench.run(FOREVER)
    assert sum(bench.outcomes().values()) == 1
    assert not bench.factory.sessions
    assert not bench.clock.getDelayedCalls()
    assert not bench.network.transports
    assert not bench.tracebacks()
    if server is not None and name in ("in mail data", "waiting for 354"):
        assert b"\r\n.\r\n" not in (server.hear() if not server.incoming.reset else b"")


def test_a_whole_mail_passes_at_the_pace_of_a_slow_server(benches):
    bench, client, server, _ = brought_to(benches, smtp, "in mail data")
    server.hear()
    sent, heard = 0, b""
    data = FLOOD + b"\r\n.\r\n"
    while len(heard) < len(data):
        sent += client.send(data[sent:])
        bench.run(1)
        heard += server.receive(10000)
        assert sent - len(heard) <= MOST_HELD
    assert heard == data
    server.say(b"250 queued\r\n")
    client.say(b"QUIT\r\n")
    bench.run()
    assert client.hear() == b"250 queued\r\n221 2.0.0 proxy.test closing connection\r\n"
    assert bench.outcomes() == {"quit": 1}


def test_a_whole_mail_is_collected_at_the_pace_of_a_slow_client(benches):
    bench, client, server, _ = brought_to(benches, pop3, "in a body")
    client.hear()
    sent, heard = 0, b""
    data = FLOOD + b"\r\n.\r\n"
    while len(heard) < len(data):
        sent += server.send(data[sent:])
        bench.run(1)
        heard += client.receive(10000)
        assert sent - len(heard) <= MOST_HELD
    assert heard == data


MAIL = b"Subject: sentinel\r\n\r\nsentinel\nsentinel\r\n"


@pytest.mark.parametrize("end", [b".\r\n", b"\0\r\n.\r\n", b"sentinel"])
def test_no_line_of_a_mail_is_logged(benches, end):
    bench, client, server, _ = brought_to(benches, smtp, "in mail data")
    client.say(MAIL + end)
    bench.run()
    if end == b".\r\n":
        server.say(b"250 queued\r\n")
    bench.run(FOREVER)
    assert bench.outcomes()
    assert not any("sentinel" in repr(event) for event in bench.events)


@pytest.mark.parametrize("end", [b".\r\n+OK forged\r\n", b"sentinel"])
def test_no_line_of_a_mail_that_is_collected_is_logged(benches, end):
    bench, _, server, _ = brought_to(benches, pop3, "in a body")
    server.say(MAIL + end)
    bench.run(FOREVER)
    assert bench.outcomes()
    assert not any("sentinel" in repr(event) for event in bench.events)


def test_refcounting_alone_frees_a_session_that_is_over(benches):
    for make, name in [(smtp, "in mail data"), (smtp, "logged in"), (pop3, "in a body")]:
        gc.collect()
        gc.disable()
        try:
            bench, client, server, protocol = brought_to(benches, make, name)
            stream = protocol._upstream
            refs = [weakref.ref(each) for each in (protocol, protocol._session, stream, protocol._to_downstream)]
            bench.protocols.clear()
            del protocol, stream
            assert all(ref() is not None for ref in refs)
            server.abort()
            client.abort()
            bench.run(FOREVER)
            bench.assert_clean()
            bench.events.clear()
            bench.taken_back.clear()
            assert [ref() for ref in refs] == [None] * 4
        finally:
            gc.enable()


@pytest.mark.parametrize(("make", "name"), [(smtp, "in a transaction"), (pop3, "logged in")])
def test_what_belongs_to_a_session_has_no_dictionary_that_is_not_shared(benches, make, name):
    """Python shares the keys of up to 30 attributes; one more takes 1.6 KiB of each session."""
    _, _, _, protocol = brought_to(benches, make, name)
    with_dictionary = {type(each).__name__: len(vars(each)) for each in parts_of(protocol) if hasattr(each, "__dict__")}
    assert with_dictionary.keys() == {"SessionProtocol", type(protocol._session).__name__}
    assert max(with_dictionary.values()) <= 30


def parts_of(protocol):
    """The objects of a session, found from its protocol on; what its listener has is left out."""
    packages = (
        "mailproxy.downstream.",
        "mailproxy.session.",
        "mailproxy.wire.",
        "mailproxy.relay",
        "mailproxy.deadline",
    )
    found, left = {}, [protocol]
    while left:
        for each in gc.get_referents(left.pop()):
            ours = type(each).__module__.startswith(packages) and not isinstance(each, Enum | Surroundings)
            if id(each) not in found and (ours or isinstance(each, list | tuple)):
                found[id(each)] = each
                left.append(each)
    parts = [protocol, *found.values()]
    assert len(parts) > 15
    return parts
