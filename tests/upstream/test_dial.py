"""A TCP connection: the first address that answers has the protocol, and nothing is left of the others."""

import gc
import weakref

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import NoRouteError
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from mailproxy.upstream.dial import NEXT_ADDRESS_SECONDS, dial, look_up

ONE, OTHER, THIRD = (IPv4Address("TCP", f"192.0.2.{number}", 587) for number in (1, 2, 3))


class Wanted(Protocol):
    arrived = None

    def connectionMade(self):
        arrived, self.arrived = self.arrived, None
        arrived.callback(None)


class Call:
    """A call to some addresses, and what became of it."""

    def __init__(self, *addresses):
        self.reactor = MemoryReactorClock()
        self.protocol = Wanted()
        self.results = []
        self.dialling = dial(self.reactor, addresses, 15.0, self.protocol)
        self.dialling.addBoth(self.results.append)

    @property
    def tried(self):
        return [host for host, *_ in self.reactor.tcpClients]

    @property
    def stopped(self):
        return [connector.stoppedConnecting for connector in self.reactor.connectors]

    def factory(self, number):
        return self.reactor.tcpClients[number][2]

    def answer(self, number):
        protocol = self.factory(number).buildProtocol(ONE)
        if protocol is not None:
            protocol.makeConnection(object())
        return protocol

    def refuse(self, number, error=None):
        connector = self.reactor.connectors[number]
        self.factory(number).clientConnectionFailed(connector, Failure(error or Refused()))


def test_one_address_answers():
    call = Call(ONE)
    assert (call.tried, call.results) == (["192.0.2.1"], [])
    assert call.reactor.tcpClients[0][3] == 15.0
    assert call.answer(0) is call.protocol
    assert call.results == [None]
    assert not call.reactor.getDelayedCalls()


def test_the_next_address_is_tried_at_once_when_one_refuses():
    call = Call(ONE, OTHER)
    call.refuse(0)
    assert call.tried == ["192.0.2.1", "192.0.2.2"]
    call.answer(1)
    assert call.results == [None]
    assert not call.reactor.getDelayedCalls()


def test_the_next_address_is_tried_beside_one_that_is_silent():
    call = Call(ONE, OTHER, THIRD)
    call.reactor.advance(NEXT_ADDRESS_SECONDS - 0.01)
    assert len(call.tried) == 1
    call.reactor.advance(0.01)
    assert len(call.tried) == 2
    call.reactor.advance(NEXT_ADDRESS_SECONDS)
    assert len(call.tried) == 3
    assert call.answer(1) is call.protocol
    assert call.stopped == [True, False, True]
    assert not call.reactor.getDelayedCalls()


def test_who_answers_second_gets_nothing():
    call = Call(ONE, OTHER)
    call.reactor.advance(NEXT_ADDRESS_SECONDS)
    call.answer(1)
    assert call.answer(0) is None
    call.refuse(0)
    assert call.results == [None]


def test_the_last_one_says_why_there_is_none():
    call = Call(ONE, OTHER)
    call.reactor.advance(NEXT_ADDRESS_SECONDS)
    call.refuse(1, NoRouteError())
    assert call.results == []
    call.refuse(0)
    assert call.results[0].check(Refused)
    assert not call.reactor.getDelayedCalls()


@pytest.mark.parametrize("tries", [1, 2])
def test_nobody_may_want_it_any_more(tries):
    call = Call(ONE, OTHER)
    call.reactor.advance(NEXT_ADDRESS_SECONDS * (tries - 1))
    call.dialling.cancel()
    assert call.results[0].check(CancelledError)
    assert call.stopped == [True] * tries
    assert [call.answer(number) for number in range(tries)] == [None] * tries
    assert not call.reactor.getDelayedCalls()


def test_a_try_that_fails_at_once_is_over(monkeypatch):
    class Reactor(MemoryReactorClock):
        def connectTCP(self, host, port, factory, timeout=30, bindAddress=None):
            connector = super().connectTCP(host, port, factory, timeout, bindAddress)
            factory.clientConnectionFailed(connector, Failure(Refused()))
            return connector

    monkeypatch.setattr("tests.upstream.test_dial.MemoryReactorClock", Reactor)
    call = Call(ONE, OTHER)
    assert call.tried == ["192.0.2.1", "192.0.2.2"]
    assert call.results[0].check(Refused)
    assert not call.reactor.getDelayedCalls()


def test_refcounting_alone_frees_all_of_it():
    gc.collect()
    gc.disable()
    try:
        call = Call(ONE, OTHER)
        call.answer(0)
        gone = weakref.ref(call.protocol)
        call.reactor.tcpClients.clear()
        call.reactor.connectors.clear()
        del call
        assert gone() is None
    finally:
        gc.enable()


def test_addresses_are_those_of_the_name_with_the_port():
    class Names:
        def resolveHostName(self, receiver, host, portNumber):
            self.asked = host
            receiver.resolutionBegan(None)
            for address in (ONE, OTHER):
                receiver.addressResolved(IPv4Address("TCP", address.host, portNumber))
            receiver.resolutionComplete()

    reactor = MemoryReactorClock()
    reactor.installNameResolver(names := Names())
    found = []
    look_up(reactor, "mail.test", 587).addCallback(found.extend)
    assert (names.asked, found) == ("mail.test", [ONE, OTHER])
