"""
One timer that is set, moved and cleared, and never left behind.

A session waits for something else many times a second, and nearly nothing that it waits for is ever late.  So a timer
that rings too early is left alone: when it rings, it is wound up again for what is left.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

_NEXT_TO_NOTHING = 0.001
"""Seconds that are not worth another timer."""


class Deadline:
    """
    Calls back once when the time is up; setting it again moves it.

    Whom to call is known only while a deadline is set, so that an idle one keeps nobody alive.
    """

    __slots__ = ("_call", "_clock", "_due", "_expired", "_rings")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._rings = self._due = 0.0
        self._expired: Callable[[], None] | None = None

    def set(self, seconds: float, expired: Callable[[], None]) -> None:
        """The time is up `seconds` from now, and then `expired` is called."""
        self._expired = expired
        self._due = self._clock.seconds() + seconds
        if self._call is not None and self._due < self._rings:
            self._call.cancel()
            self._call = None
        if self._call is None:
            self._rings = self._due
            self._call = self._clock.callLater(seconds, self._ring)

    def rest(self) -> None:
        """There is no deadline until the next one is set, which will be soon."""
        self._expired = None

    def clear(self) -> None:
        """There is no deadline any more."""
        self._expired = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _ring(self) -> None:
        self._call = None
        if self._expired is None:
            return
        left = self._due - self._clock.seconds()
        if left > _NEXT_TO_NOTHING:
            self._rings = self._due
            self._call = self._clock.callLater(left, self._ring)
            return
        expired, self._expired = self._expired, None
        expired()
