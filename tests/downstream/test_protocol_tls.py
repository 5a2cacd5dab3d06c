"""TLS with mail clients, from the beginning or by command: nothing slips through the switch, every end is bounded."""

import gc
import weakref
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Protocol
from twisted.logger import LogLevel
from zope.interface import implementer

from mailproxy.downstream.rooms import MAX_TURNED_AWAY, Rooms
from mailproxy.sandbox.pki import Authority
from mailproxy.session.actions import AbortDownstream, CloseDownstream, SendDownstream, StartTLS, Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from tests.downstream.bench import (
    CLOSE,
    CROWDED,
    FAREWELL,
    FLOOD,
    FOREVER,
    HANDSHAKE,
    MOST_HELD,
    OVERLOAD,
    SHUTDOWN,
    FakeSession,
)
from tests.downstream.bench import pipe as plain_pipe
from tests.support.transports import HIGH_MARK


@cache
def server_context():
    issued = Authority.create().issue("proxy.test")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(x509.load_pem_x509_certificate(issued.certificate_pem))
    context.use_privatekey(load_pem_private_key(issued.key_pem, None))
    return context


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class Creator:
    def __init__(self, context):
        self._context = context

    def serverConnectionForTLS(self, tls):
        return SSL.Connection(self._context, None)

    clientConnectionForTLS = serverConnectionForTLS


@implementer(IOpenSSLServerConnectionCreator)
class Broken:
    def serverConnectionForTLS(self, tls):
        raise ZeroDivisionError


def surroundings(encryption, creator=None):
    return {"encryption": encryption, "server_tls": creator or Creator(server_context())}


IMPLICIT = {"around": surroundings(Encryption.IMPLICIT)}
OFFERED = {"around": surroundings(Encryption.OFFERED)}


def smtp():
    return SMTPSession(SMTPPolicy("proxy.test", encryption=Encryption.IMPLICIT))


def pipe(**answers):
    """A session that passes everything on, and changes to TLS where a test says so."""
    secured = {"downstream_secured": list}
    return plain_pipe(**secured | answers)


def upgrading(words=b"220 go\r\n", **answers):
    """A session that changes to TLS at STARTTLS, and else answers every chunk with the number of its octets."""

    def hear(chunk):
        if chunk == b"STARTTLS\r\n":
            session.wait(Waiting.DOWNSTREAM_HANDSHAKE)
            return [SendDownstream(words), StartTLS()]
        if chunk == b"QUIT\r\n":
            return [SendDownstream(b"221 bye\r\n"), CloseDownstream("quit")]
        return [SendDownstream(b"250 %d\r\n" % len(chunk))]

    session = FakeSession(
        **{
            "receive_downstream": hear,
            "downstream_secured": lambda: session.wait(Waiting.DOWNSTREAM_COMMAND) or [],
            "downstream_lost": lambda: [CloseDownstream("downstream_lost")],
            "expired": lambda: [CloseDownstream("downstream_timeout")],
        }
        | answers
    )
    return session


class TLSClient(Protocol):
    """Starts TLS at once, or when it has got what it waits for."""

    def __init__(self, words=b"", *, go_ahead=b"", first=b""):
        self.words = words
        self.go_ahead = go_ahead
        self.first = first
        self.received = b""
        self.reason = None

    def connectionMade(self):
        self.transport.write(self.first)
        if not self.go_ahead:
            self.start()

    def start(self):
        self.transport.startTLS(Creator(SSL.Context(SSL.TLS_CLIENT_METHOD)))
        self.transport.write(self.words)

    def dataReceived(self, data):
        self.received += data
        if self.go_ahead and self.received.endswith(self.go_ahead):
            self.go_ahead, self.received = b"", b""
            self.start()

    def connectionLost(self, reason):
        self.reason = reason


def connect(bench, client):
    protocol = bench.factory.buildProtocol(None)
    bench.protocols.append(protocol)
    bench.network.join(client, protocol, as_tcp=True)
    bench.run()
    return client


