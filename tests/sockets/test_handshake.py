"""TLS begins: what comes before, with and behind the handshake, and how it comes to nothing."""

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from mailproxy.tls import CertificateRejected
from tests.sockets.hall import AUTHORITY, HOST, OURS, Hall, Subject, Way, narrow, settle, until

LONG = b"0123456789abcdef" * 20_000

ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
"""Fatal: protocol version (RFC 8446 §6)."""


@pytest_twisted.ensureDeferred
async def test_octets_go_through_tls_both_ways(hall, version):
    subject = Subject(shaken=lambda it: it.transport.write(b"from the subject"))
    peer = await hall.secured(subject, version)
    peer.send(b"from the peer")
    await until(lambda: peer.heard and subject.received)
    assert peer.heard == b"from the subject"
    assert subject.received == b"from the peer"
    assert subject.events == ["made", "shaken", "heard"]
    assert peer.connection.get_protocol_version_name() == version


@pytest_twisted.ensureDeferred
async def test_the_transport_says_that_it_speaks_tls(hall, version):
    before = []
    subject = Subject(made=lambda it: before.append(ISSLTransport.providedBy(it.transport)))
    peer = await hall.secured(subject, version)
    transport = subject.transport
    assert ISSLTransport.providedBy(transport)
    assert isinstance(transport.getHandle(), SSL.Connection)
    assert transport.getHandle().get_protocol_version_name() == version
    shown = transport.getPeerCertificate()
    if hall.way.client:
        assert shown.to_cryptography() == peer.connection.get_certificate(as_cryptography=True)
    else:
        assert shown is None


@pytest_twisted.ensureDeferred
async def test_the_host_is_named_to_a_server(hall):
    subject = Subject()
    peer = await hall.secured(subject)
    assert peer.connection.get_servername() == (HOST.encode() if hall.way.client else None)


@pytest_twisted.ensureDeferred
async def test_tls_begins_behind_words_in_plain_text(hall, version):
    creator = hall.creator(version)

    def go_ahead(subject, data):
        if data == b"STARTTLS\r\n":
            subject.transport.write(b"220 go ahead\r\n")
            subject.transport.startTLS(creator)
            subject.transport.write(b"held ")
            subject.transport.writeSequence([b"until ", b"the handshake is done"])

    subject = Subject(heard=go_ahead)
    wire = await hall.meet(subject)
    wire.transport.write(b"STARTTLS\r\n")
    await until(lambda: wire.octets.startswith(b"220 go ahead\r\n"))
    del wire.octets[:14]
    peer = hall.peer(wire, version)
    peer.go_on()
    await until(lambda: peer.heard == b"held until the handshake is done")
    assert subject.events == ["made", "heard", "shaken"]


@pytest_twisted.ensureDeferred
async def test_words_in_plain_text_that_the_peer_does_not_take_yet_go_first(hall, version):
    """There is much more to say before TLS than the system has room for."""

    def begin(subject):
        narrow(subject)
        subject.transport.write(LONG)
        subject.transport.startTLS(hall.creator(version))
        subject.transport.write(b"through TLS")

    subject = Subject(made=begin)
    wire = await hall.meet(subject)
    wire.transport.pauseProducing()
    await settle()
    assert len(wire.octets) < len(LONG)
    wire.transport.resumeProducing()
    await until(lambda: len(wire.octets) >= len(LONG))
    assert wire.octets[: len(LONG)] == LONG
    del wire.octets[: len(LONG)]
    peer = hall.peer(wire, version)
    peer.go_on()
    await until(lambda: peer.heard == b"through TLS")


@pytest_twisted.ensureDeferred
async def test_words_in_plain_text_that_never_leave_are_no_reason_to_read_on(hall):
    """What the peer says meanwhile is for TLS, and waits."""
    subject = Subject(made=lambda it: (narrow(it), it.transport.write(LONG), it.transport.startTLS(hall.creator())))
    wire = await hall.meet(subject)
    wire.transport.pauseProducing()
    wire.transport.write(b"NOOP\r\n")
    await settle()
    assert subject.events == ["made"]
    subject.transport.abortConnection()
    await until(lambda: subject.lost)
    assert subject.received == b""


@pytest_twisted.ensureDeferred
async def test_what_is_written_in_the_handshake_comes_before_what_is_written_behind_it(hall, version):
    subject = Subject(made=lambda it: it.transport.write(b"one "), shaken=lambda it: it.transport.write(b"two"))
    peer = await hall.secured(subject, version)
    await until(lambda: peer.heard == b"one two")


@pytest_twisted.ensureDeferred
async def test_octets_in_one_packet_with_the_end_of_the_handshake_arrive(hall, version):
    subject = Subject()
    peer = await hall.secured_by_hand(subject, version, b"right behind it")
    await until(lambda: subject.received == b"right behind it")
    assert subject.events == ["made", "shaken", "heard"]
    assert peer.error is None


