"""
Sockets that the supervisor has opened, in a worker.

They are shared: other workers accept from the same queue.  A worker that is busy must not take more than it can serve
at once, or clients wait for it while others are idle; so it takes a few in each turn of its reactor.  And one that has
more sessions than others steps back first (`board`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.tcp import Port as TCPPort
from zope.interface import implementer

from mailproxy.inherited import InheritedUnixPort
from mailproxy.recipes import Order
from mailproxy.workers.places import place_of

ACCEPTS_A_TURN = 2
"""Clients that are let in before others get their turn."""

STEP_BACK_SECONDS = 0.005
"""How long a worker that is ahead leaves a client to others; an idle one takes it within a tenth of that."""

IsAhead = Callable[[], bool]
"""Whether we have clearly more sessions than another worker."""


class Handed:
    """
    The sockets that have come and that nobody listens on yet, by their places.

    Args:
        reactor: to listen with.
        is_ahead: asked before a client is let in.
    """

    def __init__(self, reactor: Any, is_ahead: IsAhead) -> None:
        self._reactor = reactor
        self._is_ahead = is_ahead
        self._waiting: dict[str, tuple[socket.socket, bool]] = {}

    def put(self, place: str, opened: socket.socket, *, outlives: bool) -> None:
        """A socket has come; `outlives` is whether somebody else serves it after us."""
        self._waiting[place] = opened, outlives

    def endpoint(self, order: Order) -> IStreamServerEndpoint:
        """Where the listener for an order listens."""
        place = place_of(order)
        outlives = self._waiting[place][1] if place in self._waiting else False
        return _Endpoint(self._reactor, lambda: self._waiting.pop(place, (None, False))[0], outlives, self._is_ahead)

    def drop(self) -> None:
        """Whatever has come and is not used is closed."""
        while self._waiting:
            self._waiting.popitem()[1][0].close()


@implementer(IStreamServerEndpoint)
class _Endpoint:
    """
    A socket's place.

    Args:
        reactor: to listen with.
        take: the socket, or None when none has come.
        outlives: whether clients that wait at the end are served by somebody else.
        is_ahead: as above.
    """

    def __init__(
        self,
        reactor: Any,
        take: Callable[[], socket.socket | None],
        outlives: bool,  # noqa: FBT001 - as it came
        is_ahead: IsAhead,
    ) -> None:
        self.outlives = outlives
        self._reactor = reactor
        self._take = take
        self._is_ahead = is_ahead

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """The factory serves the socket, which is closed with its port."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        opened = self._take()
        if opened is None:
            raise OSError("the supervisor has opened no such socket")
        with opened:
            opened.setblocking(False)
            port = self._port(opened, factory)
        port.is_ahead = self._is_ahead
        port.startListening()
        return port

    def _port(self, opened: socket.socket, factory: IProtocolFactory) -> _Shared:
        if opened.family == socket.AF_UNIX:
            make: Callable[..., _Shared] = _SharedUnixPort._fromListeningDescriptor  # noqa: SLF001 - our own class
            return make(self._reactor, opened.fileno(), factory)
        make = _Shared._fromListeningDescriptor  # noqa: SLF001 - our own class, too
        port: _Shared = make(self._reactor, opened.fileno(), opened.family, factory)
        return port


class _Shared(TCPPort):
    """
    A port that others accept from as well.
    """

    reactor: Any
    is_ahead: IsAhead
    _has_stepped_back = False

    def doRead(self) -> None:
        """A client waits: it is let in, unless it is left to others for a moment."""
        if not self._has_stepped_back and self.is_ahead():
            self._has_stepped_back = True
            self.stopReading()
            self.reactor.callLater(STEP_BACK_SECONDS, self._come_forward)
        else:
            self._has_stepped_back = False
            self.let_in()

    def let_in(self) -> None:
        """A few clients are let in; Twisted by itself would take more each time."""
        self.numberAccepts = ACCEPTS_A_TURN
        super().doRead()

    def _come_forward(self) -> None:
        if self.connected and not self.disconnecting:
            self.startReading()


class _SharedUnixPort(_Shared, InheritedUnixPort):
    """One of a Unix socket."""
