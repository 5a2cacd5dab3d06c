"""
Assembly: the one place that knows everybody.

    config -> tenants -> downstream listeners -> session -> upstream -> mail server
                  |                                            ^
                  +--> destination: where, as whom ------------+

`recipes` says what the configuration decides for each listener, `assembly` makes it, `reload` gets from one set of
listeners to the next, and `drain` ends them.  Here they are one service.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Sequence
from functools import cache
from random import SystemRandom
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, succeed
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy import names
from mailproxy.admin.endpoint import Admin, descriptors
from mailproxy.assembly import Assembly, Tools
from mailproxy.audit import audit_of, stopped
from mailproxy.checks import ServerTLS, problems_for_start, problems_of_all
from mailproxy.config import Config
from mailproxy.downstream.rooms import MAX_TURNED_AWAY, Rooms
from mailproxy.drain import Drain, DrainSeconds, Pause
from mailproxy.errors import ConfigError
from mailproxy.inherited import endpoint_of
from mailproxy.listeners import Keeper, Listener
from mailproxy.observe.observation import LedgerFigures, Observation
from mailproxy.overview import Overview, learn
from mailproxy.recipes import Order, OwnNames, orders
from mailproxy.reload import Change, Difference
from mailproxy.sockets import OURS, Sockets
from mailproxy.tls import ClientTLS, ListenerTLS, TrustSource

SPARE_DESCRIPTORS = 64
"""Descriptors that are left for files, the log, and connections to the destination and token services."""

FAREWELL_SECONDS = 2.0
"""How long, at the end, mail servers have to answer our QUIT."""

CLOSE_PORT_SECONDS = 1.0
"""How long that may take at most: a port is closed in the reactor's next turn."""

Endpoints = Callable[[Order], IStreamServerEndpoint]
"""Where a listener listens."""

_random = SystemRandom().random
_log = Logger(namespace="mailproxy.listeners")


