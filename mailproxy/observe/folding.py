"""
Lines that repeat themselves: the first one at once, then one a minute with how many more there were.

How often a mail server that is down is asked for, and how often somebody looks whether a port is open, is for others to
say.  A line for each would bury all other lines, and fill the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from mailproxy.deadline import Deadline

MAX_KINDS = 64
"""So many kinds of lines are folded at a time; one more is told each time, so that nothing goes unseen."""

K = TypeVar("K", bound=Hashable)


class Folding(Generic[K]):
    """
    Counts lines by kind.

    Args:
        clock: measures the time.
        tell: is told how many lines of each kind were left out since the last time, if there were any.
    """

    def __init__(self, clock: IReactorTime, tell: Callable[[Mapping[K, int]], None]) -> None:
        self._tell = tell
        self._counts: dict[K, int] = {}
        self._deadline = Deadline(clock)
        self._seconds = 0.0

    def __len__(self) -> int:
        """How many kinds are folded at the moment."""
        return len(self._counts)

    def is_news(self, kind: K, seconds: float) -> bool:
        """
        Whether a line of this kind is to be told; if not, it is counted.

        Args:
            kind: equal for lines that say the same.
            seconds: how long they are folded; 0 is not at all.
        """
        count = self._counts.get(kind)
        if count is not None:
            self._counts[kind] = count + 1
        elif seconds and len(self._counts) < MAX_KINDS:
            if not self._counts:
                self._seconds = seconds
                self._deadline.set(seconds, self._time_is_up)
            self._counts[kind] = 0
        return count is None

    def stop(self) -> None:
        """All is told, and no timer is left."""
        self._deadline.clear()
        self._flush()
        self._counts.clear()

    def _time_is_up(self) -> None:
        """A kind that has gone on is folded on, any other is news again."""
        self._flush()
        if self._counts:
            self._deadline.set(self._seconds, self._time_is_up)

    def _flush(self) -> None:
        repeated = {kind: count for kind, count in self._counts.items() if count}
        self._counts = dict.fromkeys(repeated, 0)
        if repeated:
            self._tell(repeated)
