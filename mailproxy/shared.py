"""
Things that several users share, and that end with the last of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import ExitStack
from typing import Generic, TypeVar

from attrs import define

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@define
class _Held(Generic[V]):
    """A value, what its end consists of, and how many use it."""

    value: V
    end: ExitStack
    users: int = 0


class Shared(Generic[K, V]):
    """
    One value for all equal keys: made for the first user, ended when the last one has let go.

    Args:
        make: makes the value for a key; what it pushes onto the stack is done at the value's end.
    """

    def __init__(self, make: Callable[[K, ExitStack], V]) -> None:
        self._make = make
        self._held: dict[K, _Held[V]] = {}

    def __len__(self) -> int:
        """How many values there are."""
        return len(self._held)

    def take(self, key: K, user: ExitStack) -> V:
        """The value for the key, which lives at least until the user's stack is unwound."""
        held = self._held.get(key)
        if held is None:
            with ExitStack() as end:
                held = self._held[key] = _Held(self._make(key, end), end.pop_all())
        held.users += 1
        user.callback(self._release, key)
        return held.value

    def _release(self, key: K) -> None:
        held = self._held[key]
        held.users -= 1
        if not held.users:
            del self._held[key]
            held.end.close()