def begin(bench):
    """A client by hand that says what it wants."""
    protocol = bench.factory.buildProtocol(None)
    bench.protocols.append(protocol)
    peer = bench.network.plug(protocol, as_tcp=True)
    bench.run()
    return peer, protocol


def starttls(words=b"", go_ahead=b"220 go\r\n"):
    return TLSClient(words, go_ahead=go_ahead, first=b"STARTTLS\r\n")


def failures(bench):
    return [line.partition("no TLS with the client: ")[2] for line in bench.lines() if "no TLS with" in line]


# TLS from the beginning


def test_a_client_behind_tls_is_greeted_after_the_handshake(benches):
    bench = benches(smtp, **IMPLICIT)
    client = connect(bench, TLSClient(b"NOOP\r\n"))
    assert client.received == b"220 proxy.test ESMTP mailproxy\r\n250 2.0.0 OK\r\n"
    client.transport.abortConnection()
    bench.run()
    assert bench.outcomes() == {"downstream_lost": 1}


@pytest.mark.parametrize("words", [b"", b"NOOP\r\n", b"half a comm"])
def test_a_client_that_says_goodbye_to_tls_has_closed_and_not_been_lost(benches, words):
    bench = benches(smtp, **IMPLICIT)
    client = connect(bench, TLSClient(words))
    client.transport.loseConnection()
    bench.run()
    assert bench.outcomes() == {"downstream_closed": 1}
    assert not bench.tracebacks()
    assert not bench.clock.getDelayedCalls()


def test_a_goodbye_in_the_middle_of_something_is_a_loss(benches):
    session = pipe(downstream_ended=list, downstream_lost=lambda: [CloseDownstream("downstream_lost")])
    bench = benches(session, **IMPLICIT)
    connect(bench, TLSClient()).transport.loseConnection()
    bench.run()
    assert session.heard("downstream_ended") == [[]]
    assert session.heard("downstream_lost") == [[]]
    assert bench.outcomes() == {"downstream_lost": 1}
    assert not bench.tracebacks()


def test_a_client_that_never_shakes_hands_is_cut_off(benches):
    bench = benches(smtp, **IMPLICIT)
    peer, _ = begin(bench)
    bench.run(HANDSHAKE - 1)
    assert not peer.over
    assert peer.hear() == b""
    bench.run(2)
    assert peer.over
    assert bench.outcomes() == {"downstream_tls_failed": 1}
    assert failures(bench) == ["no TLS handshake within 30 s"]
    assert not bench.openings


def test_a_handshake_that_trickles_in_is_not_waited_for_any_longer(benches):
    bench = benches(smtp, **IMPLICIT)
    peer, _ = begin(bench)
    hello = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    hello.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        hello.do_handshake()
    octets = hello.bio_read(4096)
    for place in range(int(HANDSHAKE) - 1):
        peer.say(octets[place : place + 1])
        bench.run(1)
    assert not peer.over
    bench.run(1)
    assert peer.over
    assert failures(bench) == ["no TLS handshake within 30 s"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (b"EHLO there\r\n", "client does not speak TLS"),
        (b"GET / HTTP/1.1\r\n", "client speaks HTTP and not TLS"),
        (b"\0" * 100, "client does not speak TLS"),
    ],
)
def test_a_client_that_speaks_plainly_on_a_tls_port_is_cut_off_quietly(benches, words, sentence):
    bench = benches(smtp, **IMPLICIT)
    peer, _ = begin(bench)
    peer.say(words)
    bench.run()
    assert peer.over
    assert bench.outcomes() == {"downstream_tls_failed": 1}
    assert len(failures(bench)) == 1
    assert failures(bench)[0].startswith(sentence)
    assert {event["log_level"] for event in bench.events} == {LogLevel.info}
    assert not bench.tracebacks()


