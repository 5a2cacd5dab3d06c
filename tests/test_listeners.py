"""The listeners together: all are bound or none serves, and a way back to one of them is seen."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import LogLevel

from mailproxy.listeners import Listener, Listeners


class Port:
    def __init__(self, address):
        self.address = address
        self.open = True

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
    label = "acme/dest"


class Factory:
    log = Log()

    def __init__(self):
        self.stopped = Deferred()
        self.stops = 0

    def stop(self):
        self.stops += 1
        return self.stopped


def together(*addresses):
    ended = []
    listeners = Listeners(lambda: ended.append(True))
    endpoints = [Endpoint(address) for address in addresses]
    for endpoint in endpoints:
        Listener(endpoint, "tcp:25", Factory()).setServiceParent(listeners)
    return listeners, endpoints, ended


def test_every_port_is_bound_before_privileges_are_dropped():
    listeners, endpoints, _ = together(IPv4Address("TCP", "127.0.0.1", 25), UNIXAddress("/run/mail"))
    listeners.privilegedStartService()
    assert [len(endpoint.factories) for endpoint in endpoints] == [1, 1]
    listeners.startService()
    assert [len(endpoint.factories) for endpoint in endpoints] == [1, 1]


def test_a_port_that_cannot_be_bound_ends_it_all_with_its_reason(logged_failures):
    listeners, _, _ = together(IPv4Address("TCP", "127.0.0.1", 25), None)
    with pytest.raises(SystemExit) as caught:
        listeners.privilegedStartService()
    assert caught.value.code == 1
    (event,) = logged_failures
    assert event["log_level"] is LogLevel.critical
    assert event["problem"] == "acme/dest: cannot listen on tcp:25: [Errno 13] Permission denied"
    logged_failures.clear()


def test_stopping_closes_the_ports_first_and_waits_for_every_session():
    listeners, endpoints, ended = together(IPv4Address("TCP", "127.0.0.1", 25), IPv4Address("TCP", "127.0.0.1", 26))
    listeners.privilegedStartService()
    listeners.startService()
    done = listeners.stopService()
    factories = [endpoint.factories[0] for endpoint in endpoints]
    assert [factory.stops for factory in factories] == [1, 1]
    assert not any(endpoint.port.open for endpoint in endpoints)
    factories[0].stopped.callback(None)
    assert (done.called, ended) == (False, [])
    factories[1].stopped.callback(None)
    assert (done.called, ended) == (True, [True])


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
def test_a_way_back_to_ourselves_is_seen(listening, peer, own, ours):
    listeners, _, _ = together(listening)
    assert not listeners.is_ours(peer, own)
    listeners.privilegedStartService()
    assert listeners.is_ours(peer, own) == ours
