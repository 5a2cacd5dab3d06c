"""
Time that has to be earned: what keeps a peer from sending content one octet at a time for ever.
"""

from __future__ import annotations


class Allowance:
    """
    Seconds that run down, and that octets add to; there are never more of them than at the beginning.

    A peer that sends at `rate` on average keeps what it has, a faster one fills it up again, a slower one runs out of
    it, however evenly it sends.  Times are seconds of any clock.

    Args:
        seconds: at the beginning, and at most.
        rate: octets that make up for one second; 0: a single octet gives back everything.
        now: when it begins to run down.
    """

    __slots__ = ("_end", "_left", "_most", "_worth")

    def __init__(self, seconds: float, rate: float, now: float) -> None:
        self._most = seconds
        self._worth = 1 / rate if rate else seconds
        self._end = now + seconds
        self._left: float | None = None
        """What there was when it was held."""

    def earn(self, octets: int, now: float) -> None:
        """Octets came in."""
        if self._left is None:
            self._end = min(self._end + octets * self._worth, now + self._most)
        else:
            self._left = min(self._left + octets * self._worth, self._most)

    def hold(self, now: float) -> None:
        """It does not run down for the time being."""
        if self._left is None:
            self._left = self._end - now

    def go_on(self, now: float) -> None:
        """It runs down again."""
        if self._left is not None:
            self._end = now + self._left
            self._left = None

    def left(self, now: float) -> float:
        """How many seconds are left; none is a negative number, too."""
        return self._end - now if self._left is None else self._left
