"""
Waiting for other processes, always with an end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_STEP_SECONDS = 0.02
_LISTENING = "0A"

T = TypeVar("T")


def until(look: Callable[[], T | None], what: str, *, seconds: float = 10.0) -> T:
    """
    The first true answer of `look`, which is asked again and again.

    Raises:
        AssertionError: there was none in time; `what` says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        if answer := look():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(_STEP_SECONDS)


def listens(port: int) -> bool:
    """Whether somebody listens on this port of IPv4, found out without connecting: nobody is disturbed."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[3] == _LISTENING and int(row[1].partition(":")[2], 16) == port for row in rows)
