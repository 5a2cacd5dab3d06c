"""Without TLS: what is written leaves at once, and all else is as Twisted has it."""

import errno
import select
import socket

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    ISSLTransport,
    ITCPTransport,
    ITLSTransport,
)
from zope.interface import implementer

from tests.sockets.hall import HalfCloseableSubject, Subject, settle, some, until
from tests.sockets.test_flow import Producer, Puller

MUCH = 4 << 20


@pytest.fixture
def watched(monkeypatch):
    """What the reactor was asked to look at, or to look away from, and for whom."""
    asked = []
    for name in ("addReader", "addWriter", "removeReader", "removeWriter"):
        real = getattr(reactor, name)
        monkeypatch.setattr(reactor, name, lambda end, name=name, real=real: (asked.append((name, end)), real(end)))
    return asked


@pytest_twisted.ensureDeferred
async def test_octets_go_both_ways(hall):
    subject = Subject(heard=lambda it, data: it.transport.write(data.upper()))
    wire = await hall.meet(subject)
    for number in range(20):
        wire.transport.write(b"line %d\n" % number)
        await until(lambda end: wire.octets[-len(end) :] == end, b"LINE %d\n" % number)
    assert subject.received.count(b"\n") == 20


@pytest_twisted.ensureDeferred
async def test_a_write_leaves_at_once_and_the_reactor_is_not_asked(our_hall, watched):
    subject = Subject()
    wire = await our_hall.meet(subject)
    await settle()
    watched.clear()
    subject.transport.write(b"at once")
    subject.transport.writeSequence([b", ", b"and this"])
    select.select([wire.transport.socket], [], [], 10)
    assert wire.transport.socket.recv(7) == b"at once"
    assert not watched


@pytest_twisted.ensureDeferred
async def test_a_protocol_of_questions_and_answers_never_has_the_reactor_watch_for_writing(our_hall, watched, version):
    subject = Subject(heard=lambda it, data: it.transport.write(data.upper()))
    peer = await our_hall.secured(subject, version)
    for number in range(5):
        peer.send(b"line %d\n" % number)
        await until(lambda end: peer.heard[-len(end) :] == end, b"LINE %d\n" % number)
    subject.transport.loseConnection()
    await until(lambda: peer.goodbye)
    peer.say_goodbye()
    await until(lambda: subject.lost)
    written = [name for name, end in watched if end is subject.transport and name == "addWriter"]
    assert len(written) == (1 if our_hall.way.client else 0)  # a client waits until it is connected


@pytest_twisted.ensureDeferred
async def test_order_is_kept_when_the_socket_is_full(hall):
    pieces = [b"%d;" % number * (number % 50_000 + 1) for number in range(40_000, 40_060)]
    subject = Subject()
    wire = await hall.meet(subject)
    wire.transport.pauseProducing()
    for piece in pieces:
        subject.transport.write(piece)
    await settle()
    subject.transport.write(b"the last")
    wire.transport.resumeProducing()
    expected = b"".join(pieces) + b"the last"
    await until(lambda: len(wire.octets) == len(expected))
    assert wire.octets == expected


@pytest.mark.parametrize("kind", [Producer, Puller])
@pytest_twisted.ensureDeferred
async def test_producers_give_all_at_the_speed_of_the_peer(hall, kind):
    octets = some(MUCH) * 4
    subject = Subject()
    wire = await hall.meet(subject)
    wire.transport.pauseProducing()
    producer = kind(subject.transport, octets)
    subject.transport.registerProducer(producer, kind is Producer)
    if kind is Producer:
        producer.resumeProducing()
    await settle()
    assert len(producer.octets) > MUCH
    wire.transport.resumeProducing()
    await until(lambda: len(wire.octets) == len(octets))
    assert wire.octets == octets


@pytest.mark.parametrize("wrong", ["text", None, memoryview(b"view")])
@pytest_twisted.ensureDeferred
async def test_only_octets_can_be_written(hall, wrong):
    subject = Subject()
    await hall.meet(subject)
    with pytest.raises(TypeError):
        subject.transport.write(wrong)


@pytest_twisted.ensureDeferred
async def test_nothing_is_written_by_nothing(hall, watched):
    subject = Subject()
    wire = await hall.meet(subject)
    await settle()
    watched.clear()
    subject.transport.write(b"")
    subject.transport.writeSequence([])
    await settle()
    assert not wire.octets
    assert not [each for each in watched if each[1] is subject.transport]


# --- ends ---