def make_service(
    config: Config,
    reactor: Any = None,
    *,
    client_tls: Callable[[TrustSource], ClientTLS] = ClientTLS,
    server_tls: ServerTLS = ListenerTLS,
    random: Callable[[], float] = _random,
    endpoints: Endpoints | None = None,
    sockets: Sockets = OURS,
) -> Proxy:
    """
    The whole proxy; it opens no port before it is started.

    Args:
        config: all that there is to know.
        reactor: None for the process's own.
        client_tls: makes what connections to mail servers and services are secured with.
        server_tls: makes what connections of mail clients are secured with.
        random: gives numbers from 0 to 1, for pauses.
        endpoints: of sockets that others have opened; None where they are those of the configuration.
        sockets: says which transports connections get.

    Raises:
        ConfigError: files that the configuration names cannot be used; all problems at once.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it chooses it
    names.install(reactor)
    return Proxy(config, Tools(reactor, client_tls, server_tls, random, sockets), endpoints)


def check(config: Config) -> list[str]:
    """
    What would keep the proxy, or one of its destinations, from working as far as files can tell; opens no port.
    """
    from twisted.internet import reactor  # noqa: PLC0415 - importing it chooses it

    return problems_of_all(config, reactor)


class Proxy(Service):
    """
    All listeners.

    Args:
        config: what is wanted.
        tools: to make it with.
        endpoints: of sockets that others have opened, or None.

    Raises:
        ConfigError: files that the configuration names cannot be used; all problems at once.
    """

    def __init__(self, config: Config, tools: Tools, endpoints: Endpoints | None = None) -> None:
        self._tools = tools
        self._endpoints = endpoints
        problems = self._problems(config)
        if problems:
            raise ConfigError(problems)
        self.config = config
        """What is in use."""
        self.config_since: float = tools.reactor.seconds()
        self.complaints: Sequence[str] = ()
        """What keeps the configuration file, as it is now, from being used."""
        self._rooms = Rooms()
        self.audit = audit_of(config, tools.reactor)
        """The ledger, from the start to the end; None where there is none."""
        self._assembly = Assembly(tools, self._rooms, self._is_ours, self.audit)
        self.listeners = [self._listener(self._assembly.keeper(order)) for order in orders(config, own_names())]
        self._prepared: _Prepared | None = None
        self._ending: list[Drain] = []
        self._one_at_a_time = DeferredLock()
        self._pause = Pause(tools.reactor)
        self.bound = self.stopping = False
        self.max_sessions = 0
        """How many clients there may be; 0 is no limit."""
        if config.admin is not None:
            learn()
        overview = Overview(self, tools.reactor)
        self._admin = Admin(tools.reactor, overview.pages(), overview.history, endpoint_of)
        self._settle()

    @property
    def ready(self) -> bool:
        """Whether clients are welcome: every port is bound, the ledger can be written, and the end has not begun."""
        return self.bound and self.unrecorded is None and not self.stopping

    @property
    def unrecorded(self) -> str | None:
        """Why the ledger keeps clients away, if it does."""
        return None if self.audit is None else self.audit.problem

    @property
    def recording(self) -> LedgerFigures | None:
        """What an operator sees of the ledger, if there is one."""
        return None if self.audit is None else self.audit.figures

    @property
    def sessions(self) -> int:
        """How many clients have a place."""
        return self._rooms.sessions

    def observations(self) -> list[Observation]:
        """What an operator sees of each listener."""
        return [listener.gate.keeper.observation() for listener in self.listeners]

    def privilegedStartService(self) -> None:
        """
        Every port is bound; else the reasons are logged and the exit status is 1, so that nobody takes a part for the
        whole.
        """
        problems = [problem for listener in self.listeners if (problem := listener.listen()) is not None]
        problems += self._admin.start(self.config.admin, admin_where(self.config))
        for problem in problems:
            _log.critical("{problem}", problem=problem)
        if problems:
            raise SystemExit(1)
        self.bound = True

    def startService(self) -> None:
        """The ledger goes on: not before, because only now the process is the user that it will be."""
        super().startService()
        if self.audit is not None:
            self.audit.start()

    def reload(self, config: Config) -> Deferred[list[str]]:
        """
        The configuration is in use, and no session has noticed, but for those of listeners that are gone: they end as
        at a stop.  Fires with the problems if it cannot be used; then all is as before.
        """
        return self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._reload(config)))

    def serving(self) -> Deferred[None]:
        """Fires when clients are served; they are, as soon as the reactor runs."""
        return succeed(None)

    def stopService(self) -> Deferred[None]:
        """Nobody new comes in, and every session ends in good order, or else at its deadline."""
        super().stopService()
        self.stopping = True
        return self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._stop()))

    def hurry(self) -> None:
        """Whatever is still ending, or comes to it, ends now."""
        self._pause.skip_all()
        for drain in list(self._ending):
            drain.hurry()

    async def _reload(self, config: Config) -> list[str]:
        if self.stopping:
            return ["mailproxy is being stopped"]
        problems = await self.prepare(config)
        if not problems:
            self.commit()
        return problems

    async def prepare(self, config: Config) -> list[str]:
        """
        The first half of `reload`: whatever can fail is done, and no client has noticed; else the problems, and then
        all is as before.  `commit` or `undo` follows, and nothing else.
        """
        problems = self._problems(config) or problems_of_change(self.config, config)
        if problems:
            return problems
        wanted = orders(config, own_names())
        difference = Difference.between(self.listeners, wanted)
        change = Change(difference, self._assembly.keeper, self._listener)
        problems = await change.prepare()
        if not problems:
            problems = await self._admin.prepare(config.admin, admin_where(config))
            if problems:
                await change.undo()
        if not problems:
            self._prepared = _Prepared(config, wanted, difference, change)
        return problems

    def commit(self) -> None:
        """The second half: what was prepared is in use."""
        prepared, self._prepared = self._prepared, None
        assert prepared is not None, "nothing was prepared"
        prepared.change.commit()
        self._admin.commit()
        self.config_since = self._tools.reactor.seconds()
        self.config, self.listeners = prepared.config, prepared.change.listeners(prepared.wanted)
        self._settle()
        path, difference = str(self.config.path), prepared.difference
        _log.info("configuration {path} is in use; listeners: {what}", path=path, what=str(difference))
        if difference.gone:
            Deferred.fromCoroutine(self._end(difference.gone)).addErrback(_failed)

    async def undo(self) -> None:
        """What was prepared, if anything was, is dropped; all is as before."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            await prepared.change.undo()
            await self._admin.undo()

    async def _stop(self) -> None:
        """Every step has its bound, so that there is an end to it, whatever happens."""
        _log.info("stopping; sessions: {count}", count=self._sessions())
        self._assembly.shelf.resize(0)
        await self._pause.wait(self.config.timeouts.drain_delay_seconds)
        try:
            await self._end(self.listeners)
        except Exception:  # noqa: BLE001 - whatever it was: the others are waited for all the same
            _log.failure("internal error while listeners ended")
        await DeferredList([drain.over for drain in self._ending])
        farewells = self._assembly.farewells
        await self._pause.wait(FAREWELL_SECONDS, farewells.all_gone())
        farewells.abort()
        await stopped(self.audit)
        await Pause(self._tools.reactor).wait(CLOSE_PORT_SECONDS, self._admin.close())

    async def _end(self, listeners: Sequence[Listener]) -> None:
        """Nobody comes in any more, all sessions end, and then what they needed."""
        timeouts = self.config.timeouts
        drain = Drain(
            self._tools.reactor,
            [factory for listener in listeners for factory in listener.factories],
            DrainSeconds(timeouts.drain_seconds, timeouts.drain_final_reply_seconds, timeouts.close_seconds),
        )
        self._ending.append(drain)
        if self._pause.skipping:
            drain.hurry()
        running = Deferred.fromCoroutine(drain.run())  # first, so that who is let in while a port closes is told
        closed = DeferredList([listener.close_port() for listener in listeners], consumeErrors=True)
        await running
        self._ending.remove(drain)
        await Pause(self._tools.reactor).wait(CLOSE_PORT_SECONDS, closed)
        for listener in listeners:
            listener.gate.close()

    def _sessions(self) -> int:
        return sum(len(factory.sessions) for listener in self.listeners for factory in listener.factories)

    def _settle(self) -> None:
        """What is common to the listeners fits the configuration."""
        for listener in self.listeners:
            listener.gate.keeper.settle()
        limits = self.config.limits
        self._assembly.shelf.resize(limits.max_idle_connections)
        others = sum(listener.descriptors for listener in self.listeners) + descriptors(self.config.admin)
        most = most_sessions(others + limits.max_idle_connections)
        if 0 < most < limits.max_sessions:
            words = "max_sessions is {limit}, and open files suffice for {most}"
            _log.warn(words, limit=limits.max_sessions, most=most)
        self.max_sessions = limits.max_sessions or most
        self._rooms.resize(
            sessions=self.max_sessions,
            per_tenant=limits.max_sessions_per_tenant,
            per_client=limits.max_sessions_per_client,
            tenants=len({listener.order.recipe.identity.tenant for listener in self.listeners}),
        )

    def _listener(self, keeper: Keeper) -> Listener:
        order = keeper.order
        opened = self._endpoints(order) if self._endpoints else endpoint_of(self._tools.reactor, order.endpoint)
        return Listener(opened, keeper, self._tools.sockets.serving)

    def _problems(self, config: Config) -> list[str]:
        endpoints = self._endpoints is None
        return problems_for_start(config, self._tools.reactor, self._tools.server_tls, endpoints=endpoints)

    def _is_ours(self, peer: Any, own: Any) -> bool:
        """Whether a connection from our address `own` to `peer` leads to one of the listeners."""
        return any(listener.leads_to(peer, own) for listener in self.listeners)


@frozen
class _Prepared:
    """A reload whose first half is done."""

    config: Config
    wanted: list[Order]
    difference: Difference[Listener]
    change: Change


def problems_of_change(before: Config, after: Config) -> list[str]:
    """What keeps a process that runs with the one configuration from going over to the other."""
    problems = []
    if before.workers != after.workers:
        problems.append(f"{after.path}: workers: {before.workers} are running, and a change needs a restart")
    if before.ledger != after.ledger:
        problems.append(f"{after.path}: ledger: a change needs a restart")
    return problems


def admin_where(config: Config) -> str:
    """What a problem of the admin endpoint begins with."""
    return f"{config.path}: admin."


def _failed(failure: Failure) -> None:
    _log.failure("internal error while listeners ended", failure)


@cache
def own_names() -> OwnNames:
    """Asked for once: a name service that does not answer would hold up a reload."""
    return OwnNames(socket.getfqdn())


def most_sessions(others: int) -> int:
    """
    How many sessions the limit of open files allows; 0 is no limit.

    Each session takes two descriptors, a client that is being turned away one, and there are `others`: of listeners and
    of connections that nobody uses at the moment.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(1, (soft - SPARE_DESCRIPTORS - MAX_TURNED_AWAY - others) // 2)