@pytest.mark.parametrize("leave", ["close", "abort", "shutdown"])
def test_a_client_that_leaves_in_the_handshake_is_counted(benches, leave):
    bench = benches(smtp, **IMPLICIT)
    peer, protocol = begin(bench)
    getattr(peer, leave)()
    bench.run()
    assert not protocol.transport.connected
    assert bench.outcomes() == {"downstream_tls_failed": 1}
    assert failures(bench) == ["client closed the connection"]
    assert not bench.clock.getDelayedCalls()


@pytest.mark.parametrize("word", [b"QUIT\r\n", b"GET / HTTP/1.1\r\n"])
def test_the_last_words_arrive_behind_tls_with_a_proper_goodbye(benches, word):
    bench = benches(smtp, **IMPLICIT)
    client = connect(bench, TLSClient(word))
    assert client.received.splitlines()[-1][:3] in (b"221", b"421")
    assert client.reason is not None
    assert client.reason.check(ConnectionDone)
    assert bench.clock.seconds() == 0


def test_a_client_behind_tls_that_goes_on_sending_still_gets_the_last_words(benches):
    bench = benches(smtp, **IMPLICIT)
    client = connect(bench, TLSClient(b"GET / HTTP/1.1\r\n" + b"x" * 500_000))
    bench.run()
    assert b"421 4.7.0 This is a mail server\r\n" in client.received
    assert client.reason is not None


@pytest.mark.parametrize("way", [IMPLICIT, OFFERED], ids=["implicit", "starttls"])
def test_a_client_that_does_not_answer_the_goodbye_is_not_waited_for(benches, way):
    bench = benches(upgrading, **way)
    client = connect(bench, TLSClient() if way is IMPLICIT else starttls())
    client.transport.write(b"NOOP\r\n")
    bench.run()
    protocol = bench.protocols[-1]
    client.transport.write(b"QUIT\r\n")
    client.transport.pauseProducing()
    bench.run(CLOSE - 0.1)
    assert protocol.transport.connected
    bench.run(0.2)
    assert not protocol.transport.connected
    assert bench.outcomes() == {"quit": 1}
    client.transport.abortConnection()


def test_an_aborted_client_behind_tls_sees_a_broken_transfer(benches):
    bench = benches(
        lambda: FakeSession(receive_downstream=lambda chunk: [SendDownstream(b"half"), AbortDownstream("x")]),
        **IMPLICIT,
    )
    client = connect(bench, TLSClient(b"RETR 1\r\n"))
    assert client.reason is not None
    assert not client.reason.check(ConnectionDone)
    assert bench.outcomes() == {"x": 1}


@pytest.mark.parametrize("way", [IMPLICIT, OFFERED], ids=["implicit", "starttls"])
def test_a_slow_server_slows_a_client_behind_tls(benches, way):
    session = pipe()
    bench = benches(session, **way)
    client = secured(bench, session, way)
    server, stream = bench.let_in()
    client.transport.write(FLOOD)
    heard = b""
    while len(heard) < len(FLOOD):
        bench.run()
        assert len(stream.transport.buffer) <= HIGH_MARK + 2 * bench.network.read_octets
        heard += server.receive(10000)
    assert heard == FLOOD


@pytest.mark.parametrize("way", [IMPLICIT, OFFERED], ids=["implicit", "starttls"])
def test_a_slow_client_behind_tls_slows_the_server(benches, way):
    session = pipe()
    bench = benches(session, **way)
    client = secured(bench, session, way)
    server, stream = bench.let_in()
    client.transport.pauseProducing()
    sent = 0
    while more := server.send(FLOOD[sent:]):
        sent += more
        bench.run()
    assert sent < MOST_HELD + 2 * HIGH_MARK
    assert not stream.transport.reading
    client.transport.resumeProducing()
    bench.run()
    assert client.received == FLOOD[:sent]
    assert stream.transport.reading


