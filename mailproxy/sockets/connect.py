"""
Connections that we make.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IConnector
from twisted.internet.posixbase import PosixReactorBase
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from mailproxy.sockets.eager import bound_unsent
from mailproxy.sockets.tls import SocketTLS


class Client(SocketTLS, tcp.Client):
    """A connection that we made."""

    def stopReading(self) -> None:
        """
        The reactor does not look at the socket any more.

        Twisted has it look away from a socket that is just connected, only to have it look again.
        """
        if self.connected or self.disconnected:
            super().stopReading()

    def createInternetSocket(self) -> socket.socket:
        """A socket that is not connected yet."""
        made: socket.socket = super().createInternetSocket()
        bound_unsent(made)
        return made

    def _stopReadingAndWriting(self) -> None:
        if hasattr(self, "reactor"):  # as it has not when there was no socket in the first place
            self.reactor.removeReader(self)
            self.reactor.removeWriter(self)


class Connector(tcp.Connector):
    """
    Makes the connection, and lets go of it and of its factory at its end: each holds the other.

    A factory that wants to connect again does so when it is told of the end, not later.
    """

    def connectionLost(self, reason: Failure) -> None:
        """There is no connection any more."""
        self.transport = None
        super().connectionLost(reason)
        self._let_go()

    def connectionFailed(self, reason: Failure) -> None:
        """There is none."""
        super().connectionFailed(reason)
        self._let_go()

    def _let_go(self) -> None:
        if self.state == "disconnected":
            self.factory = None  # type: ignore[assignment]  # nobody asks for it any more

    def _makeTransport(self) -> Client:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


class _Connecting:
    """A reactor whose TCP connections are ours, and which is as it was in all else."""

    def __init__(self, reactor: PosixReactorBase) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: Any = None,
    ) -> IConnector:
        """As `IReactorTCP.connectTCP`."""
        connector = Connector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.connect()
        return connector


def connecting(reactor: Any) -> Any:
    """
    What endpoints are given in the place of a reactor, so that their TCP connections are ours.

    Reactors that do not watch sockets for others, those of tests among them, are given back as they are.
    """
    return _Connecting(reactor) if isinstance(reactor, PosixReactorBase) else reactor
