"""
How long a service is left alone after each kind of failure.
"""

from __future__ import annotations

from collections.abc import Callable

from mailproxy.backoff import LONGEST_PAUSE_SECONDS
from mailproxy.errors import DestinationError, DestinationUnavailable, TokenRefused

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
