"""
So many workers, and another one for each that dies.

A worker that dies is replaced after a pause, which grows as long as workers do not last.  Where none starts at all
there is no use in going on: whoever watches over us shall know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.admin.values import Hand, Work
from mailproxy.backoff import Backoff
from mailproxy.deadline import Deadline
from mailproxy.drain import Pause
from mailproxy.workers.board import Board
from mailproxy.workers.frames import Message
from mailproxy.workers.mate import LOOK_SECONDS, Answer, Look, Mate
from mailproxy.workers.spawn import Spawn
from mailproxy.workers.tally import Ledger

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0

STEADY_SECONDS = 60.0
"""A worker that has served for so long was no failure, however it ended."""

MAX_FAILED_STARTS = 5
"""So many one after the other are enough, while nobody serves or not everybody has yet."""

HURRY_SECONDS = 3.0
"""How long a worker has to end at once."""

KILLED_SECONDS = 5.0
"""Until a worker that was killed is gone."""

_log = Logger(namespace="mailproxy.workers")

Brief = Callable[[Mate], Deferred[Answer]]
"""Gives a new worker what it needs; fires with its answer."""


@define(eq=False)
class Seat:
    """What one worker after the other fills."""

    number: int
    backoff: Backoff
    pause: Deadline
    mate: Mate | None = None
    failed_starts: int = 0
    served_since: float | None = None


class Crew:
    """
    The workers.

    Args:
        clock: for pauses and deadlines.
        size: how many there should be.
        spawn: starts the process of one.
        brief: tells it all that it needs.
        board: shows them how many sessions each of them has.
        one_at_a_time: whoever holds it can rely on it that no worker is about to start.
        random: gives numbers from 0 to 1, for pauses.
        give_up: called when workers do not start.
    """

    def __init__(
        self,
        clock: IReactorTime,
        size: int,
        *,
        spawn: Spawn,
        brief: Brief,
        board: Board,
        one_at_a_time: DeferredLock,
        random: Callable[[], float],
        give_up: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._spawn = spawn
        self._brief = brief
        self.ledger = Ledger()
        """What they have counted."""
        self._board = board
        self._one_at_a_time = one_at_a_time
        self._give_up = give_up
        self._numbers = count(1)
        self._seats = [Seat(number, Backoff(random), Deadline(clock)) for number in range(size)]
        self.ended = 0
        """How many have ended without being told to."""
        self._ending = self._hurried = self._given_up = False
        self._wait = Pause(clock)
        self._last_moment = Deadline(clock)
        self.complete: Deferred[None] = Deferred()
        """Fires when all serve for the first time."""

    @property
    def serving(self) -> list[Mate]:
        """Those who can be asked."""
        return [mate for mate in self._mates if mate.serves]

    @property
    def _mates(self) -> list[Mate]:
        return [seat.mate for seat in self._seats if seat.mate is not None]

    def hands(self) -> tuple[Hand, ...]:
        """Who is there, and how it is with each."""
        return tuple(self._hand(seat) for seat in self._seats)

    def start(self) -> None:
        """All of them start."""
        self._fill(self._seats)

    async def ask(self, message: Message) -> list[str]:
        """All of them have done that, or have ended; fires with the problems, each once."""
        answers = await DeferredList([mate.ask(message) for mate in self.serving])
        return list(dict.fromkeys(problem for _, problems in answers for problem in problems or ()))

    async def look(self, what: Look) -> None:
        """All that serve have told that, or were asked in vain."""
        await DeferredList([mate.look(what) for mate in self.serving])

    async def stop(self, seconds: float) -> None:
        """
        Each has ended its sessions, and then itself; those that are not done after so many seconds are killed.
        """
        self._ending = True
        for seat in self._seats:
            seat.pause.clear()
        over = DeferredList([mate.over for mate in self._mates])
        for mate in self._mates:
            mate.tell({"do": "drain"})
        if self._hurried:
            self.hurry()
        await self._wait.wait(seconds, over)
        self._kill("was not done in time")
        await self._wait.wait(KILLED_SECONDS, over)
        self._last_moment.clear()

    def hurry(self) -> None:
        """Whoever is ending, or comes to it, ends now."""
        self._hurried = True
        for mate in self._mates:
            mate.tell({"do": "hurry"})
        self._last_moment.set(HURRY_SECONDS, lambda: self._kill("did not hurry"))

    def _hand(self, seat: Seat) -> Hand:
        mate, number = seat.mate, seat.number + 1
        if mate is None:
            return Hand(number, Work.ABSENT, reasons=("not running",))
        if not mate.serves:
            return Hand(number, Work.STARTING, mate.number, mate.pid, reasons=("starting",))
        doing = self.ledger.doings.of(mate.number)
        work, reasons = Work.SERVING, doing.reasons
        if not mate.answers:
            work, reasons = Work.SILENT, (f"has not answered within {LOOK_SECONDS:g} s",)
        return Hand(number, work, mate.number, mate.pid, seat.served_since, doing.sessions, reasons)

    def _kill(self, why: str) -> None:
        for mate in self._mates:
            mate.kill(why)

    def _fill(self, seats: Sequence[Seat]) -> None:
        def fill() -> Deferred[Any]:
            return DeferredList([Deferred.fromCoroutine(self._try(seat)).addErrback(_failed, seat) for seat in seats])

        self._one_at_a_time.run(fill)

    async def _try(self, seat: Seat) -> None:
        """A worker serves, or has failed to."""
        if self._ending:
            return
        mate = seat.mate = Mate(self._clock, next(self._numbers), seat.number, self.ledger)
        seat.served_since = None
        mate.over.addCallback(self._ended, seat, mate)
        try:
            self._spawn(mate)
        except OSError as error:
            mate.end(f"no process: {error.strerror or error}")
            return
        problems = await self._brief(mate)
        if problems == []:
            self._started(seat, mate)
        for problem in problems or ():
            _log.error("worker {number} cannot start: {problem}", number=mate.number, problem=problem)

    def _started(self, seat: Seat, mate: Mate) -> None:
        mate.serves = True
        seat.failed_starts = 0
        seat.served_since = self._clock.seconds()
        _log.info("worker {number} serves: process {pid}", number=mate.number, pid=mate.pid)
        if len(self.serving) == len(self._seats) and not self.complete.called:
            self.complete.callback(None)

    def _ended(self, how: str, seat: Seat, mate: Mate) -> str:
        seat.mate = None
        self._board.clear(seat.number)
        lost = self.ledger.close(mate.number)
        if self._ending:
            say = _log.info if how == "status 0" else _log.warn
            say("worker {number} has ended: {how}; sessions lost: {lost}", number=mate.number, how=how, lost=lost)
        else:
            self.ended += 1
            pause = self._pause(seat)
            words = "worker {number} has ended: {how}; sessions lost: {lost}; another one starts in {pause} s"
            _log.error(words, number=mate.number, how=how, lost=lost, pause=f"{pause:.1f}")
            self._replace(seat, pause)
        return how

    def _pause(self, seat: Seat) -> float:
        """How long the seat is empty."""
        now = self._clock.seconds()
        if seat.served_since is None:
            seat.failed_starts += 1
        elif now - seat.served_since >= STEADY_SECONDS:
            seat.backoff.reset()
        seat.backoff.fail(now, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        return seat.backoff.until - now

    def _replace(self, seat: Seat, pause: float) -> None:
        needed = not self.serving or not self.complete.called
        if self._given_up:
            return
        if needed and seat.failed_starts >= MAX_FAILED_STARTS:
            self._given_up = True
            _log.critical("workers do not start: {count} attempts failed", count=seat.failed_starts)
            self._give_up()
        else:
            seat.pause.set(pause, lambda: self._fill([seat]))


def _failed(failure: Failure, seat: Seat) -> None:
    """A mistake of ours: another worker may have more luck."""
    _log.failure("internal error while a worker started", failure)
    mate = seat.mate
    if mate is not None:
        mate.kill("could not be started")  # after which the seat may be free already
        if mate.pid is None and not mate.over.called:
            mate.end("no process")
