"""
How long to leave somebody alone after a failure.
"""

from __future__ import annotations

from collections.abc import Callable

LONGEST_PAUSE_SECONDS = 600.0
"""No pause is longer, whatever a service asks for, unless the operator wants it."""


class Backoff:
    """
    Pauses that double from failure to failure, each up to a quarter longer by chance.

    The chance keeps those who failed together from coming back together.

    Args:
        random: gives numbers from 0 to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0
        self.until = 0.0
        """When the pause ends, in seconds of the clock that `fail` was told."""

    def fail(self, now: float, first: float, longest: float, at_least: float = 0.0) -> None:
        """It failed: a pause begins, in seconds."""
        pause = min(first * 2.0 ** min(self._failures, 20), longest) * (1.0 + self._random() / 4)
        self._failures += 1
        self.until = now + min(max(pause, at_least), max(longest, LONGEST_PAUSE_SECONDS))

    def reset(self) -> None:
        """It worked: the next failure is a first one again."""
        self._failures = 0
        self.until = 0.0
