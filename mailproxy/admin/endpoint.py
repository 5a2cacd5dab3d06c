"""
The port of the admin endpoint, from one configuration to the next.

It is bound at the start and closed at the very end, so that it tells of everything in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.admin.channel import MAX_CONNECTIONS, Door
from mailproxy.admin.desk import Desk, Pages
from mailproxy.admin.guard import Guard, make_guard
from mailproxy.admin.history import History
from mailproxy.config.endpoints import bound_endpoint, opened_endpoint, parse_endpoint
from mailproxy.config.values import AdminConfig
from mailproxy.errors import ConfigError

_log = Logger(namespace="mailproxy.admin")


def descriptors(config: AdminConfig | None) -> int:
    """How many it takes at most."""
    return 0 if config is None else 1 + MAX_CONNECTIONS


@define(eq=False)
class _Open:
    """An endpoint that is wanted, and its port, if it is bound."""

    config: AdminConfig
    desk: Desk
    door: Door
    port: Any = None


@define(eq=False)
class _Change:
    """What was prepared: another endpoint, none, or another guard for the same one."""

    config: AdminConfig | None
    opened: _Open | None
    guard: Guard | None
    moved: bool


class Admin:
    """
    The endpoint, if there is one.

    Args:
        reactor: the process's own.
        pages: where answers come from.
        history: runs as long as somebody can ask for it.
        endpoint: makes an endpoint out of its string.
    """

    def __init__(
        self, reactor: Any, pages: Pages, history: History, endpoint: Callable[[Any, str], IStreamServerEndpoint]
    ) -> None:
        self._reactor = reactor
        self._pages = pages
        self._history = history
        self._endpoint = endpoint
        self._open: _Open | None = None
        self._change: _Change | None = None

    @property
    def address(self) -> Any:
        """Where it listens; None while it does not."""
        return None if self._open is None or self._open.port is None else self._open.port.getHost()

    def start(self, config: AdminConfig | None, where: str) -> list[str]:
        """It listens, if it is to; else why not.  `where` is what a problem with its files begins with."""
        if config is None:
            return []
        try:
            opened = self._make(config, where)
        except ConfigError as error:
            return list(error.problems)
        problem = self._listen(opened)
        if problem is None:
            self._open = opened
            self._history.start()
        return [] if problem is None else [problem]

    async def prepare(self, config: AdminConfig | None, where: str) -> list[str]:
        """What can fail about a change is done; else why it cannot be.  `commit` or `undo` follows."""
        before = self._open
        try:
            if before is not None and config is not None and before.config.endpoint == config.endpoint:
                guard = before.desk.guard if before.config == config else self._guard(config, where)
                self._change = _Change(config, before, guard, moved=False)
                return []
            self._change = _Change(config, self._make(config, where) if config else None, None, moved=True)
        except ConfigError as error:
            return list(error.problems)
        problem = await self._bind(self._change.opened)
        if problem is not None:
            await self.undo()
        return [] if problem is None else [problem]

    def commit(self) -> None:
        """What was prepared is in use."""
        change, self._change = self._change, None
        if change is None:
            return
        if not change.moved:
            assert change.opened is not None
            assert change.config is not None
            assert change.guard is not None
            change.opened.config, change.opened.desk.guard = change.config, change.guard
            return
        before, self._open = self._open, change.opened
        if before is not None:
            self._close(before)
        if self._open is None:
            self._history.stop()
        elif before is None:
            self._history.start()

    async def undo(self) -> None:
        """All is as before."""
        change, self._change = self._change, None
        if change is None or not change.moved:
            return
        if change.opened is not None:
            await self._close(change.opened)
        if self._open is not None and self._open.port is None:
            problem = self._listen(self._open)
            if problem is not None:
                _log.critical("{problem}", problem=problem)

    def close(self) -> Deferred[Any]:
        """Nobody is answered any more."""
        before, self._open = self._open, None
        self._history.stop()
        return succeed(None) if before is None else self._close(before)

    async def _bind(self, opened: _Open | None) -> str | None:
        """The new port is bound; one of ours that is in its way closes just before."""
        if opened is None:
            return None
        before = self._open
        if before is not None and _place(before).collides(_place(opened)):
            await self._close(before)
        return self._listen(opened)

    def _make(self, config: AdminConfig, where: str) -> _Open:
        desk = Desk(self._pages, self._guard(config, where), self._reactor.seconds)
        return _Open(config, desk, Door(desk, self._reactor))

    def _guard(self, config: AdminConfig, where: str) -> Guard:
        return make_guard(config, where, self._reactor.seconds)

    def _listen(self, opened: _Open) -> str | None:
        problems: list[str] = []
        text = bound_endpoint(opened.config.endpoint)

        def bound(port: Any) -> None:
            opened.port = port
            place = opened_endpoint(text, getattr(port.getHost(), "port", None))
            _log.info("admin endpoint: listening on {place}", place=place)

        def not_bound(failure: Failure) -> None:
            reason = getattr(failure.value, "socketError", failure.value)
            problems.append(f"admin endpoint: cannot listen on {text}: {reason}")

        maybeDeferred(self._endpoint(self._reactor, text).listen, opened.door).addCallbacks(bound, not_bound)
        return problems[0] if problems else None

    def _close(self, opened: _Open) -> Deferred[Any]:
        port, opened.port = opened.port, None
        opened.door.abort()
        return succeed(None) if port is None else maybeDeferred(port.stopListening)


def _place(opened: _Open) -> Any:
    return parse_endpoint(opened.config.endpoint)
