"""
A worker: the whole proxy in a process of its own, at sockets that the supervisor has opened.

It does what it is told, in that order: `start`, and from then on `prepare` with `commit` or `undo`, `leave`, `drain`.
Each of these, but for the last one, is answered once, with the problems that were met.  `hurry` and `look` come in
between.

Once a second it tells what its listeners have counted; that it says something at all, shows that it lives.  It ends
when it is told to, or when the supervisor is gone: in either case as a single process does, with time for its sessions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.config import Config, examine_source
from mailproxy.deadline import Deadline
from mailproxy.errors import ConfigError
from mailproxy.listeners import Listener
from mailproxy.observe.counters import Counters
from mailproxy.observe.observation import State
from mailproxy.observe.process import LagMeter, figures
from mailproxy.overview import recordings_of, report_of
from mailproxy.process import follow, forget_threads, spare_the_collector, wait_for_no_thread
from mailproxy.recipes import Identity
from mailproxy.service import Endpoints, Proxy, make_service
from mailproxy.workers.board import Board
from mailproxy.workers.channel import Channel
from mailproxy.workers.counts import format_counts
from mailproxy.workers.doings import MAX_REASONS, Doing
from mailproxy.workers.frames import Message
from mailproxy.workers.handed import Handed
from mailproxy.workers.joined import Reports, portions
from mailproxy.workers.mate import Look
from mailproxy.workers.places import place_of
from mailproxy.workers.share import share_of
from mailproxy.workers.shelf import Telling
from mailproxy.workers.states import MAX_STATES, States, format_states
from mailproxy.workers.tally import Tally
from mailproxy.workers.values import format_value

REPORT_SECONDS = 1.0
"""How often it tells what it has counted."""

GOODBYE_SECONDS = 1.0
"""How long the supervisor has to take its last words."""

_log = Logger(namespace="mailproxy.workers")

Make = Callable[[Config, Any, Endpoints], Proxy]


def _make(config: Config, reactor: Any, endpoints: Endpoints) -> Proxy:
    return make_service(config, reactor, endpoints=endpoints)


class Worker:
    """
    Runs a proxy as its supervisor wants it.

    Args:
        reactor: the process's own.
        board: where the workers see how many sessions each of them has.
        seat: ours.
        make: makes the proxy.
    """

    def __init__(self, reactor: Any, board: Board, seat: int, make: Make = _make) -> None:
        self._reactor = reactor
        self._board = board
        self._seat = seat
        self._make = make
        self._path = Path()
        self._sockets = Handed(reactor, self._is_ahead)
        self._tally = Tally()
        self._told: States = {}
        """How the listeners were when that was told."""
        self._recordings = Telling()
        self._one_at_a_time = DeferredLock()
        self._proxy: Proxy | None = None
        self._ending = self._stopped = self._alone = False
        self.channel = Channel(self._heard, self._lost, sockets=True)
        """To the supervisor."""
        self._goodbye = Deadline(reactor)
        self._lag = LagMeter(reactor, figures.lag)
        self.status = 0
        """With what the process ends."""

    def _heard(self, message: Message) -> None:
        """What the supervisor wants is done, or will be, after what it has wanted before."""
        match message["do"]:
            case "socket":
                self._sockets.put(message["place"], self.channel.take_socket(), outlives=message["outlives"])
            case "hurry":
                self._hurry()
            case "look":
                self._look(Look(message["at"]))
            case "drain":
                self._in_turn(self._end)
            case _:
                self._in_turn(lambda: self._answer(message))

    def _lost(self) -> None:
        """The supervisor is gone, or has heard our last words."""
        self._alone = True
        if self._stopped:
            self._exit()
        elif not self._ending:
            _log.warn("the supervisor is gone; sessions may finish what they are in the middle of")
            self._in_turn(self._end)

    def _in_turn(self, deed: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await deed()

        self._one_at_a_time.run(lambda: Deferred.fromCoroutine(run())).addErrback(self._crashed)

    async def _answer(self, message: Message) -> None:
        deeds: dict[str, Callable[[Message], Awaitable[list[str]]]] = {
            "start": self._start,
            "prepare": self._prepare,
            "commit": self._commit,
            "undo": self._undo,
            "leave": self._leave,
        }
        try:
            problems = await deeds[message["do"]](message)
        except Exception:  # noqa: BLE001 - whatever it was: those who are served here are served on
            _log.failure("internal error in a worker")
            problems = ["internal error in a worker"]
        self.channel.say({"answer": problems})
        if self._proxy is None:
            self.status = 1
            self._stop()

    async def _start(self, message: Message) -> list[str]:
        self._path = Path(message["path"])
        config, problems = self._examine(message)
        if problems:
            return problems
        wait_for_no_thread(self._reactor)
        follow(config)
        try:
            proxy = self._make(config, self._reactor, self._sockets.endpoint)
        except ConfigError as error:
            return list(error.problems)
        problems = [problem for each in proxy.listeners if (problem := each.listen()) is not None]
        if problems:
            return problems
        proxy.startService()
        self._proxy = proxy
        self._lag.start()
        self._follow()
        self._report()
        spare_the_collector()
        return []

    async def _prepare(self, message: Message) -> list[str]:
        config, problems = self._examine(message)
        return problems or await self._running.prepare(config)

    async def _commit(self, _: Message) -> list[str]:
        self._running.commit()
        follow(self._running.config)
        self._sockets.drop()
        self._follow()
        return []

    async def _undo(self, _: Message) -> list[str]:
        """All is as before; listeners that had left their sockets have got others."""
        await self._running.undo()
        left = [listener for listener in self._running.listeners if not listener.is_open]
        problems = [problem for each in left if (problem := each.listen()) is not None]
        self._sockets.drop()
        return problems

    async def _leave(self, message: Message) -> list[str]:
        """Sockets that are in the way of others are closed."""
        for listener in self._running.listeners:
            if place_of(listener.order) in message["places"]:
                await listener.close_port()
        return []

    async def _end(self) -> None:
        """The proxy has ended, in good order or at its deadlines, and so does the process."""
        if self._ending:
            return
        self._ending = True
        if self._proxy is not None:
            await self._proxy.undo()
            maybeDeferred(self._proxy.stopService).addErrback(self._crashed).addBoth(lambda _: self._stop())
        else:
            self._stop()

    def _hurry(self) -> None:
        if self._proxy is not None:
            self._proxy.hurry()

    def _stop(self) -> None:
        """The supervisor hears the last counts, and then the process ends."""
        if not self._stopped:
            self._ending = self._stopped = True
            if self._alone:
                self._exit()
                return
            self._tell()
            self.channel.close()
            self._goodbye.set(GOODBYE_SECONDS, self._exit)

    def _exit(self) -> None:
        self._goodbye.clear()
        self._lag.stop()
        forget_threads(self._reactor)
        self._reactor.stop()

    @property
    def _listeners(self) -> list[Listener]:
        return [] if self._proxy is None else self._proxy.listeners

    @property
    def _running(self) -> Proxy:
        assert self._proxy is not None, "nothing was started"
        return self._proxy

    def _examine(self, message: Message) -> tuple[Config, list[str]]:
        examined = examine_source(self._path, message["source"].encode())
        return share_of(examined.config, self._seat), list(examined.problems)

    def _follow(self) -> None:
        self._tally.follow([_counters(listener) for listener in self._running.listeners])

    def _report(self) -> None:
        """What is new is told, or that there is nothing, and so once a second; others see how many sessions we have."""
        self._is_ahead()
        if not self.channel.full:
            self._tell()
        self._reactor.callLater(REPORT_SECONDS, self._report)

    def _is_ahead(self) -> bool:
        return self._board.is_ahead(self._seat, self._running.sessions)

    def _look(self, what: Look) -> None:
        """Somebody asks how it goes, and hears it at once, whatever is going on."""
        if what is Look.DOING:
            self._tell_doing()
        else:
            self._tell()
        if what is Look.REPORTS:
            for portion in portions(self._reports()):
                self.channel.say({"reports": portion})
            for message in self._recordings.news(recordings_of(self._listeners)):
                self.channel.say(message)
        self.channel.say({"looked": what.value})

    def _tell(self) -> None:
        self._tell_doing()
        for portion in self._tally.news():
            self.channel.say({"counts": format_counts(portion)})
        states = dict(map(_state, self._listeners[:MAX_STATES]))
        if states != self._told:
            self._told = states
            self.channel.say({"states": format_states(states)})

    def _tell_doing(self) -> None:
        self.channel.say({"doing": format_value(Doing() if self._proxy is None else _doing(self._proxy))})

    def _reports(self) -> Reports:
        now = self._reactor.seconds()
        return {listener.order.recipe.identity: report_of(listener, now) for listener in self._listeners}

    def _crashed(self, failure: Failure) -> None:
        """A mistake of ours: another worker takes this one's place."""
        _log.failure("internal error in a worker", failure)
        self.status = 1
        self._stop()


def _doing(proxy: Proxy) -> Doing:
    closed = [f"{listener.order.label}: not listening" for listener in proxy.listeners if not listener.is_open]
    reasons = closed if proxy.unrecorded is None else [proxy.unrecorded, *closed]
    return Doing(proxy.sessions, proxy.max_sessions, tuple(reasons[:MAX_REASONS]), figures.lag, proxy.recording)


def _state(listener: Listener) -> tuple[Identity, State]:
    return listener.order.recipe.identity, listener.gate.keeper.state()


def _counters(listener: Listener) -> tuple[Identity, Counters]:
    return listener.order.recipe.identity, listener.factory.log.counters
