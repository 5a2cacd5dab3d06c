"""
Long work in the reactor's thread, with sessions served in between.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

TURN_SECONDS = 0.005
"""For so long it may hold up others; one step of it more."""

T = TypeVar("T")


async def in_turns(steps: Generator[None, None, T], clock: IReactorTime) -> T:
    """What the steps come to, some of them in each turn of the reactor."""
    while True:
        until = clock.seconds() + TURN_SECONDS
        while clock.seconds() < until:
            try:
                next(steps)
            except StopIteration as done:
                result: T = done.value
                return result
        turn: Deferred[None] = Deferred()
        clock.callLater(0, turn.callback, None)
        await turn
