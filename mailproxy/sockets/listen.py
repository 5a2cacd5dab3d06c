"""
Connections that we accept.
"""

from __future__ import annotations

from typing import TypeVar

from twisted.internet import tcp

from mailproxy.sockets.eager import bound_unsent
from mailproxy.sockets.tls import SocketTLS

T = TypeVar("T")


class Server(SocketTLS, tcp.Server):
    """A connection that we accepted."""


def serving(port: T) -> T:
    """
    From now on the connections that this port accepts are ours, if it is one for TCP of Twisted's.

    It does not matter who opened its socket.  Ports of Unix sockets, and those of tests, stay as they are.
    """
    if isinstance(port, tcp.Port) and port.transport is tcp.Server:
        port.transport = Server
        bound_unsent(port.socket)
    return port
