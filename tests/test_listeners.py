"""A listener: its port stays, whoever keeps it may change, and a way back to it is seen."""

from contextlib import ExitStack

import pytest
from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import capturedLogs, formatEvent
from zope.interface import implementer

from mailproxy.config import load
from mailproxy.downstream.rooms import Rooms
from mailproxy.inherited import InheritedEndpoint
from mailproxy.listeners import Keeper, Listener
from mailproxy.recipes import HeaderRecipe, OwnNames, orders
from mailproxy.workers.held import Held
from tests.support.proxies import HEAD, LISTENER


class Port:
    def __init__(self, address):
        self.address = address
        self.open = True

    def stopReading(self):
        pass

    def getHost(self):
        return self.address

    def stopListening(self):
        self.open = False
        return succeed(None)


class Endpoint:
    def __init__(self, address=None):
        self.port = Port(address)
        self.factories = []

    def listen(self, factory):
        self.factories.append(factory)
        if self.port.address is None:
            return fail(CannotListenError("127.0.0.1", 25, PermissionError(13, "Permission denied")))
        return succeed(self.port)


class Log:
    label = ""


class Factory:
    """Lets everybody in; `gone` fires when its last session ends."""

    def __init__(self):
        self.log = Log()
        self.came = []
        self.gone = Deferred()

    def buildProtocol(self, addr):
        self.came.append(addr)
        return "protocol"

    def emptied(self):
        return self.gone


@pytest.fixture
def order(tmp_path):
    path = tmp_path / "mailproxy.toml"
    path.write_text(HEAD + LISTENER.format(name="dest", listen='{ acme = "tcp:25" }'))
    (order,) = orders(load(path), OwnNames("proxy.test"))
    return order


@pytest.fixture
def keep(order):
    """Makes keepers; `ended` has those whose needs are over."""

    def keep(name="first", **changes):
        end = ExitStack()
        end.callback(keep.ended.append, name)
        return Keeper(evolve(order, **changes), Factory(), Rooms().door("acme"), end)

    keep.ended = []
    return keep


def _held(endpoint, keeper):
    """The same socket, held for workers."""
    return Held(endpoint, keeper.order)


def test_it_lets_clients_in_to_its_keeper(keep):
    endpoint, keeper = Endpoint(IPv4Address("TCP", "127.0.0.1", 25)), keep()
    listener = Listener(endpoint, keeper)
    assert listener.listen() is None
    (gate,) = endpoint.factories
    assert gate.buildProtocol("address") == "protocol"
    assert keeper.factory.came == ["address"]
    assert listener.address == endpoint.port.address


@pytest.mark.parametrize("make", [Listener, _held])
def test_a_port_that_the_system_chose_is_told(keep, make):
    endpoint = Endpoint(IPv4Address("TCP", "127.0.0.1", 31587))
    with capturedLogs() as events:
        make(endpoint, keep(endpoint="tcp:0:interface=127.0.0.1")).listen()
    assert [formatEvent(each) for each in events] == ["acme/dest: listening on tcp:31587:interface=127.0.0.1"]


def test_a_port_that_cannot_be_bound_has_a_reason(keep):
    listener = Listener(Endpoint(), keep())
    problem = "acme/dest: cannot listen on tcp:25:interface=127.0.0.1:backlog=1024: [Errno 13] Permission denied"
    assert listener.listen() == problem
    assert listener.address is None


def test_a_new_keeper_gets_who_comes_later_and_the_old_one_ends_with_its_last_session(keep):
    first, second = keep(), keep("second")
    listener = Listener(Endpoint(), first)
    listener.gate.buildProtocol("before")
    listener.gate.change(second)
    listener.gate.buildProtocol("after")
    assert (first.factory.came, second.factory.came) == (["before"], ["after"])
    assert (listener.factory, listener.factories) == (second.factory, [second.factory, first.factory])
    assert keep.ended == []
    first.factory.gone.callback(None)
    assert keep.ended == ["first"]
    assert listener.factories == [second.factory]


def test_when_it_is_over_all_its_keepers_are(keep):
    listener = Listener(Endpoint(), keep())
    listener.gate.change(keep("second"))
    before = listener.gate.before[0].factory
    listener.gate.close()
    assert sorted(keep.ended) == ["first", "second"]
    before.gone.callback(None)
    assert sorted(keep.ended) == ["first", "second"]


def test_name_and_limit_are_those_of_the_keeper(keep, order):
    keeper = keep(label="other", recipe=evolve(order.recipe, max_sessions=7))
    keeper.settle()
    assert (keeper.factory.log.label, keeper.door.limit) == ("other", 7)


