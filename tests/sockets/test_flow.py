"""Octets flow: what is written in which order, who waits for whom, and what a pause means."""

import select

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from mailproxy.sockets.portions import LARGE_PORTION_OCTETS
from tests.sockets.hall import HalfCloseableSubject, Subject, narrow, settle, some, until

MUCH = 4 << 20
RECORD = 16_384


class Producer:
    """Writes what it has while it may."""

    def __init__(self, transport, octets, piece=65_536, *, ends=True):
        self.transport = transport
        self.octets = memoryview(octets)
        self.piece = piece
        self.ends = ends
        self.paused = False
        self.calls = []

    def resumeProducing(self):
        self._note("resume")
        self.paused = False
        while not self.paused and self.octets:
            self.give()

    def give(self):
        piece, self.octets = bytes(self.octets[: self.piece]), self.octets[self.piece :]
        self.transport.write(piece)
        if not self.octets and self.ends:
            self.transport.unregisterProducer()

    def pauseProducing(self):
        self._note("pause")
        self.paused = True

    def stopProducing(self):
        self._note("stop")

    def _note(self, call):
        if self.calls[-1:] != [call]:
            self.calls.append(call)


class Puller(Producer):
    """Writes a piece each time it is asked."""

    def resumeProducing(self):
        self._note("resume")
        self.give()


def _end(stream):
    return bytes(stream[-100:])


# --- writing ---


