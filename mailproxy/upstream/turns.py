"""
A few at a time, the others in the order in which they came.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred


class Turns:
    """
    Places that are taken and given back.

    Args:
        places: how many there are.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[Deferred[None], None] = {}
        self._handing_out = False

    def take(self) -> Deferred[None]:
        """
        Fires with a place, which `give_back` must follow.  Cancelling leaves the queue.
        """
        turn: Deferred[None] = Deferred(self._leave)
        self._waiting[turn] = None
        self._hand_out()
        return turn

    def give_back(self) -> None:
        """A place is free again."""
        self._free += 1
        self._hand_out()

    def _leave(self, turn: Deferred[None]) -> None:
        del self._waiting[turn]

    def _hand_out(self) -> None:
        """
        Whoever can have a place, has one.

        Who gives it back at once does so while we are at work here, and must not start another round: a long queue of
        those would not fit on the stack.
        """
        if self._handing_out:
            return
        self._handing_out = True
        try:
            while self._free and self._waiting:
                self._free -= 1
                turn = next(iter(self._waiting))
                del self._waiting[turn]
                turn.callback(None)
        finally:
            self._handing_out = False