def secured(bench, session, way):
    """A client behind TLS, one way or the other."""
    if way is IMPLICIT:
        return connect(bench, TLSClient())
    client = connect(bench, TLSClient(go_ahead=b"220 go\r\n"))
    session.actions += [SendDownstream(b"220 go\r\n"), StartTLS()]
    bench.protocols[-1]._tell(lambda: None)
    bench.run()
    assert session.heard("downstream_secured") == [[]]
    return client


# TLS by command


def test_a_session_goes_on_behind_starttls(benches):
    session = upgrading()
    bench = benches(session, **OFFERED)
    client = connect(bench, starttls(b"EHLO again\r\n"))
    assert [name for name, *_ in session.events] == [
        "start",
        "receive_downstream",
        "downstream_secured",
        "receive_downstream",
    ]
    assert client.received == b"250 12\r\n"
    client.transport.write(b"QUIT\r\n")
    bench.run()
    assert client.received == b"250 12\r\n221 bye\r\n"
    assert client.reason.check(ConnectionDone)
    assert bench.outcomes() == {"quit": 1}
    assert bench.clock.seconds() == 0


def test_octets_behind_quit_are_not_heard_though_twisted_goes_on_delivering(benches):
    session = upgrading()
    bench = benches(session, **OFFERED)
    client = connect(bench, starttls())
    client.transport.write(b"QUIT\r\n")
    bench.run()
    client.transport.write(b"MAIL FROM:<>\r\n")
    bench.run()
    assert session.heard("receive_downstream")[-1] == [b"QUIT\r\n"]
    assert bench.outcomes() == {"quit": 1}


def test_plain_octets_behind_the_go_ahead_reach_nobody(benches):
    session = upgrading()
    bench = benches(session, **OFFERED)
    peer, _ = begin(bench)
    peer.say(b"STARTTLS\r\n")
    bench.run()
    assert peer.hear() == b"220 go\r\n"
    peer.say(b"MAIL FROM:<evil@example.com>\r\n")
    bench.run()
    assert session.heard("receive_downstream") == [[b"STARTTLS\r\n"]]
    assert not session.heard("downstream_secured")
    assert not session.heard("downstream_lost")
    assert peer.over
    assert bench.outcomes() == {"downstream_tls_failed": 1}
    assert failures(bench)[0].startswith("client does not speak TLS")


def test_octets_that_came_some_other_way_before_the_end_of_the_handshake_reach_nobody(benches):
    session = upgrading()
    bench = benches(session, **OFFERED)
    peer, protocol = begin(bench)
    peer.say(b"STARTTLS\r\n")
    bench.run()
    protocol.dataReceived(b"NOOP\r\n")
    assert session.heard("receive_downstream") == [[b"STARTTLS\r\n"]]


@pytest.mark.parametrize("hold", [True, False])
def test_plain_octets_that_nobody_has_read_yet_spoil_the_handshake(benches, hold):
    """They lie in the system, because the session, or a full server, does not let us read."""
    session = pipe()
    bench = benches(session, **OFFERED)
    peer, protocol = begin(bench)
    server, _ = bench.let_in()
    if hold:
        session.reading = False
        protocol._tell(lambda: None)
    else:
        while peer.send(FLOOD):
            bench.run()
    before = len(session.heard("receive_downstream"))
    peer.send(b"NOOP\r\n")
    bench.run()
    assert not protocol.transport.reading
    session.actions += [SendDownstream(b"220 go\r\n"), StartTLS()]
    protocol._tell(lambda: None)
    bench.run()
    assert len(session.heard("receive_downstream")) == before
    assert bench.outcomes() == {"downstream_tls_failed": 1}
    assert server.incoming.reset
    assert not session.heard("upstream_lost")


