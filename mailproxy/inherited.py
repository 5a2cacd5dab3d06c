"""
Endpoint strings to endpoints; what Twisted makes of them, but for sockets that systemd has opened.

Those stay systemd's: the file of a Unix socket and its mode are not touched, a descriptor is kept when its listener
ends, so that a later configuration can listen on it again, and other processes go on with the same socket.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.fdesc import setNonBlocking
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.tcp import Port as TCPPort
from twisted.internet.unix import Port as UnixPort
from zope.interface import implementer


def endpoint_of(reactor: Any, text: str) -> IStreamServerEndpoint:
    """
    The endpoint that a string of the configuration means.

    Raises:
        ValueError: there is no such endpoint; the text says why.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except (KeyError, IndexError) as error:
        raise ValueError("systemd has handed over no such socket") from error
    if isinstance(endpoint, AdoptedStreamServerEndpoint):
        return InheritedEndpoint(reactor, endpoint.fileno, endpoint.addressFamily)
    return endpoint


@implementer(IStreamServerEndpoint)
@frozen
class InheritedEndpoint:
    """
    A socket that was open when the process began; it can be listened on again and again.

    Clients that are not let in when a listener ends can wait there for who comes after us: it `outlives` us.
    """

    outlives = True

    reactor: Any
    descriptor: int
    family: int

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """The factory serves the socket."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        setNonBlocking(self.descriptor)
        if self.family != UnixPort.addressFamily:
            port: IListeningPort = self.reactor.adoptStreamPort(self.descriptor, self.family, factory)
            return port
        port = InheritedUnixPort._fromListeningDescriptor(self.reactor, self.descriptor, factory)  # noqa: SLF001 - ours
        port.startListening()
        return port


class InheritedUnixPort(UnixPort):
    """
    A Unix socket that somebody else has made.  Twisted's own port would open its file to everybody, and remove it at
    the end.
    """

    _shouldShutdown = False

    socket: Any
    fileno: Any
    factory: Any

    def startListening(self) -> None:
        """Connections are accepted."""
        self.factory.doStart()
        self.socket, self._preexistingSocket = self._preexistingSocket, None
        self.fileno = self.socket.fileno
        self.connected = True
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Any) -> None:
        """Nobody is accepted by us any more."""
        TCPPort.connectionLost(self, reason)
