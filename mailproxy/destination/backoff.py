"""
How long to leave a service alone after it has failed.
"""

from __future__ import annotations

from collections.abc import Callable

from mailproxy.errors import DestinationError, DestinationUnavailable, TokenRefused

LONGEST_PAUSE_SECONDS = 600.0
"""No pause is longer, whatever the service asks for."""


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
        self.until = now + min(max(pause, at_least), LONGEST_PAUSE_SECONDS)

    def reset(self) -> None:
        """It worked: the next failure is a first one again."""
        self._failures = 0
        self.until = 0.0


Pauses = Callable[[DestinationError], tuple[float, float, float]]
"""What `pauses_after` does."""


def pauses_after(error: DestinationError) -> tuple[float, float, float]:
    """
    The first and the longest pause after such an error, and the one the service itself asked for, in seconds.

    Refused credentials need somebody to change them, and may be locked when tried too often.
    """
    if isinstance(error, DestinationUnavailable):
        return 1.0, 60.0, error.retry_after or 0.0
    if isinstance(error, TokenRefused):
        return 30.0, LONGEST_PAUSE_SECONDS, 0.0
    return 5.0, 60.0, 0.0
