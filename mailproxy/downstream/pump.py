"""
What a session decides is carried out, a bounded part of it in one go.

One socket read can hold thousands of short commands that are answered here.  Were they all answered at once, every
other session would wait for the last of them: so whoever has much to do stands in line again after each part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from mailproxy.deadline import Deadline

T = TypeVar("T")

MOST_AT_ONCE = 100
"""Actions of one session before it is the others' turn: about a millisecond."""


class Pump(Generic[T]):
    """
    Args:
        clock: the reactor, or a test's.
        take: the next action, or None.
        carry_out: does one; may call `run` again, which is then taken as done.
        go_on: called when it is this session's turn again; calls `run` sooner or later.
    """

    def __init__(
        self,
        clock: IReactorTime,
        take: Callable[[], T | None],
        carry_out: Callable[[T], None],
        go_on: Callable[[], None],
    ) -> None:
        self._take = take
        self._carry_out = carry_out
        self._go_on = go_on
        self._next = Deadline(clock)
        self._running = False
        self.in_line = False
        """There may be more to do, and it is the others' turn."""

    def run(self) -> bool:
        """Carry out what there is to do, or a part of it; False where that is under way already."""
        if self._running:
            return False
        self._running = True
        try:
            self.in_line = self._some()
        finally:
            self._running = False
        if self.in_line:
            self._next.set(0.0, self._go_on)
        return True

    def stop(self) -> None:
        """Nobody has a turn any more."""
        self.in_line = False
        self._next.clear()

    def _some(self) -> bool:
        for _ in range(MOST_AT_ONCE):
            action = self._take()
            if action is None:
                return False
            self._carry_out(action)
        return True
