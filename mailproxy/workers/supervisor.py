"""
What the process runs in the proxy's place, where there are workers.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from mailproxy.admin.endpoint import Admin
from mailproxy.checks import problems_for_start
from mailproxy.config import Config
from mailproxy.drain import Pause
from mailproxy.errors import ConfigError
from mailproxy.inherited import endpoint_of
from mailproxy.observe.counters import Counters
from mailproxy.observe.observation import Observation
from mailproxy.overview import learn
from mailproxy.recipes import Identity, Order, orders
from mailproxy.reload import Difference
from mailproxy.service import CLOSE_PORT_SECONDS, FAREWELL_SECONDS, admin_where, own_names, problems_of_change
from mailproxy.tls import ListenerTLS
from mailproxy.workers.board import Board
from mailproxy.workers.crew import Crew
from mailproxy.workers.exchange import Exchange, hand_over
from mailproxy.workers.held import Held
from mailproxy.workers.lookout import Lookout
from mailproxy.workers.mate import Answer, Mate
from mailproxy.workers.spawn import Spawn, spawner
from mailproxy.workers.tally import LOST, Ledger

GRACE_SECONDS = 1.5
"""How much longer than its own deadlines a worker may take for its end."""

_random = SystemRandom().random
_log = Logger(namespace="mailproxy.listeners")


def make_supervisor(config: Config, reactor: Any, environ: Mapping[str, str], *, log_through_us: bool) -> Supervisor:
    """
    The proxy with its workers; it opens no socket before it is started.

    Args:
        config: all that there is to know.
        reactor: the process's own.
        environ: of the process.
        log_through_us: whether workers cannot write the log by themselves.

    Raises:
        ConfigError: files that the configuration names cannot be used; all problems at once.
    """
    board = Board.new()
    spawn = spawner(reactor, environ, board, log_through_us=log_through_us)
    return Supervisor(config, reactor, spawn, board, give_up=lambda: _fail(reactor))


class Supervisor(Service):
    """
    Every socket, and the workers that serve them.

    Args:
        config: what is wanted.
        reactor: opens sockets, and is the clock.
        spawn: starts the process of a worker.
        board: shows workers how many sessions each of them has.
        give_up: called when workers do not start.
        random: gives numbers from 0 to 1, for pauses.

    Raises:
        ConfigError: files that the configuration names cannot be used; all problems at once.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        spawn: Spawn,
        board: Board,
        *,
        give_up: Callable[[], object],
        random: Callable[[], float] = _random,
    ) -> None:
        problems = problems_for_start(config, reactor, ListenerTLS)
        if problems:
            raise ConfigError(problems)
        self.config = config
        """What is in use."""
        self.config_since: float = reactor.seconds()
        self.complaints: Sequence[str] = ()
        """What keeps the configuration file, as it is now, from being used."""
        self._reactor = reactor
        self.listeners = [self._hold(order) for order in orders(config, own_names())]
        self._one_at_a_time = DeferredLock()
        self._crew = Crew(
            reactor,
            config.workers,
            spawn=spawn,
            brief=self._brief,
            board=board,
            one_at_a_time=self._one_at_a_time,
            random=random,
            give_up=give_up,
        )
        self._pause = Pause(reactor)
        self.bound = self.stopping = False
        if config.admin is not None:
            learn()
        lookout = Lookout(self, self._crew, reactor)
        self._admin = Admin(reactor, lookout.pages(), lookout.history, endpoint_of)

    @property
    def ready(self) -> bool:
        """Whether clients are welcome: workers serve, and the end has not begun."""
        return bool(self._crew.serving) and not self.stopping

    def counters(self) -> dict[Identity, Counters]:
        """What the listeners have counted in all workers, those included that are gone."""
        return self._crew.ledger.totals()

    def observations(self) -> list[Observation]:
        """What an operator sees of each listener, in all workers together."""
        totals = self.counters()
        return [_observation(held.order, totals, self._crew.ledger) for held in self.listeners]

    def privilegedStartService(self) -> None:
        """
        Every socket is open; else the reasons are logged and the exit status is 1, so that nobody takes a part for the
        whole.
        """
        problems = [problem for held in self.listeners if (problem := held.listen()) is not None]
        problems += self._admin.start(self.config.admin, admin_where(self.config))
        for problem in problems:
            _log.critical("{problem}", problem=problem)
        if problems:
            raise SystemExit(1)
        self.bound = True

    def startService(self) -> None:
        """The workers start as soon as the reactor runs."""
        super().startService()
        self._reactor.callWhenRunning(self._crew.start)

    def serving(self) -> Deferred[None]:
        """Fires when all workers serve."""
        return self._crew.complete

    def reload(self, config: Config) -> Deferred[list[str]]:
        """All workers use the configuration, as `Proxy.reload` has it; else fires with the problems."""
        return self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._reload(config)))

    def stopService(self) -> Deferred[None]:
        """Nobody new comes in, every session ends in good order, or else at its deadline, and then every worker."""
        super().stopService()
        self.stopping = True
        return self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._stop()))

    def hurry(self) -> None:
        """Whatever is still ending, or comes to it, ends now."""
        self._pause.skip_all()
        self._crew.hurry()

    async def _reload(self, config: Config) -> list[str]:
        if self.stopping:
            return ["mailproxy is being stopped"]
        problems = problems_of_change(self.config, config) or problems_for_start(config, self._reactor, ListenerTLS)
        if problems:
            return problems
        wanted = orders(config, own_names())
        difference = Difference.between(self.listeners, wanted)
        exchange = Exchange(difference, self._hold, self._crew)
        problems = await self._admin.prepare(config.admin, admin_where(config))
        if not problems:
            problems = await self._prepared(exchange, config)
        if problems:
            return problems
        await exchange.commit()
        self._admin.commit()
        self.config_since = self._reactor.seconds()
        self.config, self.listeners = config, exchange.listeners(wanted)
        self._crew.ledger.keep({order.recipe.identity for order in wanted})
        _log.info("configuration {path} is in use; listeners: {what}", path=str(config.path), what=str(difference))
        return []

    async def _prepared(self, exchange: Exchange, config: Config) -> list[str]:
        """Everybody could change over; else why not, and then all is as before, the admin endpoint included."""
        try:
            problems = await exchange.prepare(config)
        except BaseException:
            await self._admin.undo()
            raise
        if problems:
            await self._admin.undo()
        return problems

    async def _stop(self) -> None:
        """
        Our part of each socket closes before any worker hears of the end, so that the last one of them lets in who
        waits, and nobody waits in vain.
        """
        timeouts = self.config.timeouts
        _log.info("stopping; sessions: {count}", count=self._crew.ledger.total().active)
        await self._pause.wait(timeouts.drain_delay_seconds)
        for held in self.listeners:
            await held.close()
        most = timeouts.drain_seconds + timeouts.drain_final_reply_seconds + timeouts.close_seconds
        await self._crew.stop(most + FAREWELL_SECONDS + GRACE_SECONDS)
        total = self._crew.ledger.total()
        words = "all workers have ended; sessions served: {count}, lost with a worker: {lost}"
        _log.info(words, count=total.sessions, lost=total.outcomes[LOST])
        await Pause(self._reactor).wait(CLOSE_PORT_SECONDS, self._admin.close())

    def _brief(self, mate: Mate) -> Deferred[Answer]:
        for held in self.listeners:
            hand_over(held, mate)
        return mate.ask({"do": "start", "path": str(self.config.path), "source": self.config.source.decode()})

    def _hold(self, order: Order) -> Held:
        return Held(endpoint_of(self._reactor, order.endpoint), order)


def _observation(order: Order, totals: Mapping[Identity, Counters], ledger: Ledger) -> Observation:
    who = order.recipe.identity
    counters = totals.get(who, Counters())
    return Observation(who.protocol.value, who.destination, who.tenant, order.stat_prefix, counters, ledger.state(who))


def _fail(reactor: Any) -> None:
    """The process ends with status 1: twistd itself knows no other than 0 once the reactor has run."""
    atexit.register(os._exit, 1)
    reactor.stop()