@pytest_twisted.ensureDeferred
async def test_the_peer_may_send_an_octet_at_a_time(hall, version):
    subject = Subject(made=lambda it: it.transport.startTLS(hall.creator(version)))
    wire = await hall.meet(subject)
    peer = hall.peer(wire, version, by_hand=True)
    sent = b""
    while not subject.received:
        peer.open(wire.take())
        sent += peer.sealed(b"slowly" if peer.shaken and not sent and subject.shaken else b"")
        wire.transport.write(sent[:1])
        sent = sent[1:]
        await deferLater(reactor, 0)
    await until(lambda: subject.received == b"slowly" or not wire.transport.write(sent))
    assert subject.events == ["made", "shaken", "heard"]


# --- that comes to nothing ---


@pytest.mark.parametrize("words", [b"EHLO client.example\r\n", b"GET / HTTP/1.1\r\n\r\n" * 1000, b"\0" * 300])
@pytest_twisted.ensureDeferred
async def test_plain_text_in_the_place_of_tls_reaches_nobody(hall, words):
    subject = Subject(made=lambda it: it.transport.startTLS(hall.creator()))
    wire = await hall.meet(subject)
    wire.transport.write(words)
    await until(lambda: subject.lost)
    assert isinstance(subject.reason.value, SSL.Error)
    assert not subject.received
    assert subject.events == ["made", "gone"]


@pytest_twisted.ensureDeferred
async def test_a_client_hears_the_alert_though_it_had_more_to_say(server_hall):
    """Octets that nobody read would have the system reset the connection, and the alert with it."""
    creator = server_hall.creator(minimum="TLSv1.3")
    subject = Subject(made=lambda it: it.transport.startTLS(creator))
    wire = await server_hall.meet(subject)
    peer = server_hall.peer(wire, "TLSv1.2", by_hand=True)
    peer.open(b"")
    wire.transport.write(peer.sealed() + b"much more to say" * 2000)
    await until(lambda: subject.lost and wire.lost)
    assert wire.octets == ALERT


@pytest_twisted.ensureDeferred
async def test_without_a_version_in_common_both_sides_hear_why(hall):
    subject = Subject(made=lambda it: it.transport.startTLS(hall.creator("TLSv1.3", minimum="TLSv1.3")))
    wire = await hall.meet(subject)
    peer = hall.peer(wire, "TLSv1.2")
    peer.go_on()
    await until(lambda: subject.lost and peer.error)
    assert isinstance(subject.reason.value, SSL.Error)
    assert not subject.shaken


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_somebody_else_is_refused_for_that_reason(client_hall, version):
    """Twisted's layer resets the connection before the alert is out; ours lets the server know."""
    hall = client_hall
    subject = Subject(made=lambda it: (it.transport.startTLS(hall.creator(version)), it.transport.write(b"secret")))
    wire = await hall.meet(subject)
    peer = hall.peer(wire, context=hall.context(version, AUTHORITY.issue("www.example.com")), by_hand=True)
    await until(lambda: wire.octets)
    peer.go_on()
    wire.transport.write(b"much more to say" * 2000)
    await until(lambda: subject.lost and wire.lost)
    peer.open(wire.take())
    assert isinstance(subject.reason.value, CertificateRejected)
    assert subject.events == ["made", "gone"]
    assert not peer.heard
    assert ("alert" in str(peer.error)) == hall.ours


@pytest_twisted.ensureDeferred
async def test_a_judge_is_believed_whatever_openssl_makes_of_the_handshake(our_hall):
    creator = our_hall.creator()

    class Lenient:
        def on_socket(self, connection, judge):
            judge.failVerification(_failure())
            return creator.on_socket(connection, judge)

    subject = Subject(made=lambda it: it.transport.startTLS(Lenient()))
    wire = await our_hall.meet(subject)
    our_hall.peer(wire).go_on()
    await until(lambda: subject.lost)
    assert isinstance(subject.reason.value, CertificateRejected)
    assert not subject.shaken


def _failure():
    return Failure(CertificateRejected("not you"))


ENDS = {
    "closes": lambda wire: wire.transport.loseConnection(),
    "resets": lambda wire: wire.transport.abortConnection(),
}


@pytest.mark.parametrize("end", ENDS)
@pytest_twisted.ensureDeferred
async def test_a_peer_that_leaves_in_the_handshake_is_lost(hall, version, end):
    subject = Subject(made=lambda it: it.transport.startTLS(hall.creator(version)))
    wire = await hall.meet(subject)
    peer = hall.peer(wire, version, by_hand=True)
    if hall.way.client:
        await until(lambda: wire.octets)
    peer.open(wire.take())
    wire.transport.write(peer.sealed()[:-10])
    ENDS[end](wire)
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionLost)
    assert subject.events == ["made", "gone"]


@pytest_twisted.ensureDeferred
async def test_a_goodbye_in_the_handshake_is_the_end(our_hall):
    """Twisted's layer trips over an error without words."""
    subject = Subject(made=lambda it: it.transport.startTLS(our_hall.creator()))
    wire = await our_hall.meet(subject)
    wire.transport.write(b"\x15\x03\x03\x00\x02\x01\x00")
    await until(lambda: subject.lost)
    assert not subject.shaken
    assert subject.reason.check(ConnectionLost, SSL.Error)


