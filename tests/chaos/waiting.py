"""
Waiting for what only looking tells, always with an end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_STEP_SECONDS = 0.05


async def comes_true(look: Callable[[], bool], seconds: float) -> bool:
    """Whether `look`, which is asked again and again, says yes in time."""
    deadline = time.monotonic() + seconds
    while not (true := look()) and time.monotonic() < deadline:  # noqa: ASYNC110 - other processes set no event
        await asyncio.sleep(_STEP_SECONDS)
    return true
