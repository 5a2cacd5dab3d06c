"""
Clients that have said nothing yet: they have their places only as long as nobody else needs them.

To connect costs a stranger next to nothing, be it ten thousand times, and each connection that says nothing would keep
a place until its time is over.  So when a room is full, whoever has been silent there for longest makes room for the
next one.  An honest client speaks within milliseconds of the greeting, and whoever has said one line is no newcomer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

SPEAK_UP_SECONDS = 1.0
"""A client may be silent for so long before its place can be taken away."""


class Newcomers(Generic[T]):
    """
    Room by room, in the order in which they came.

    Each step takes the same time, however many there are.  That is why the rooms are `OrderedDict`s: to find the first
    of a `dict`, Python steps over all that were removed from its beginning.
    """

    def __init__(self) -> None:
        self._rooms: dict[Hashable, OrderedDict[T, None]] = {}

    def __len__(self) -> int:
        """In how many rooms there is one."""
        return len(self._rooms)

    def add(self, newcomer: T, rooms: Iterable[Hashable]) -> None:
        """One more, the last in each of these rooms."""
        for room in rooms:
            self._rooms.setdefault(room, OrderedDict())[newcomer] = None

    def remove(self, newcomer: T, rooms: Iterable[Hashable]) -> None:
        """One less in each of these rooms."""
        for room in rooms:
            waiting = self._rooms[room]
            del waiting[newcomer]
            if not waiting:
                del self._rooms[room]

    def first(self, room: Hashable) -> T | None:
        """Who has waited there for longest."""
        return next(iter(self._rooms.get(room, ())), None)
