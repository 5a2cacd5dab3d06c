"""
What a load program says: figures as they come, and whether its promises were kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from attrs import define, field


@define
class Report:
    """Prints; `broken` are the promises that were not kept."""

    broken: list[str] = field(factory=list)

    def say(self, text: str) -> None:
        """A line."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def promise(self, text: str, *, kept: bool) -> None:
        """A line that says whether this was so."""
        self.say(f"{'ok    ' if kept else 'BROKEN'}  {text}")
        if not kept:
            self.broken.append(text)

    def promise_clean_log(self, blunder: str) -> None:
        """There is no traceback in the proxy's log; or there is this one."""
        if blunder:
            self.say(blunder)
        self.promise("no traceback in the log", kept=not blunder)

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.broken else 0


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(values: Sequence[float]) -> str:
    """Median, 95th percentile and longest of durations in seconds."""
    if not values:
        return "nothing came through"
    figures = {"p50": percentile(values, 0.5), "p95": percentile(values, 0.95), "longest": max(values)}
    return ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in figures.items()) + f" ({len(values)} mails)"


def ratio(during: Sequence[float], without: Sequence[float], share: float) -> float:
    """How much longer than without the trouble; endless when nothing came through."""
    return percentile(during, share) / percentile(without, share) if during and without else float("inf")


@define
class Stopwatch:
    """Seconds since it was made."""

    _began: float = field(factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """So many."""
        return time.monotonic() - self._began
