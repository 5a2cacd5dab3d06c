"""
How long things took: numbers of observations in fixed ranges, which cost next to nothing to take.
"""

from __future__ import annotations

from bisect import bisect_left

from attrs import define, field

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
"""The upper ends of the ranges, from a reply on the same machine to the longest wait there is; above is one more."""


@define
class Histogram:
    """
    Observations of one kind.

    `counts` has one number for each range of `SECONDS`, its upper end included, and one for what is above all of them.
    """

    counts: list[int] = field(factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """It took so long; a clock that was set back has measured nothing."""
        seconds = max(seconds, 0.0)
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def add(self, other: Histogram) -> None:
        """What another one has observed counts here, too."""
        self.counts = [one + more for one, more in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def copy(self) -> Histogram:
        """The same numbers, which stay as they are."""
        return Histogram(list(self.counts), self.total)