def test_reading_that_was_paused_goes_on_for_the_handshake_and_is_paused_again_behind_it(benches):
    session = pipe()
    bench = benches(session, **OFFERED)
    client = connect(bench, TLSClient(b"what follows", go_ahead=b"220 go\r\n"))
    protocol = bench.protocols[-1]
    server, _ = bench.let_in()
    while protocol.transport.reading:
        client.transport.write(b"x" * 10_000)
        bench.run()
    client.transport._socket.outgoing.data.clear()  # what was not read yet is none of the matter here
    client.transport.buffer.clear()
    session.reading = False
    session.actions += [SendDownstream(b"220 go\r\n"), StartTLS()]
    protocol._tell(lambda: None)
    bench.run()
    assert session.heard("downstream_secured") == [[]]
    assert not protocol.transport.reading
    session.reading = True
    protocol._tell(lambda: None)
    assert not protocol.transport.reading
    while server.hear():
        bench.run()
    assert protocol.transport.reading
    assert session.heard("receive_downstream")[-1] == [b"what follows"]


def test_a_client_that_has_not_read_all_of_the_plain_text_is_not_held_back_for_ever(benches):
    """The buffer is full when TLS begins; its producer must hear of it when it is empty."""
    words = b"x" * 500_000 + b"\r\n220 go\r\n"
    session = upgrading(words)
    bench = benches(session, **OFFERED)
    client = connect(bench, starttls(b"NOOP\r\n" * 5000, go_ahead=words[-10:]))
    bench.run()
    assert session.heard("downstream_secured") == [[]]
    assert client.received.startswith(b"250 ")
    client.transport.write(b"QUIT\r\n")
    bench.run()
    assert client.received.endswith(b"221 bye\r\n")
    assert bench.clock.seconds() == 0


def test_behind_tls_octets_may_follow_in_the_very_packet_that_ends_the_handshake(benches):
    session = upgrading()
    bench = benches(session, **OFFERED)
    connect(bench, starttls(b"a" * 30_000))
    assert [name for name, *_ in session.events][2] == "downstream_secured"
    assert b"".join(chunk for (chunk,) in session.heard("receive_downstream")[1:]) == b"a" * 30_000


@pytest.mark.parametrize("end", ["late", "vanishes", "nonsense"])
def test_a_handshake_by_command_that_fails_takes_the_server_along(benches, end):
    session = pipe()
    bench = benches(session, **OFFERED)
    peer, protocol = begin(bench)
    server, _ = bench.let_in()
    session.actions += [SendDownstream(b"220 go\r\n"), StartTLS()]
    protocol._tell(lambda: None)
    bench.run()
    if end == "late":
        bench.run(HANDSHAKE - 0.1)
        assert not peer.over
        bench.run(0.2)
    elif end == "vanishes":
        peer.abort()
    else:
        peer.say(b"nonsense\r\n")
    bench.run()
    assert not protocol.transport.connected
    assert server.incoming.reset
    assert bench.outcomes() == {"downstream_tls_failed": 1}
    assert len(failures(bench)) == 1
    assert not session.heard("downstream_lost")
    assert not bench.clock.getDelayedCalls()


def test_a_handshake_by_command_that_fails_gives_the_login_up(benches):
    session = pipe()
    bench = benches(session, **OFFERED)
    _, protocol = begin(bench)
    session.actions += [StartTLS()]
    protocol._tell(lambda: None)
    bench.run(HANDSHAKE)
    assert bench.openings[0].was_given_up
    assert bench.outcomes() == {"downstream_tls_failed": 1}


def test_who_has_closed_its_side_is_not_waited_for(benches):
    session = upgrading(downstream_ended=lambda: [SendDownstream(b"220 go\r\n"), StartTLS()])
    bench = benches(session, **OFFERED)
    peer, protocol = begin(bench)
    peer.shutdown()
    bench.run()
    assert not protocol.transport.connected
    assert bench.outcomes() == {"downstream_tls_failed": 1}
    assert failures(bench) == ["client had closed its side of the connection"]
    assert bench.clock.seconds() == 0


def test_who_is_gone_starts_nothing(benches):
    session = FakeSession(downstream_lost=lambda: [StartTLS(), CloseDownstream("downstream_lost")])
    bench = benches(session, **OFFERED)
    peer, _ = begin(bench)
    peer.abort()
    bench.run()
    assert bench.outcomes() == {"downstream_lost": 1}
    assert not bench.tracebacks()


