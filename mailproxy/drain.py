"""
The end of listeners and their sessions: in order, with a bound on each step, and on all of it.

    drain_seconds               who is between two transactions is sent away, who is inside of one may finish it
    drain_final_reply_seconds   who is not done is cut off, but for those that only wait for a mail server's last word
    close_seconds               these, too; what was said to the clients is delivered
    then                        whatever connection is left is aborted
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailproxy.deadline import Deadline
from mailproxy.downstream.factory import SessionFactory

T = TypeVar("T")

_log = Logger(namespace="mailproxy.listeners")

_ABORT_SECONDS = 1.0
"""Until aborted connections are gone, which takes a turn of the reactor."""


@frozen
class DrainSeconds:
    """How long the steps take at most."""

    finish: float
    final_reply: float
    close: float


class Pause:
    """
    One wait at a time, which can be cut short.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._deadline = Deadline(clock)
        self._waiting: Deferred[None] | None = None
        self.skipping = False
        """Nobody wants to wait any more."""

    async def wait(self, seconds: float, sooner: Deferred[Any] | None = None) -> None:
        """So much time has passed, or `sooner` has fired, or nobody wants to wait any more."""
        if self.skipping:
            return
        waiting = self._waiting = Deferred()
        self._deadline.set(seconds, partial(self._over, waiting))
        if sooner is not None:
            sooner.addBoth(self._sooner, waiting)
        await waiting

    def skip_all(self) -> None:
        """The wait is over, and so is every one to come."""
        self.skipping = True
        if self._waiting is not None:
            self._over(self._waiting)

    def _sooner(self, result: T, waiting: Deferred[None]) -> T:
        self._over(waiting)
        return result

    def _over(self, waiting: Deferred[None]) -> None:
        if waiting is self._waiting:
            self._waiting = None
            self._deadline.clear()
            waiting.callback(None)


class Drain:
    """
    Ends the sessions of some factories.  It comes to its end, whatever happens on the way.

    Args:
        clock: bounds the steps.
        factories: nobody connects to them any more.
        seconds: of the steps.
    """

    def __init__(self, clock: IReactorTime, factories: Sequence[SessionFactory], seconds: DrainSeconds) -> None:
        self._clock = clock
        self._factories = factories
        self._seconds = seconds
        self._pause = Pause(clock)
        self.over: Deferred[None] = Deferred()
        """Fires at the end."""

    async def run(self) -> None:
        """The sessions are gone, or nothing more can be done about them."""
        try:
            await self._run()
        finally:
            self.over.callback(None)

    def hurry(self) -> None:
        """Everything ends now."""
        self._pause.skip_all()

    async def _run(self) -> None:
        gone = self._each(_drain)
        for seconds, deed, words in (
            (self._seconds.finish, _cut_most, "they end now, but for those that wait for a mail server's last word"),
            (self._seconds.final_reply, _cut_all, "they end now"),
            (self._seconds.close, _stop, "their connections are aborted"),
        ):
            await self._pause.wait(seconds, gone)
            if gone.called:
                return
            self._tell(seconds, words)
            stopped = self._each(deed)
        await Pause(self._clock).wait(_ABORT_SECONDS, stopped)

    def _tell(self, seconds: float, words: str) -> None:
        left = sum(len(factory.sessions) for factory in self._factories)
        if left and not self._pause.skipping:
            _log.warn("sessions left after {after} s: {left}; {words}", after=f"{seconds:g}", left=left, words=words)

    def _each(self, deed: Callable[[SessionFactory], Any]) -> Deferred[Any]:
        """The deed is done to every factory, one that fails keeps it from no other; fires when all have answered."""
        answers = []
        for factory in self._factories:
            try:
                answer = deed(factory)
            except Exception:  # noqa: BLE001 - whatever it was: the others have to end all the same
                _log.failure("{label}: internal error while it ended", label=factory.log.label)
            else:
                answers += [answer] if isinstance(answer, Deferred) else []
        return DeferredList(answers, consumeErrors=True)


def _drain(factory: SessionFactory) -> Deferred[None]:
    return factory.drain()


def _cut_most(factory: SessionFactory) -> None:
    factory.cut(last=False)


def _cut_all(factory: SessionFactory) -> None:
    factory.cut(last=True)


def _stop(factory: SessionFactory) -> Deferred[None]:
    return factory.stop()
