"""
A reactor on connections in memory, for the whole proxy: tests hold the other ends, of mail clients and mail servers.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorPluggableNameResolver, IReactorTCP, IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from tests.support.transports import Network, Socket


class MemoryPort:
    """A port that is listened on, until the turn after `stopListening`."""

    def __init__(self, reactor: MemoryReactor, number: int, factory: Any, interface: str) -> None:
        self.factory = factory
        self._reactor = reactor
        self._address = IPv4Address("TCP", interface, number)

    def getHost(self) -> IPv4Address:
        return self._address

    def stopListening(self) -> Deferred[None]:
        return deferLater(self._reactor, 0, self._reactor.forget, self)


@implementer(IReactorTime, IReactorTCP, IReactorPluggableNameResolver)
class MemoryReactor:
    """
    `servers` are the mail servers' ends of connections that were made, `blocked` the ports that nobody can have.
    """

    nameResolver: Any = None

    def __init__(self) -> None:
        self.network = Network()
        self.ports: dict[int, MemoryPort] = {}
        self.blocked: set[int] = set()
        self.servers: list[Socket] = []
        self._free = iter(range(30000, 40000))
        clock = self.network.clock
        self.seconds, self.callLater, self.getDelayedCalls = clock.seconds, clock.callLater, clock.getDelayedCalls

    def installNameResolver(self, resolver: Any) -> Any:
        before, self.nameResolver = self.nameResolver, resolver
        return before

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> MemoryPort:
        number = port or next(self._free)
        if number in self.ports or number in self.blocked:
            raise CannotListenError(interface, number, OSError(98, "Address already in use"))
        self.ports[number] = MemoryPort(self, number, factory, interface)
        return self.ports[number]

    def forget(self, port: MemoryPort) -> None:
        """Others may listen there."""
        del self.ports[port.getHost().port]

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, **_: Any) -> Any:
        """A mail server is connected to, in the reactor's next turn."""
        self.callLater(0, self._connect, factory, IPv4Address("TCP", host, port))
        return self

    def stopConnecting(self) -> None:
        raise NotImplementedError

    def _connect(self, factory: Any, address: IPv4Address) -> None:
        self.servers.append(self.network.plug(factory.buildProtocol(address)))

    # What tests do

    def visit(self, number: int) -> Socket:
        """A mail client is connected to a port: its end."""
        port = self.ports[number]
        client = self.network.plug(port.factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 5000 + number)))
        self.network.settle()
        return client

    def ask(self, socket: Socket, octets: bytes = b"") -> bytes:
        """The octets are sent, and what comes back without time going by."""
        if octets:
            socket.say(octets)
        self.network.settle()
        return socket.hear()

    def advance(self, seconds: float) -> None:
        """Time has gone by."""
        self.network.advance(seconds)

    def serve_login(self, number: int = -1) -> Socket:
        """The mail server, an SMTP one that takes any password, is logged in to: its end."""
        self.network.settle()
        server = self.servers[number]
        assert self.ask(server, b"220 mail.test ESMTP\r\n").startswith(b"EHLO ")
        assert self.ask(server, b"250-mail.test\r\n250 AUTH PLAIN\r\n").startswith(b"AUTH PLAIN ")
        server.say(b"235 2.7.0 ok\r\n")
        self.network.settle()
        return server
