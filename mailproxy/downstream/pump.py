"""
What a session decides is carried out, a bounded part of it in one go.

One socket read can hold thousands of short commands that are answered here.  Were they all answered at once, every
other session would wait for the last of them: so whoever has much to do stands in line again after each part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime

from mailproxy.deadline import Deadline
from mailproxy.session.actions import Action

MOST_AT_ONCE = 100
"""Actions of one session before it is the others' turn: about a millisecond."""


T = TypeVar("T")
Deeds = Mapping[type[Action], Callable[[T, Any], None]]


class Pump:
    """
    Whom to call is said each time, so that a session that is over keeps nobody alive.
    """

    __slots__ = ("_clock", "_next", "_running", "_stopped", "held", "in_line")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._next: Deadline | None = None
        """There is one once it was needed; hardly any session has that much to do."""
        self._running = False
        self._stopped = False
        self.held = False
        """Nothing is carried out: what is next has to wait for something else."""
        self.in_line = False
        """There may be more to do, and it is the others' turn."""

    def run(self, take: Callable[[], Action | None], deeds: Deeds[T], owner: T, go_on: Callable[[], None]) -> bool:
        """
        Carry out what there is to do, or a part of it; False where that is under way already.

        Args:
            take: the next action, or None.
            deeds: what to do for an action of each class; may call `run` again.
            owner: for whom.
            go_on: called when it is this session's turn again.
        """
        if self._running:
            return False
        self._running = True
        try:
            left = MOST_AT_ONCE
            while left and not self.held and (action := take()) is not None:
                deeds[type(action)](owner, action)
                left -= 1
        finally:
            self._running = False
        self.in_line = not (left or self._stopped)
        if self.in_line:
            self._next = self._next or Deadline(self._clock)
            self._next.set(0.0, go_on)
        return True

    def stop(self) -> None:
        """There will be no other turn."""
        self._stopped = True
        self.in_line = False
        if self._next is not None:
            self._next.clear()
