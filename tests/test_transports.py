"""The connections in memory that other tests rely on behave as Twisted's do."""

import random

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from tests.support.transports import HIGH_MARK, PIPE_OCTETS, Network

CROWD = HIGH_MARK + PIPE_OCTETS + 1


class Plain(Protocol):
    def __init__(self):
        self.received = b""
        self.reason = None

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.reason = reason.type


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Plain):
    def __init__(self):
        super().__init__()
        self.halves = []

    def readConnectionLost(self):
        self.halves.append("read")

    def writeConnectionLost(self):
        self.halves.append("write")


class Producer:
    def __init__(self):
        self.calls = []

    def pauseProducing(self):
        self.calls.append("pause")

    def resumeProducing(self):
        self.calls.append("resume")

    def stopProducing(self):
        self.calls.append("stop")


def plugged(kind=Plain, **more):
    network = Network()
    protocol = kind()
    return network, protocol, network.plug(protocol, **more)


def test_octets_arrive_in_order_both_ways():
    network = Network(choose=random.Random(7).choice)
    network.read_octets = network.write_octets = 1000
    one, other = Plain(), Plain()
    network.join(one, other)
    data = bytes(range(256)) * 1000
    one.transport.write(data)
    other.transport.write(data[::-1])
    network.settle()
    assert other.received == data
    assert one.received == data[::-1]


def test_a_full_buffer_pauses_its_producer_until_it_is_empty():
    network, protocol, peer = plugged()
    producer = Producer()
    protocol.transport.registerProducer(producer, True)
    protocol.transport.write(b"x" * PIPE_OCTETS)
    network.settle()
    assert producer.calls == []
    protocol.transport.write(b"y" * HIGH_MARK)
    assert producer.calls == []
    protocol.transport.write(b"z")
    network.settle()
    assert producer.calls == ["pause"]
    heard = peer.hear()
    network.settle()
    assert producer.calls == ["pause"]
    for _ in range(3):
        heard += peer.hear()
        network.settle()
    assert producer.calls == ["pause", "resume"]
    assert heard == b"x" * PIPE_OCTETS + b"y" * HIGH_MARK + b"z"


def test_there_is_one_producer_at_a_time():
    _, protocol, _ = plugged()
    protocol.transport.registerProducer(Producer(), True)
    with pytest.raises(RuntimeError):
        protocol.transport.registerProducer(Producer(), True)


@pytest.mark.parametrize("as_tcp", [False, True])
def test_a_registered_producer_is_in_the_way_of_closing(as_tcp):
    network, protocol, peer = plugged(as_tcp=as_tcp)
    protocol.transport.registerProducer(Producer(), True)
    protocol.transport.write(b"last words")
    protocol.transport.loseConnection()
    network.settle()
    assert (protocol.reason is ConnectionDone) == as_tcp
    transport = protocol.transport
    transport.unregisterProducer()
    network.settle()
    assert protocol.reason is ConnectionDone
    assert peer.hear() == b"last words"
    assert peer.over


def test_who_pauses_gets_nothing_and_notices_nothing():
    network, protocol, peer = plugged()
    protocol.transport.pauseProducing()
    peer.say(b"hello")
    peer.abort()
    network.settle()
    assert (protocol.received, protocol.reason) == (b"", None)
    protocol.transport.resumeProducing()
    network.settle()
    assert (protocol.received, protocol.reason) == (b"", ConnectionLost)


def test_closing_flushes_first():
    network, protocol, peer = plugged()
    protocol.transport.write(b"x" * CROWD)
    protocol.transport.loseConnection()
    protocol.transport.write(b"too late")
    network.settle()
    assert protocol.reason is None
    heard = b""
    for _ in range(5):
        heard += peer.hear()
        network.settle()
    assert heard == b"x" * CROWD
    assert protocol.reason is ConnectionDone


def test_aborting_discards_and_is_told_in_a_later_turn():
    network, protocol, peer = plugged()
    protocol.transport.write(b"x" * CROWD)
    network.settle()
    producer = Producer()
    protocol.transport.registerProducer(producer, True)
    protocol.transport.abortConnection()
    protocol.transport.abortConnection()
    assert protocol.reason is None
    network.settle()
    assert protocol.reason is ConnectionAborted
    assert producer.calls == ["stop"]
    with pytest.raises(ConnectionResetError):
        peer.hear()


def test_closing_on_octets_that_nobody_read_destroys_the_last_words():
    network, protocol, peer = plugged()
    protocol.transport.pauseProducing()
    peer.say(b"still talking")
    protocol.transport.write(b"421 bye")
    protocol.transport.loseConnection()
    network.settle()
    assert peer.over
    with pytest.raises(ConnectionResetError):
        peer.hear()


def test_a_half_close_leaves_the_other_half():
    network, protocol, peer = plugged(HalfCloseable)
    peer.say(b"done")
    peer.shutdown()
    network.settle()
    assert (protocol.received, protocol.halves, protocol.reason) == (b"done", ["read"], None)
    protocol.transport.write(b"answer")
    protocol.transport.loseWriteConnection()
    network.settle()
    assert protocol.halves == ["read", "write"]
    assert peer.hear() == b"answer"
    protocol.transport.loseConnection()
    assert protocol.reason is ConnectionDone


def test_without_half_close_the_end_of_the_input_is_the_end():
    network, protocol, peer = plugged()
    peer.say(b"done")
    peer.shutdown()
    network.settle()
    assert (protocol.received, protocol.reason) == (b"done", ConnectionDone)


def test_writing_to_nobody_is_a_loss():
    network, protocol, peer = plugged(HalfCloseable)
    peer.close()
    network.settle()
    assert protocol.reason is None
    protocol.transport.write(b"anybody there?")
    network.settle()
    protocol.transport.write(b"hello?")
    network.settle()
    assert protocol.reason is ConnectionLost
    assert protocol.halves == ["read"]


def test_time_goes_by_from_one_timer_to_the_next():
    network, protocol, peer = plugged()
    network.clock.callLater(1, lambda: protocol.transport.write(b"a"))
    network.clock.callLater(2, protocol.transport.loseConnection)
    network.advance(1.5)
    assert (peer.hear(), peer.over) == (b"a", False)
    network.advance(10)
    assert peer.over
    assert network.clock.seconds() == 11.5