@pytest_twisted.ensureDeferred
async def test_a_silent_peer_is_left_by_abort_alone(hall):
    subject = Subject(made=lambda it: it.transport.startTLS(hall.creator()))
    await hall.meet(subject)
    await settle()
    assert subject.events == ["made"]
    subject.transport.abortConnection()
    assert not subject.lost
    await until(lambda: subject.lost)
    # Twisted's layer reports a loss, as if it had not been us.
    assert subject.reason.check(ConnectionAborted if hall.ours else ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_closing_gives_up_a_handshake_that_nobody_has_written_anything_for(hall):
    subject = Subject(made=lambda it: (it.transport.startTLS(hall.creator()), it.transport.loseConnection()))
    wire = await hall.meet(subject)
    await until(lambda: subject.lost and wire.lost)
    assert subject.events == ["made", "gone"]


@pytest_twisted.ensureDeferred
async def test_closing_waits_for_the_handshake_where_something_was_written(hall, version):
    def begin(subject):
        subject.transport.startTLS(hall.creator(version))
        subject.transport.write(b"last words")
        subject.transport.loseConnection()
        subject.transport.write(b"too late")

    subject = Subject(made=begin)
    wire = await hall.meet(subject)
    await settle()
    assert not subject.lost
    peer = hall.peer(wire, version)
    peer.go_on()
    await until(lambda: peer.goodbye)
    assert peer.heard == b"last words"
    peer.say_goodbye()
    await until(lambda: subject.lost)


@pytest_twisted.ensureDeferred
async def test_nothing_goes_on_while_the_owner_pauses(hall, version):
    subject = Subject(made=lambda it: (it.transport.pauseProducing(), it.transport.startTLS(hall.creator(version))))
    wire = await hall.meet(subject)
    peer = hall.peer(wire, version)
    peer.go_on()
    await settle()
    assert not subject.shaken
    subject.transport.resumeProducing()
    await until(lambda: subject.shaken and peer.shaken)


# --- errors of ours ---


class _MistakeError(Exception):
    pass


def _mistake(*_):
    raise _MistakeError


@pytest.mark.parametrize("method", ["shaken", "heard"])
@pytest_twisted.ensureDeferred
async def test_an_error_in_the_protocol_ends_the_connection_and_is_logged(hall, logged_failures, method):
    subject = Subject(**{method: _mistake})
    peer = await hall.begun(subject)
    await until(lambda: subject.shaken)
    if method == "heard":
        await until(lambda: peer.shaken)
        peer.send(b"something")
    await until(lambda: subject.lost)
    [event] = logged_failures
    assert event["failure"].check(_MistakeError)
    logged_failures.clear()
    # Twisted's layer reports a loss instead.
    assert subject.reason.check(_MistakeError if hall.ours else ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_a_creator_that_fails_leaves_the_connection_as_it_was(our_hall):
    """In Twisted's layer a half-made one has taken the protocol's place by then."""

    class Failing:
        on_socket = _mistake

    def begin(subject):
        with pytest.raises(_MistakeError):
            subject.transport.startTLS(Failing())
        subject.transport.write(b"still in plain text")

    subject = Subject(made=begin)
    wire = await our_hall.meet(subject)
    await until(lambda: wire.octets == b"still in plain text")
    assert not ISSLTransport.providedBy(subject.transport)


@pytest_twisted.ensureDeferred
async def test_tls_begins_once_and_on_a_connection(our_hall):
    subject = Subject()
    await our_hall.secured(subject)
    with pytest.raises(RuntimeError):
        subject.transport.startTLS(our_hall.creator())
    subject.transport.abortConnection()
    await until(lambda: subject.lost)
    with pytest.raises(RuntimeError):
        subject.transport.startTLS(our_hall.creator())


@pytest_twisted.ensureDeferred
async def test_a_handshake_that_cannot_begin_is_not_lost_while_somebody_calls_us(certificate):
    """The first step comes to nothing: there is no version to offer."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)

    class Poor:
        def on_socket(self, connection, _judge):
            made = SSL.Connection(context, connection)
            made.set_connect_state()
            return made

    inside = []
    subject = Subject(made=lambda it: (it.transport.startTLS(Poor()), inside.append(it.lost)))
    hall = Hall(Way(OURS, "client"), certificate)
    await hall.meet(subject)
    await until(lambda: subject.lost)
    await hall.close()
    assert inside == [False]
    assert isinstance(subject.reason.value, SSL.Error)


@pytest_twisted.ensureDeferred
async def test_tls_behind_an_abort_does_not_begin(our_hall):
    subject = Subject(made=lambda it: (it.transport.abortConnection(), it.transport.startTLS(our_hall.creator())))
    wire = await our_hall.meet(subject)
    await until(lambda: subject.lost and wire.lost)
    assert subject.reason.check(ConnectionAborted)
    assert wire.octets == b""
    assert subject.events == ["made", "gone"]