@pytest.mark.parametrize("handshake_comes", [True, False])
def test_a_session_may_end_in_the_middle_of_the_handshake(benches, handshake_comes):
    """The mail server is lost meanwhile; the words arrive if the client still comes to the end of the handshake."""
    session = pipe(upstream_lost=lambda error: [SendDownstream(b"421 lost\r\n"), CloseDownstream("upstream_lost")])
    bench = benches(session, **OFFERED)
    client = connect(bench, TLSClient(go_ahead=b"220 go\r\n"))
    server, _ = bench.let_in()
    client.go_ahead = b"never"
    session.actions += [SendDownstream(b"220 go\r\n"), StartTLS()]
    bench.protocols[-1]._tell(lambda: None)
    bench.run()
    server.close()
    bench.run()
    assert bench.outcomes() == {"upstream_lost": 1}
    client.received = b""
    if handshake_comes:
        client.start()
    bench.run(CLOSE)
    assert client.reason is not None
    assert client.received == (b"421 lost\r\n" if handshake_comes else b"")
    assert not session.heard("downstream_secured")
    assert not failures(bench)
    assert not bench.clock.getDelayedCalls()


@pytest.mark.parametrize("encryption", [Encryption.IMPLICIT, Encryption.OFFERED])
def test_tls_that_cannot_even_begin_is_a_mistake_of_ours_and_ends_the_connection(benches, encryption):
    session = upgrading()
    bench = benches(session, around=surroundings(encryption, Broken()))
    peer, _ = begin(bench)
    if encryption is Encryption.OFFERED:
        peer.say(b"STARTTLS\r\n")
        bench.run()
    assert peer.over
    assert not bench.factory.sessions
    assert bench.outcomes() == {"internal_error": 1}
    assert len(bench.tracebacks()) == 1


def test_the_wait_for_a_handshake_has_one_deadline_and_no_other(benches):
    session = upgrading(start=lambda: session.wait(Waiting.DOWNSTREAM_LINE) or [])
    bench = benches(session, **OFFERED)
    peer, _ = begin(bench)
    assert len(bench.clock.getDelayedCalls()) == 1
    peer.say(b"STARTTLS\r\n")
    bench.run()
    assert len(bench.clock.getDelayedCalls()) == 1
    bench.run(FOREVER)
    assert not session.heard("expired")
    assert not bench.clock.getDelayedCalls()


# From outside


@pytest.mark.parametrize("way", [IMPLICIT, OFFERED], ids=["implicit", "starttls"])
@pytest.mark.parametrize("end", ["stop", "drain", "cut", "last cut"])
def test_who_is_in_the_handshake_is_ended_at_once(benches, way, end):
    session = pipe()
    bench = benches(session, **way)
    peer, protocol = begin(bench)
    if way is OFFERED:
        session.actions += [StartTLS()]
        protocol._tell(lambda: None)
    if "cut" in end:
        bench.factory.cut(last=end == "last cut")
    else:
        getattr(bench.factory, end)()
    bench.run()
    assert peer.over
    assert not bench.factory.sessions
    assert bench.clock.seconds() == 0
    assert bench.outcomes() == {"shutdown": 1}
    assert not failures(bench)
    assert not session.heard("drain")
    assert not session.heard("cut")


@pytest.mark.parametrize("way", [IMPLICIT, OFFERED], ids=["implicit", "starttls"])
def test_the_last_words_of_a_drain_arrive_behind_tls(benches, way):
    bench = benches(lambda: upgrading(drain=lambda: [SendDownstream(SHUTDOWN), CloseDownstream("shutdown")]), **way)
    client = connect(bench, TLSClient() if way is IMPLICIT else starttls())
    gone = bench.factory.drain()
    client.transport.write(b"NOOP\r\n" * 1000)
    bench.run()
    assert client.received == SHUTDOWN
    assert client.reason.check(ConnectionDone)
    assert gone.called
    assert bench.clock.seconds() == 0