@pytest_twisted.ensureDeferred
async def test_what_was_written_leaves_before_the_end(hall):
    octets = some(MUCH)
    subject = Subject()
    wire = await hall.meet(subject)
    wire.transport.pauseProducing()
    subject.transport.write(octets)
    subject.transport.loseConnection()
    assert not subject.lost
    wire.transport.resumeProducing()
    await until(lambda: subject.lost and wire.lost)
    assert wire.octets == octets
    assert subject.reason.check(ConnectionDone)
    assert wire.reason.check(ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_half_of_a_connection_is_closed(hall):
    subject = HalfCloseableSubject()
    wire = await hall.meet(subject)
    subject.transport.write(b"221 bye\r\n")
    subject.transport.loseWriteConnection()
    await until(lambda: wire.lost)
    assert wire.octets == b"221 bye\r\n"
    await until(lambda: "no more to read" in subject.events)
    subject.transport.write(b"too late")
    subject.transport.loseConnection()
    await until(lambda: subject.lost)
    assert subject.events == ["made", "no more to write", "no more to read", "gone"]


@pytest_twisted.ensureDeferred
async def test_who_can_hears_that_the_peer_only_stopped_sending(hall):
    subject = HalfCloseableSubject()
    subject.hooks["no more to read"] = lambda it: (it.transport.write(b"an answer"), it.transport.loseConnection())
    wire = await hall.meet(subject)
    wire.transport.write(b"a question")
    wire.transport.loseWriteConnection()
    await until(lambda: wire.octets == b"an answer")
    await until(lambda: subject.lost)
    assert subject.events == ["made", "heard", "no more to read", "gone"]


@pytest_twisted.ensureDeferred
async def test_the_last_words_of_a_peer_that_went_are_heard_before_a_write_fails(hall):
    subject = Subject()
    wire = await hall.meet(subject)
    subject.transport.pauseProducing()
    wire.transport.write(b"421 too many connections\r\n")
    wire.transport.loseConnection()
    await until(lambda: wire.lost)
    subject.transport.resumeProducing()
    subject.transport.write(b"MAIL FROM:<>\r\n")
    subject.transport.write(b"RCPT TO:<a@b.example>\r\n")
    assert not subject.lost
    await until(lambda: subject.lost)
    assert subject.received == b"421 too many connections\r\n"


@pytest.mark.parametrize("state", ["idle", "writing"])
@pytest_twisted.ensureDeferred
async def test_a_reset_is_a_loss(hall, state):
    subject = Subject()
    wire = await hall.meet(subject)
    wire.transport.pauseProducing()
    if state == "writing":
        subject.transport.write(some(MUCH))
    wire.transport.abortConnection()
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_an_abort_ends_it_in_a_later_turn(hall):
    subject = Subject()
    wire = await hall.meet(subject)
    subject.transport.abortConnection()
    subject.transport.write(b"nobody hears this")
    assert not subject.lost
    await until(lambda: subject.lost and wire.lost)
    assert subject.reason.check(ConnectionAborted)
    assert wire.octets == b""


@pytest_twisted.ensureDeferred
async def test_a_socket_without_buffers_is_a_full_one(our_hall, monkeypatch):
    subject = Subject()
    wire = await our_hall.meet(subject)
    real, failing = subject.transport.socket, [errno.ENOBUFS, errno.EAGAIN]

    class Poor:
        def send(self, data):
            if failing:
                raise OSError(failing.pop(0), "no")
            return real.send(data)

        def __getattr__(self, name):
            return getattr(real, name)

    monkeypatch.setattr(subject.transport, "socket", Poor())
    subject.transport.write(b"in the end")
    await until(lambda: wire.octets == b"in the end")
    monkeypatch.setattr(subject.transport, "socket", real)


# --- the rest of a transport ---


@pytest_twisted.ensureDeferred
async def test_it_is_a_tcp_transport(hall):
    subject = Subject()
    wire = await hall.meet(subject)
    transport = subject.transport
    assert ITCPTransport.providedBy(transport)
    assert ITLSTransport.providedBy(transport)
    assert not ISSLTransport.providedBy(transport)
    assert transport.getPeer() == wire.transport.getHost()
    assert transport.getHost() == wire.transport.getPeer()
    assert isinstance(transport.getHandle(), socket.socket)


@pytest_twisted.ensureDeferred
async def test_the_options_of_tcp_are_those_of_the_socket_also_over_tls(hall):
    subject = Subject()
    await hall.secured(subject)
    transport = subject.transport
    for on in (True, False):
        transport.setTcpNoDelay(on)
        transport.setTcpKeepAlive(on)
        assert transport.getTcpNoDelay() == on
        assert transport.getTcpKeepAlive() == on
        assert bool(transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) == on


@pytest_twisted.ensureDeferred
async def test_a_creator_that_knows_no_sockets_gets_twisteds_layer(our_hall, version):
    """Ours steps aside: not an octet goes past that layer in plain text."""
    real = our_hall.creator(version)

    @implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
    class Foreign:
        def clientConnectionForTLS(self, protocol):
            return real.clientConnectionForTLS(protocol)

        def serverConnectionForTLS(self, protocol):
            return real.serverConnectionForTLS(protocol)

    def begin(subject):
        subject.transport.write(b"220 go ahead\r\n")
        subject.transport.startTLS(Foreign())
        subject.transport.write(b"sec")
        subject.transport.writeSequence([b"re", b"t"])

    subject = Subject(made=begin)
    wire = await our_hall.meet(subject)
    await until(lambda: wire.octets.startswith(b"220 go ahead\r\n"))
    del wire.octets[:14]
    assert b"secret" not in wire.octets
    peer = our_hall.peer(wire, version)
    peer.go_on()
    await until(lambda: peer.heard == b"secret")
    with pytest.raises(RuntimeError):
        subject.transport.startTLS(real)
    subject.transport.pauseProducing()
    subject.transport.resumeProducing()
    peer.send(b"heard")
    await until(lambda: subject.received == b"heard")
    assert isinstance(subject.transport.getHandle(), SSL.Connection)
    subject.transport.loseConnection()
    await until(lambda: peer.goodbye)
    peer.say_goodbye()
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionDone)
