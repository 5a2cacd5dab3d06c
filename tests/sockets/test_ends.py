"""TLS ends: goodbyes of either side, octets that still have to leave, and connections that break."""

import gc
import weakref

import pytest
import pytest_twisted
from OpenSSL._util import lib
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from tests.sockets.hall import Subject, narrow, settle, some, until

MUCH = 4 << 20


class Idle:
    """A producer that has nothing to say just now."""

    def __init__(self):
        self.calls = []

    def pauseProducing(self):
        self.calls.append("pause")

    def resumeProducing(self):
        self.calls.append("resume")

    def stopProducing(self):
        self.calls.append("stop")


# --- our goodbye ---


@pytest_twisted.ensureDeferred
async def test_closing_says_goodbye_and_waits_for_the_peers(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    subject.transport.write(b"last words")
    subject.transport.loseConnection()
    await until(lambda: peer.goodbye)
    assert peer.heard == b"last words"
    await settle()
    assert not subject.lost
    peer.say_goodbye()
    await until(lambda: subject.lost and peer.wire.lost)
    assert subject.reason.check(ConnectionDone)
    assert subject.events == ["made", "shaken", "gone"]


@pytest_twisted.ensureDeferred
async def test_a_goodbye_leaves_at_once_and_nothing_is_lost_while_somebody_calls_us(hall):
    subject = Subject(heard=lambda it, _: (it.transport.loseConnection(), it.events.append("closed")))
    peer = await hall.secured(subject)
    peer.send(b"the end")
    peer.say_goodbye()
    await until(lambda: subject.lost)
    assert subject.events == ["made", "shaken", "heard", "closed", "gone"]
    assert subject.reason.check(ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_all_that_was_written_leaves_before_the_goodbye(hall, version):
    octets = some(MUCH)
    subject = Subject()
    peer = await hall.secured(subject, version)
    peer.wire.transport.pauseProducing()
    subject.transport.write(octets)
    subject.transport.loseConnection()
    await settle()
    assert not peer.goodbye
    peer.wire.transport.resumeProducing()
    await until(lambda: peer.goodbye)
    assert peer.heard == octets
    peer.say_goodbye()
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_what_is_written_behind_closing_is_dropped(hall):
    subject = Subject()
    peer = await hall.secured(subject)
    subject.transport.write(b"heard")
    subject.transport.loseConnection()
    subject.transport.write(b"not heard")
    subject.transport.writeSequence([b"nor", b"this"])
    subject.transport.loseConnection()
    await until(lambda: peer.goodbye)
    assert peer.heard == b"heard"


@pytest_twisted.ensureDeferred
async def test_the_peer_is_heard_until_it_says_goodbye(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    subject.transport.loseConnection()
    await until(lambda: peer.goodbye)
    peer.send(b"one more thing ")
    await until(lambda: subject.received)
    subject.transport.pauseProducing()
    peer.send(b"and another")
    await settle()
    assert subject.received == b"one more thing "
    subject.transport.resumeProducing()
    await until(lambda: subject.received == b"one more thing and another")
    peer.say_goodbye()
    await until(lambda: subject.lost)


@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_answer_a_goodbye_is_left_by_abort(hall):
    subject = Subject()
    peer = await hall.secured(subject)
    subject.transport.loseConnection()
    await until(lambda: peer.goodbye)
    await settle()
    assert not subject.lost
    subject.transport.abortConnection()
    await until(lambda: subject.lost and peer.wire.lost)
    assert subject.events[-1] == "gone"


@pytest.mark.parametrize("end", ["loseConnection", "abortConnection"])
@pytest_twisted.ensureDeferred
async def test_a_peer_that_answers_a_goodbye_by_closing_is_lost(hall, end):
    subject = Subject()
    peer = await hall.secured(subject)
    subject.transport.loseConnection()
    await until(lambda: peer.goodbye)
    getattr(peer.wire.transport, end)()
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_goodbyes_may_cross(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    subject.transport.loseConnection()
    peer.say_goodbye()
    await until(lambda: subject.lost and peer.goodbye)
    assert subject.reason.check(ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_closing_waits_for_the_producer(hall):
    subject = Subject()
    peer = await hall.secured(subject)
    producer = Idle()
    subject.transport.registerProducer(producer, True)
    subject.transport.loseConnection()
    await settle()
    assert not peer.goodbye
    subject.transport.write(b"the producer may go on")
    await until(lambda: peer.heard)
    assert not peer.goodbye
    subject.transport.unregisterProducer()
    await until(lambda: peer.goodbye)
    assert producer.calls == []


@pytest_twisted.ensureDeferred
async def test_closing_at_the_end_of_the_handshake_waits_for_the_peers_goodbye(hall, version):
    subject = Subject(shaken=lambda it: (it.transport.write(b"421 no"), it.transport.loseConnection()))
    peer = await hall.begun(subject, version)
    await until(lambda: peer.goodbye)
    assert peer.heard == b"421 no"
    await settle()
    assert not subject.lost
    peer.say_goodbye()
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionDone)


@pytest.mark.parametrize("closed_before", [False, True])
@pytest_twisted.ensureDeferred
async def test_who_parts_does_not_wait_for_the_peers_goodbye(our_hall, version, closed_before):
    subject = Subject()
    peer = await our_hall.secured(subject, version)
    subject.transport.write(b"421 no room")
    if closed_before:
        subject.transport.loseConnection()
    subject.transport.part()
    assert not subject.lost
    await until(lambda: subject.lost and peer.wire.lost)
    assert peer.heard == b"421 no room"
    assert peer.goodbye
    assert subject.reason.check(ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_who_parts_leaves_when_all_is_sent(our_hall, version):
    octets = some(MUCH)
    subject = Subject()
    peer = await our_hall.secured(subject, version)
    peer.wire.transport.pauseProducing()
    subject.transport.write(octets)
    subject.transport.part()
    await settle()
    assert not subject.lost
    peer.wire.transport.resumeProducing()
    await until(lambda: subject.lost and peer.goodbye)
    assert peer.heard == octets


@pytest_twisted.ensureDeferred
async def test_a_producer_that_aborts_when_it_is_stopped_by_the_peers_goodbye(our_hall, version):
    class Aborting(Idle):
        def stopProducing(self):
            subject.transport.abortConnection()

    subject = Subject()
    peer = await our_hall.secured(subject, version)
    subject.transport.registerProducer(Aborting(), True)
    peer.say_goodbye()
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionAborted)


@pytest_twisted.ensureDeferred
async def test_half_a_connection_is_not_closed_over_tls(our_hall):
    """Twisted's layer ends the stream without a goodbye, which the peer takes for an attack."""
    subject = Subject()
    peer = await our_hall.secured(subject)
    subject.transport.write(b"last words")
    subject.transport.loseWriteConnection()
    await until(lambda: peer.goodbye)
    assert peer.heard == b"last words"
    peer.say_goodbye()
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_a_consumer_that_is_stopped_closes(hall):
    subject = Subject()
    peer = await hall.secured(subject)
    subject.transport.stopProducing()
    await until(lambda: peer.goodbye)


# --- the peer's ---


@pytest_twisted.ensureDeferred
async def test_a_goodbye_of_the_peer_is_answered_and_the_end(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    peer.send(b"last words")
    peer.say_goodbye()
    await until(lambda: subject.lost and peer.goodbye)
    assert subject.received == b"last words"
    assert subject.reason.check(ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_an_answer_to_the_last_words_still_leaves(our_hall, version):
    """Twisted's layer collects what is written until the next turn, and that is too late."""
    hall = our_hall
    subject = Subject(heard=lambda it, _: it.transport.write(b"an answer"))
    peer = await hall.secured(subject, version)
    peer.wire.transport.write(peer.sealed(b"last words") + _goodbye(peer))
    await until(lambda: subject.lost and peer.goodbye)
    assert peer.heard == b"an answer"


def _goodbye(peer):
    peer.connection.shutdown()
    return peer.sealed()


@pytest_twisted.ensureDeferred
async def test_what_was_written_before_the_peers_goodbye_came_still_leaves(hall, version):
    octets = some(MUCH)
    subject = Subject()
    peer = await hall.secured(subject, version)
    peer.wire.transport.pauseProducing()
    subject.transport.write(octets)
    peer.say_goodbye()
    await settle()
    assert not subject.lost
    peer.wire.transport.resumeProducing()
    await until(lambda: subject.lost and peer.goodbye)
    assert peer.heard == octets
    assert subject.reason.check(ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_a_producer_is_stopped_by_the_peers_goodbye(our_hall, version):
    """With Twisted's layer, one that is paused goes on writing into the void, and the connection never ends."""
    octets = some(MUCH)
    subject = Subject()
    peer = await our_hall.secured(subject, version)
    peer.wire.transport.pauseProducing()
    producer = Idle()
    subject.transport.registerProducer(producer, True)
    subject.transport.write(octets)
    assert producer.calls == ["pause"]
    peer.say_goodbye()
    await until(lambda: producer.calls == ["pause", "stop"])
    subject.transport.write(b"too late")
    peer.wire.transport.resumeProducing()
    await until(lambda: subject.lost and peer.goodbye)
    assert peer.heard == octets
    assert producer.calls == ["pause", "stop"]


@pytest_twisted.ensureDeferred
async def test_a_peer_that_says_goodbye_and_goes_has_not_heard_all(hall):
    subject = Subject()
    peer = await hall.secured(subject)
    narrow(subject)
    peer.wire.transport.pauseProducing()
    subject.transport.write(some(MUCH))
    peer.say_goodbye()
    await settle()
    peer.wire.transport.abortConnection()
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_wait_for_our_goodbye_has_said_its_own(our_hall):
    """Nothing was lost; with Twisted's layer it depends on who is faster."""
    subject = Subject()
    peer = await our_hall.secured(subject)
    subject.transport.pauseProducing()
    peer.say_goodbye()
    await settle()
    peer.wire.transport.abortConnection()
    await until(lambda: peer.wire.lost)
    subject.transport.resumeProducing()
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionDone, ConnectionLost)


# --- no goodbye ---


@pytest_twisted.ensureDeferred
async def test_an_end_without_a_goodbye_is_a_loss(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    peer.send(b"250 accep")
    peer.wire.transport.loseConnection()
    await until(lambda: subject.lost)
    assert subject.received == b"250 accep"
    assert subject.reason.check(ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_a_record_that_breaks_off_is_a_loss(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    peer.wire.transport.write(peer.sealed(b"whole ") + peer.sealed(b"never comes whole")[:-1])
    peer.wire.transport.loseConnection()
    await until(lambda: subject.lost)
    assert subject.received == b"whole "
    assert subject.reason.check(ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_a_record_that_somebody_changed_is_an_error(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    forged = bytearray(peer.sealed(b"250 accepted"))
    forged[-1] ^= 1
    peer.wire.transport.write(bytes(forged))
    await until(lambda: subject.lost)
    assert not subject.received
    assert "bad record mac" in str(subject.reason.value)
    await until(lambda: peer.error is not None)


@pytest.mark.parametrize("state", ["idle", "writing", "paused and writing", "closing", "paused"])
@pytest_twisted.ensureDeferred
async def test_a_reset_is_a_loss_in_every_state(hall, version, state):
    subject = Subject()
    peer = await hall.secured(subject, version)
    peer.wire.transport.pauseProducing()
    if "paused" in state:
        subject.transport.pauseProducing()
    if "writing" in state:
        subject.transport.write(some(MUCH))
    if state == "closing":
        subject.transport.loseConnection()
    await settle(3)
    peer.wire.transport.abortConnection()
    await until(lambda: peer.wire.lost)
    if state == "paused":  # nobody looks
        await settle()
        assert not subject.lost
        subject.transport.write(b"anybody there?")
        subject.transport.write(b"anybody there?")
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_a_write_into_a_connection_that_is_gone_raises_nothing(hall, version):
    lost_inside = []
    subject = Subject()
    peer = await hall.secured(subject, version)
    subject.transport.pauseProducing()
    peer.wire.transport.abortConnection()
    await until(lambda: peer.wire.lost)
    for _ in range(5):
        subject.transport.write(b"anybody there?")
        lost_inside.append(subject.lost)
    assert lost_inside == [False] * 5
    await until(lambda: subject.lost)
    assert subject.reason.check(ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_the_last_words_of_a_peer_that_went_are_heard_before_a_write_fails(hall, version):
    """A mail server says 421 and goes; we write, and hear the 421 all the same."""
    subject = Subject()
    peer = await hall.secured(subject, version)
    await settle()
    peer.wire.transport.write(peer.sealed(b"421 too many connections\r\n"))
    peer.wire.transport.loseConnection()
    await settle(3)  # and the subject has seen nothing of it: it is held up
    subject.transport.write(b"MAIL FROM:<>\r\n")
    subject.transport.write(b"RCPT TO:<a@b.example>\r\n")
    await until(lambda: subject.lost)
    assert subject.received == b"421 too many connections\r\n"
    assert subject.reason.check(ConnectionLost)


# --- abort ---


@pytest.mark.parametrize("when", ["idle", "writing", "closing", "hearing"])
@pytest_twisted.ensureDeferred
async def test_an_abort_ends_it_in_a_later_turn(hall, version, when):
    inside = []

    def abort():
        subject.transport.abortConnection()
        subject.transport.abortConnection()
        subject.transport.write(b"nobody hears this")
        subject.transport.loseConnection()
        subject.transport.resumeProducing()
        inside.append(subject.lost)

    subject = Subject(heard=lambda *_: abort())
    peer = await hall.secured(subject, version)
    peer.wire.transport.pauseProducing()
    if when == "writing":
        subject.transport.write(some(MUCH))
    if when == "closing":
        subject.transport.loseConnection()
    if when == "hearing":
        peer.send(b"x" * 100_000)
    else:
        abort()
    await until(lambda: subject.lost)
    peer.wire.transport.resumeProducing()
    await until(lambda: peer.wire.lost)
    assert not any(inside)
    # Twisted's layer goes on delivering what it has, and reports a loss, as if it had not been us.
    assert len(inside) == 1 or not hall.ours
    assert subject.reason.check(ConnectionAborted if hall.ours else ConnectionLost)
    assert peer.wire.reason.check(ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_a_lost_transport_takes_every_call(our_hall):
    subject = Subject()
    await our_hall.secured(subject)
    transport = subject.transport
    transport.abortConnection()
    await until(lambda: subject.lost)
    producer = Idle()
    transport.write(b"nothing")
    transport.writeSequence([b"nothing"])
    transport.registerProducer(producer, True)
    transport.unregisterProducer()
    transport.pauseProducing()
    transport.resumeProducing()
    transport.loseConnection()
    transport.loseWriteConnection()
    transport.abortConnection()
    assert producer.calls == ["stop"]
    assert transport.getPeerCertificate() is None
    await settle()
    assert subject.events.count("gone") == 1


# --- what is left ---


@pytest.mark.parametrize("end", ["a forged record", "no TLS", "an end without a goodbye", "a reset"])
@pytest_twisted.ensureDeferred
async def test_what_ends_one_connection_is_not_found_by_another(our_hall, version, end):
    """OpenSSL has one list of errors for all; one that stays there would end whoever comes next."""
    other, subject = Subject(), Subject()
    others = await our_hall.secured(other, version)
    peer = await our_hall.secured(subject, version)
    if end == "a forged record":
        forged = bytearray(peer.sealed(b"250 accepted"))
        forged[-1] ^= 1
        peer.wire.transport.write(bytes(forged))
    elif end == "no TLS":
        peer.wire.transport.write(b"250 accepted\r\n")
    elif end == "a reset":
        peer.wire.transport.abortConnection()
        subject.transport.write(b"anybody there?")
    else:
        peer.wire.transport.loseConnection()
    await until(lambda: subject.lost)
    assert lib.ERR_peek_error() == 0
    others.send(b"still here")
    await until(lambda: other.received == b"still here")
    other.transport.write(b"so are we")
    await until(lambda: others.heard == b"so are we")


@pytest.mark.parametrize("end", ["goodbye", "abort", "loss", "in the handshake"])
@pytest_twisted.ensureDeferred
async def test_nothing_is_left_of_a_connection_and_no_garbage_collector_is_needed(our_hall, version, end):
    gc.collect()
    gc.disable()
    try:
        held = await _lives(our_hall, version, end)
        assert [each() for each in held] == [None] * len(held)
    finally:
        gc.enable()


async def _lives(hall, version, end):
    """References to all that belongs to a connection that is over."""
    subject = Subject()
    if end == "in the handshake":
        peer = await hall.begun(subject, version, by_hand=True)
        peer.wire.transport.abortConnection()
    else:
        peer = await hall.secured(subject, version)
        subject.transport.write(b"some words")
        if end == "goodbye":
            subject.transport.loseConnection()
            await _until_goodbye(peer)
            peer.say_goodbye()
        if end == "abort":
            subject.transport.abortConnection()
        if end == "loss":
            peer.wire.transport.loseConnection()
    transport = subject.transport
    held = [weakref.ref(transport), weakref.ref(transport.getHandle()), weakref.ref(subject)]
    await until(lambda: held[2]().lost)
    await hall.close()
    subject.hooks.clear()
    del transport, subject, peer
    await settle(3)
    return held


async def _until_goodbye(peer):
    await until(lambda: peer.goodbye)
