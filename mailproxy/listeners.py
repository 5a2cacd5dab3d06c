"""
The listeners as a service: all of them are bound before any is served, and a session ends before its port is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.downstream.factory import SessionFactory

_log = Logger(namespace="mailproxy.listeners")


class Listener(Service):
    """
    One endpoint and the factory that serves it; `problem` says why it could not be bound.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, place: str, factory: SessionFactory) -> None:
        self.factory = factory
        self.problem: str | None = None
        self.address: Any = None
        """Where it listens, once it does."""
        self._endpoint = endpoint
        self._place = place
        self._port: Any = None

    def privilegedStartService(self) -> None:
        """The port is bound, or `problem` says why not."""
        self._endpoint.listen(self.factory).addCallbacks(self._bound, self._not_bound)

    def stopService(self) -> Deferred[Any]:
        """Nobody new comes in, and every session ends."""
        super().stopService()
        port, self._port = self._port, None
        closed = maybeDeferred(port.stopListening) if port is not None else None
        waits = [self.factory.stop(), *([closed] if closed is not None else [])]
        return DeferredList(waits, consumeErrors=True)

    def _bound(self, port: Any) -> None:
        self._port = port
        self.address = port.getHost()
        _log.info("{label}: listening on {place}", label=self.factory.log.label, place=self._place)

    def _not_bound(self, failure: Failure) -> None:
        reason = getattr(failure.value, "socketError", failure.value)
        self.problem = f"{self.factory.log.label}: cannot listen on {self._place}: {reason}"


class Listeners(MultiService):
    """
    All listeners; one that cannot be bound ends the process, so that nobody takes a part for the whole.

    `stopped` is called when the last session has ended.
    """

    def __init__(self, stopped: Callable[[], None]) -> None:
        super().__init__()
        self._stopped = stopped

    def privilegedStartService(self) -> None:
        """Every port is bound; else the reasons are logged and the exit status is 1."""
        super().privilegedStartService()
        problems = [listener.problem for listener in self._listeners() if listener.problem is not None]
        for problem in problems:
            _log.critical("{problem}", problem=problem)
        if problems:
            raise SystemExit(1)

    def stopService(self) -> Deferred[Any]:
        """Nobody new comes in, every session ends, and then all else does."""
        return maybeDeferred(super().stopService).addBoth(self._all_stopped)

    def _all_stopped(self, result: Any) -> Any:
        self._stopped()
        return result

    def is_ours(self, peer: Any, own: Any) -> bool:
        """Whether a connection from our address `own` to `peer` leads to one of the listeners."""
        return any(_leads_to(listener.address, peer, own) for listener in self._listeners())

    def _listeners(self) -> list[Listener]:
        return [service for service in self.services if isinstance(service, Listener)]


def _leads_to(listening: Any, peer: Any, own: Any) -> bool:
    if getattr(listening, "port", None) != peer.port:
        return False
    anywhere = listening.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    here = peer.host == own.host or ip_address(peer.host).is_loopback
    return bool(listening.host == peer.host or (anywhere and here))