@pytest_twisted.ensureDeferred
async def test_writes_arrive_in_their_order(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    pieces = [b"%d;" % number * (number % 700 + 1) for number in range(300)]
    for number, piece in enumerate(pieces):
        if number % 3:
            subject.transport.write(piece)
        else:
            subject.transport.writeSequence([piece[:2], piece[2:]])
    expected = b"".join(pieces)
    await until(lambda: len(peer.heard) == len(expected))
    assert peer.heard == expected


@pytest_twisted.ensureDeferred
async def test_one_write_may_be_huge(hall, version):
    octets = some(1 << 20) * 8
    subject = Subject()
    peer = await hall.secured(subject, version)
    subject.transport.write(octets)
    await until(lambda: len(peer.heard) == len(octets))
    assert peer.heard == octets


@pytest_twisted.ensureDeferred
async def test_writes_of_nothing_say_nothing(hall, version):
    subject = Subject(made=lambda it: it.transport.write(b""))
    peer = await hall.secured(subject, version)
    subject.transport.write(b"")
    subject.transport.writeSequence([])
    subject.transport.writeSequence([b"", b""])
    await settle()
    assert not peer.heard
    subject.transport.write(b"something")
    await until(lambda: peer.heard == b"something")
    assert subject.reason is None


@pytest.mark.parametrize("wrong", ["text", None, 7])
@pytest_twisted.ensureDeferred
async def test_only_octets_can_be_written(hall, wrong):
    subject = Subject()
    peer = await hall.secured(subject)
    with pytest.raises(TypeError):
        subject.transport.write(wrong)
    with pytest.raises(TypeError):
        subject.transport.writeSequence([b"good", wrong])
    subject.transport.write(b"good")
    await until(lambda: peer.heard == b"good")


@pytest_twisted.ensureDeferred
async def test_writes_from_within_are_as_good_as_others(hall, version):
    subject = Subject(heard=lambda it, data: it.transport.write(data.upper()))
    peer = await hall.secured(subject, version)
    for number in range(20):
        peer.send(b"echo %d " % number)
        await until(lambda end: peer.heard[-len(end) :] == end, b"ECHO %d " % number)
    assert peer.heard.count(b"ECHO") == 20


@pytest_twisted.ensureDeferred
async def test_both_sides_may_send_much_at_a_time(hall, version):
    octets = some(MUCH)
    subject = Subject()
    peer = await hall.secured(subject, version)
    peer.send(octets[::-1])
    subject.transport.write(octets)
    await until(lambda: len(peer.heard) == len(subject.received) == MUCH)
    assert peer.heard == octets
    assert subject.received == octets[::-1]


@pytest_twisted.ensureDeferred
async def test_a_write_leaves_at_once(our_hall, version):
    """In Twisted's layer it leaves in the turn after the next."""
    subject = Subject()
    peer = await our_hall.secured(subject, version)
    subject.transport.setTcpNoDelay(True)
    await settle()
    subject.transport.write(b"at once")
    select.select([peer.wire.transport.socket], [], [], 10)
    peer.open(peer.wire.transport.socket.recv(1000))
    assert peer.heard == b"at once"


# --- backpressure ---


@pytest_twisted.ensureDeferred
async def test_a_producer_waits_for_a_peer_that_reads_slowly(hall, version):
    octets = some(1 << 20) * 32
    subject = Subject()
    peer = await hall.secured(subject, version)
    peer.wire.transport.pauseProducing()
    producer = Producer(subject.transport, octets)
    subject.transport.registerProducer(producer, True)
    producer.resumeProducing()
    await settle()
    assert producer.paused
    assert len(producer.octets) > len(octets) // 4
    peer.wire.transport.resumeProducing()
    await until(lambda: len(peer.heard) == len(octets))
    assert peer.heard == octets
    assert producer.calls[:3] == ["resume", "pause", "resume"]


@pytest_twisted.ensureDeferred
async def test_a_hundred_mebibytes_need_no_room(our_hall):
    """What a producer gives while the peer does not read is bounded by what the system holds, and one buffer."""
    octets = memoryview(bytes(100 << 20))
    subject = Subject()
    peer = await our_hall.secured(subject, "TLSv1.3")
    narrow(subject, peer.wire)
    peer.wire.transport.pauseProducing()
    producer = Producer(subject.transport, octets)
    subject.transport.registerProducer(producer, True)
    producer.resumeProducing()
    await settle()
    assert len(octets) - len(producer.octets) < 512 * 1024
    assert subject.transport._unsent() <= 128 * 1024
    subject.transport.abortConnection()
    await until(lambda: subject.lost)
    assert producer.calls[-1] == "stop"


@pytest_twisted.ensureDeferred
async def test_a_producer_that_is_asked_for_each_piece_gives_all(hall, version):
    octets = some(MUCH)
    subject = Subject()
    peer = await hall.secured(subject, version)
    puller = Puller(subject.transport, octets)
    subject.transport.registerProducer(puller, False)
    await until(lambda: len(peer.heard) == len(octets))
    assert peer.heard == octets
    assert puller.calls == ["resume"]


@pytest.mark.parametrize(
    ("when", "kind"),
    [("before", Puller), ("in", Producer), ("in", Puller), ("behind", Producer), ("behind", Puller)],
)
@pytest_twisted.ensureDeferred
async def test_a_producer_may_be_registered_at_any_time(hall, version, when, kind):
    """Before TLS has begun, in the handshake, and behind it."""
    octets = some(300_000)

    def register(subject):
        producer = kind(subject.transport, octets, 30_000)
        subject.transport.registerProducer(producer, kind is Producer)
        if kind is Producer:
            producer.resumeProducing()

    def begin(subject):
        if when == "before":
            register(subject)
        subject.transport.startTLS(hall.creator(version))
        if when == "in":
            register(subject)

    subject = Subject(made=begin, **({"shaken": register} if when == "behind" else {}))
    wire = await hall.meet(subject)
    plain = await _plain(hall, wire, octets)
    assert bool(plain) == (when == "before")
    peer = hall.peer(wire, version)
    peer.go_on()
    await until(lambda: len(plain) + len(peer.heard) == len(octets))
    assert plain + peer.heard == octets
    subject.transport.loseConnection()
    await until(lambda: peer.goodbye)


async def _plain(hall, wire, octets):
    """What of these octets came before TLS; the handshake is left where it is."""
    if hall.way.client:
        await until(lambda: b"\x16\x03\x01" in wire.octets)
    await settle()
    heard = wire.take()
    length = next(n for n in range(len(heard), -1, -1) if octets.startswith(heard[:n]))
    wire.octets += heard[length:]
    return heard[:length]


@pytest_twisted.ensureDeferred
async def test_a_paused_producer_that_is_there_before_tls_goes_on_behind_it(our_hall, version):
    """With Twisted's layer it would never hear that it may."""
    octets = some(MUCH)

    def begin(subject):
        narrow(subject)
        producer = Producer(subject.transport, octets)
        subject.transport.registerProducer(producer, True)
        producer.resumeProducing()
        assert producer.paused
        subject.transport.startTLS(our_hall.creator(version))

    subject = Subject(made=begin)
    wire = await our_hall.meet(subject)
    await until(lambda: not subject.transport._plaintext)
    plain = await _plain(our_hall, wire, octets)
    assert plain
    peer = our_hall.peer(wire, version)
    peer.go_on()
    await until(lambda: len(plain) + len(peer.heard) == len(octets))
    assert plain + peer.heard == octets


# --- reading ---


@pytest.mark.parametrize("sizes", [[1], [100, 1000, 10], [RECORD], [RECORD, RECORD, 1], [5000] * 10, [RECORD] * 40])
@pytest_twisted.ensureDeferred
async def test_records_of_all_sizes_arrive(hall, version, sizes):
    subject = Subject()
    peer = await hall.secured(subject, version)
    octets = some(sum(sizes))
    left = octets
    for size in sizes:
        peer.send(left[:size])
        left = left[size:]
    await until(lambda: len(subject.received) == len(octets))
    assert subject.received == octets


@pytest_twisted.ensureDeferred
async def test_a_pause_takes_effect_at_once(our_hall, version):
    """In Twisted's layer what was read already still comes."""
    subject = Subject(heard=lambda it, _: it.transport.pauseProducing())
    peer = await our_hall.secured(subject, version)
    for _ in range(40):
        peer.send(b"x" * RECORD)
    heard = 0
    while heard < 40 * RECORD:
        await until(lambda before: len(subject.received) > before, heard)
        heard = len(subject.received)
        await settle(5)
        assert len(subject.received) == heard
        subject.transport.resumeProducing()
    assert heard == 40 * RECORD


@pytest_twisted.ensureDeferred
async def test_who_pauses_hears_nothing_until_it_resumes(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    subject.transport.pauseProducing()
    peer.send(b"later")
    await settle()
    assert not subject.received
    subject.transport.resumeProducing()
    await until(lambda: subject.received == b"later")


@pytest_twisted.ensureDeferred
async def test_a_pause_in_the_middle_of_a_record_loses_nothing(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    record = peer.sealed(b"a whole record")
    peer.wire.transport.write(record[:9])
    await settle()
    subject.transport.pauseProducing()
    peer.wire.transport.write(record[9:])
    await settle()
    assert not subject.received
    subject.transport.resumeProducing()
    await until(lambda: subject.received == b"a whole record")


@pytest_twisted.ensureDeferred
async def test_a_paused_side_may_write(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    subject.transport.pauseProducing()
    peer.send(b"not yet")
    subject.transport.write(some(MUCH))
    await until(lambda: len(peer.heard) == MUCH)
    assert not subject.received


@pytest_twisted.ensureDeferred
async def test_a_paused_side_does_not_notice_that_the_peer_has_gone(hall, version):
    subject = Subject()
    peer = await hall.secured(subject, version)
    subject.transport.pauseProducing()
    peer.say_goodbye()
    peer.wire.transport.loseConnection()
    await settle()
    assert not subject.lost
    subject.transport.resumeProducing()
    await until(lambda: subject.lost)


@pytest_twisted.ensureDeferred
async def test_others_get_their_turn_while_much_arrives(hall):
    """One read delivers a bounded number of octets."""
    sizes = []
    subject = Subject(heard=lambda _, data: sizes.append(len(data)))
    peer = await hall.secured(subject)
    peer.send(bytes(MUCH))
    await until(lambda: len(subject.received) == MUCH)
    assert max(sizes) <= LARGE_PORTION_OCTETS


@pytest_twisted.ensureDeferred
async def test_a_reader_that_resumes_within_is_not_called_again_within(hall):
    depth = []

    def heard(subject, _):
        depth.append("in")
        subject.transport.pauseProducing()
        subject.transport.resumeProducing()
        assert depth.pop() == "in"
        assert not depth

    subject = Subject(heard=heard)
    peer = await hall.secured(subject)
    peer.send(b"x" * 200_000)
    await until(lambda: len(subject.received) == 200_000)


@pytest_twisted.ensureDeferred
async def test_a_half_closeable_protocol_is_no_exception(hall):
    """Over TLS there is no half of a connection: the end of the stream is the end."""
    subject = HalfCloseableSubject()
    peer = await hall.secured(subject)
    peer.wire.transport.loseWriteConnection()
    await until(lambda: subject.lost)
    assert subject.events == ["made", "shaken", "gone"]
    await deferLater(reactor, 0)