def test_a_closed_port_can_be_opened_again(keep):
    endpoint = Endpoint(IPv4Address("TCP", "127.0.0.1", 25))
    listener = Listener(endpoint, keep())
    assert listener.close_port().called
    listener.listen()
    assert listener.close_port().called
    assert (endpoint.port.open, listener.address) == (False, None)
    assert listener.listen() is None
    assert listener.address == endpoint.port.address


@implementer(IReadDescriptor)
class ReadingPort(Port):
    """Clients wait at it, a few of whom are let in at a time."""

    def __init__(self, gate, waiting):
        super().__init__(IPv4Address("TCP", "127.0.0.1", 25))
        self._gate = gate
        self._waiting = waiting

    def doRead(self):
        assert self.open
        for client in self._waiting[:2]:
            self._gate.buildProtocol(client)
        del self._waiting[:2]


def test_who_waits_to_be_accepted_is_let_in_before_the_port_closes(keep):
    keeper, endpoint = keep(), Endpoint()
    listener = Listener(endpoint, keeper)
    endpoint.port = ReadingPort(listener.gate, list(range(7)))
    listener.listen()
    listener.close_port()
    assert keeper.factory.came == list(range(7))
    assert not endpoint.port.open


def test_a_port_that_is_shared_lets_them_in_in_its_own_way(keep):
    keeper, endpoint = keep(), Endpoint()
    listener = Listener(endpoint, keeper)
    port = endpoint.port = ReadingPort(listener.gate, list(range(7)))
    port.let_in, port.doRead = port.doRead, lambda: None
    listener.listen()
    assert listener.is_open
    listener.close_port()
    assert keeper.factory.came == list(range(7))
    assert not listener.is_open


def test_however_many_come_there_is_an_end_to_it(keep):
    keeper, endpoint = keep(), Endpoint()
    listener = Listener(endpoint, keeper)
    endpoint.port = ReadingPort(listener.gate, list(range(100_000)))
    listener.listen()
    listener.close_port()
    assert 1000 < len(keeper.factory.came) < 5000


def test_connections_that_owe_a_header_take_descriptors_besides_sessions(keep, order):
    header = HeaderRecipe(frozenset(), (), inside_tls=False, seconds=5.0, most=70)
    keeper = keep(recipe=evolve(order.recipe, header=header))
    assert Listener(Endpoint(), keeper).descriptors == 71


def test_who_waits_at_a_socket_of_systemd_is_left_to_who_comes_after_us(keep, monkeypatch):
    keeper = keep()
    endpoint = InheritedEndpoint(None, 3, 2)
    listener = Listener(endpoint, keeper)
    assert (listener.descriptors, Listener(Endpoint(), keep()).descriptors) == (2, 1)
    port = ReadingPort(listener.gate, [1, 2, 3])
    monkeypatch.setattr(InheritedEndpoint, "listen", lambda *_: succeed(port))
    listener.listen()
    listener.close_port()
    assert keeper.factory.came == []
    assert not port.open


def v4(host, port=2525):
    return IPv4Address("TCP", host, port)


def v6(host, port=2525):
    return IPv6Address("TCP", host, port)


@pytest.mark.parametrize(
    ("listening", "peer", "own", "ours"),
    [
        (v4("127.0.0.1"), v4("127.0.0.1"), v4("127.0.0.1", 40000), True),
        (v4("127.0.0.1"), v4("127.0.0.1", 25), v4("127.0.0.1", 40000), False),
        (v4("127.0.0.1"), v4("192.0.2.1"), v4("192.0.2.9", 40000), False),
        (v4("127.0.0.1"), v4("127.0.0.2"), v4("127.0.0.1", 40000), False),
        (v4("0.0.0.0"), v4("127.0.0.1"), v4("127.0.0.1", 40000), True),
        (v4("0.0.0.0"), v4("127.0.0.2"), v4("127.0.0.1", 40000), True),
        (v4("0.0.0.0"), v4("192.0.2.9"), v4("192.0.2.9", 40000), True),
        (v4("0.0.0.0"), v4("192.0.2.1"), v4("192.0.2.9", 40000), False),
        (v6("::"), v6("::1"), v6("::1", 40000), True),
        (v6("::"), v4("127.0.0.1"), v4("127.0.0.1", 40000), True),
        (v6("::"), v6("2001:db8::1"), v6("2001:db8::9", 40000), False),
        (v6("::1"), v6("::1"), v6("::1", 40000), True),
        (UNIXAddress("/run/mail"), v4("127.0.0.1"), v4("127.0.0.1", 40000), False),
    ],
)
def test_a_way_back_to_ourselves_is_seen(keep, listening, peer, own, ours):
    listener = Listener(Endpoint(listening), keep())
    assert not listener.leads_to(peer, own)
    listener.listen()
    assert listener.leads_to(peer, own) == ours