# Who finds no place


def crowded(benches):
    return benches(upgrading, rooms=Rooms(sessions=1), **IMPLICIT)


def test_who_finds_no_place_is_told_so_behind_tls(benches):
    bench = crowded(benches)
    connect(bench, TLSClient())
    late = connect(bench, TLSClient(b"EHLO there\r\n" * 1000))
    assert late.received == CROWDED
    assert late.reason.check(ConnectionDone)
    assert bench.clock.seconds() == 0
    assert bench.outcomes() == {"too_many_sessions": 1}
    assert not failures(bench)


@pytest.mark.parametrize("end", ["late", "vanishes", "nonsense", "drained", "stopped"])
def test_who_finds_no_place_and_does_not_shake_hands_does_not_stay(benches, end):
    bench = crowded(benches)
    connect(bench, TLSClient())
    peer, protocol = begin(bench)
    if end == "late":
        bench.run(OVERLOAD - 0.1)
        assert protocol.transport.connected
        bench.run(0.2)
    elif end == "vanishes":
        peer.abort()
    elif end == "nonsense":
        peer.say(b"EHLO there\r\n")
    elif end == "drained":
        bench.factory.drain()
    else:
        bench.factory.stop()
    bench.run()
    assert not protocol.transport.connected
    assert not bench.factory.turned_away
    assert bench.outcomes()["too_many_sessions"] == 1
    assert not failures(bench)


@pytest.mark.parametrize(("way", "seconds"), [(IMPLICIT, OVERLOAD), (OFFERED, HANDSHAKE)], ids=["implicit", "starttls"])
def test_in_a_crowd_there_is_less_time_for_a_handshake_that_comes_first(benches, way, seconds):
    bench = benches(upgrading, rooms=Rooms(sessions=1), **way)
    peer, _ = begin(bench)
    if way is OFFERED:
        peer.say(b"STARTTLS\r\n")
    bench.run(seconds - 0.1)
    assert not bench.outcomes()
    bench.run(0.2)
    assert bench.outcomes() == {"downstream_tls_failed": 1}
    assert failures(bench) == [f"no TLS handshake within {seconds:g} s"]


def test_behind_so_many_handshakes_nobody_gets_another(benches):
    bench = crowded(benches)
    connect(bench, TLSClient())
    for _ in range(MAX_TURNED_AWAY):
        begin(bench)
    peer, protocol = begin(bench)
    assert peer.over
    assert peer.hear() == b""
    assert not protocol.transport.connected
    bench.run(HANDSHAKE)
    assert not bench.factory.turned_away


def test_no_tls_for_who_finds_no_place_is_a_mistake_of_ours_too(benches):
    bench = benches(pipe, limit=1, around=surroundings(Encryption.IMPLICIT))
    begin(bench)
    object.__setattr__(bench.around, "server_tls", Broken())
    peer, _ = begin(bench)
    assert peer.over
    assert not bench.factory.turned_away
    assert len(bench.tracebacks()) == 1


# What stays


@pytest.mark.parametrize("way", [IMPLICIT, OFFERED], ids=["implicit", "starttls"])
def test_refcounting_alone_frees_a_session_behind_tls(benches, way):
    gc.collect()
    gc.disable()
    try:
        bench = benches(upgrading, **way)
        client = connect(bench, TLSClient() if way is IMPLICIT else starttls())
        client.transport.write(b"NOOP\r\n")
        bench.run()
        protocol = bench.protocols.pop()
        gone = [weakref.ref(each) for each in (protocol, protocol._waits, protocol._to_downstream)]
        del protocol
        assert all(each() is not None for each in gone)
        client.transport.write(b"QUIT\r\n")
        bench.run(FAREWELL)
        bench.events.clear()
        assert [each() for each in gone] == [None] * 3
    finally:
        gc.enable()
