"""
A socket that the supervisor keeps open, and accepts nobody from.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.config.endpoints import opened_endpoint, parse_endpoint
from mailproxy.recipes import Order

_log = Logger(namespace="mailproxy.listeners")


class _Nobody(ServerFactory):
    """Lets nobody in: it is never asked to."""

    noisy = False


class Held:
    """
    A listener, as far as it is a socket.

    Args:
        endpoint: where it listens.
        order: what the workers make of it.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, order: Order) -> None:
        self.order = order
        self.bound = parse_endpoint(order.endpoint)
        self.outlives: bool = getattr(endpoint, "outlives", False)
        """Whether somebody else serves it after us."""
        self._endpoint = endpoint
        self._port: Any = None

    @property
    def is_open(self) -> bool:
        """Whether clients can connect."""
        return self._port is not None

    @property
    def descriptor(self) -> int:
        """Of the socket, which is open."""
        number: int = self._port.fileno()
        return number

    def listen(self) -> str | None:
        """Clients can connect, and wait for a worker; else why not."""
        problems: list[str] = []
        self._endpoint.listen(_Nobody()).addCallbacks(self._opened, self._not_opened, errbackArgs=(problems,))
        return problems[0] if problems else None

    def close(self) -> Deferred[Any]:
        """Our part of the socket is closed; it goes on as long as a worker has it."""
        port, self._port = self._port, None
        return succeed(None) if port is None else maybeDeferred(port.stopListening)

    def _opened(self, port: Any) -> None:
        port.stopReading()
        port._shouldShutdown = False  # noqa: SLF001 - that would end the socket in the workers as well
        self._port = port
        place = opened_endpoint(self.order.endpoint, getattr(port.getHost(), "port", None))
        _log.info("{label}: listening on {place}", label=self.order.label, place=place)

    def _not_opened(self, failure: Failure, problems: list[str]) -> None:
        reason = getattr(failure.value, "socketError", failure.value)
        problems.append(f"{self.order.label}: cannot listen on {self.order.endpoint}: {reason}")
