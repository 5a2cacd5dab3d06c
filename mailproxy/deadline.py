"""
One timer that is set, moved and cleared, and never left behind.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """
    Calls `expired` once when the time is up; setting it again moves it.
    """

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._call: IDelayedCall | None = None

    def set(self, seconds: float) -> None:
        """The time is up `seconds` from now."""
        if self._call is None:
            self._call = self._clock.callLater(seconds, self._fire)
        else:
            self._call.reset(seconds)

    def clear(self) -> None:
        """There is no deadline any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _fire(self) -> None:
        self._call = None
        self._expired()
