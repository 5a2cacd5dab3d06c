"""
One timer that is set, moved and cleared, and never left behind.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """
    Calls back once when the time is up; setting it again moves it.

    Whom to call is known only while a deadline is set, so that an idle one keeps nobody alive.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._expired: Callable[[], None] | None = None

    def set(self, seconds: float, expired: Callable[[], None]) -> None:
        """The time is up `seconds` from now, and then `expired` is called."""
        self._expired = expired
        if self._call is not None and self._clock.seconds() + seconds < self._call.getTime():
            self._call.cancel()  # to move it forward, the reactor would search all that there are
            self._call = None
        if self._call is None:
            self._call = self._clock.callLater(seconds, self._fire)
        else:
            self._call.reset(seconds)

    def clear(self) -> None:
        """There is no deadline any more."""
        self._expired = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _fire(self) -> None:
        expired, self._expired = self._expired, None
        self._call = None
        assert expired is not None, "a deadline that is set knows whom to call"
        expired()
