"""
From the listeners there are to those that are wanted: all of it, or nothing.

What can fail comes first: files are read and ports are bound while the old listeners still serve.  Only when nothing
can fail any more, something changes for a client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen
from twisted.logger import Logger

from mailproxy.config.endpoints import Endpoint
from mailproxy.errors import ConfigError
from mailproxy.listeners import Keeper, Listener
from mailproxy.recipes import Order

_log = Logger(namespace="mailproxy.listeners")


class Listening(Protocol):
    """What listens somewhere, by an order."""

    bound: Endpoint

    @property
    def order(self) -> Order:
        """What is wanted of it at present."""


L = TypeVar("L", bound=Listening)


@frozen
class Difference(Generic[L]):
    """What has to be done; `kept` and `changed` are listeners with what is wanted of them now."""

    kept: list[tuple[L, Order]]
    changed: list[tuple[L, Order]]
    new: list[Order]
    gone: list[L]

    @classmethod
    def between(cls, listeners: Sequence[L], orders: Sequence[Order]) -> Difference[L]:
        """The way from these listeners to those orders."""
        here = {listener.order.place: listener for listener in listeners}
        wanted = {order.place: order for order in orders}
        both = [(here[place], order) for place, order in wanted.items() if place in here]
        return cls(
            kept=[(listener, order) for listener, order in both if listener.order.recipe == order.recipe],
            changed=[(listener, order) for listener, order in both if listener.order.recipe != order.recipe],
            new=[order for place, order in wanted.items() if place not in here],
            gone=[listener for place, listener in here.items() if place not in wanted],
        )

    def __str__(self) -> str:
        numbers = (len(self.kept), len(self.changed), len(self.new), len(self.gone))
        words = ("as before", "changed", "new", "gone")
        return ", ".join(f"{number} {word}" for number, word in zip(numbers, words, strict=True))


class Change:
    """
    Carries a difference out: `prepare`, and if that found no problem, `commit`.

    Args:
        difference: what is to be done.
        keep: makes a keeper.
        listen: makes a listener out of a keeper.
    """

    def __init__(
        self, difference: Difference[Listener], keep: Callable[[Order], Keeper], listen: Callable[[Keeper], Listener]
    ) -> None:
        self._difference = difference
        self._keep = keep
        self._listen = listen
        self._changed: list[tuple[Listener, Keeper]] = []
        self._new: list[Listener] = []
        self._closed: list[Listener] = []

    async def prepare(self) -> list[str]:
        """Everything new is there, and listens; else why not, and then all is as before."""
        try:
            self._make()
            problems = await self._bind()
        except ConfigError as error:
            problems = list(error.problems)
        except BaseException:
            await self.undo()
            raise
        if problems:
            await self.undo()
        return problems

    def commit(self) -> None:
        """The new order is in force; the listeners that are gone are still to be ended."""
        for listener, keeper in self._changed:
            listener.gate.change(keeper)
        for listener, order in self._difference.kept:
            listener.gate.keeper.order = order

    def listeners(self, wanted: Sequence[Order]) -> list[Listener]:
        """Those that are there then, in the order in which they are wanted."""
        kept = [listener for listener, _ in (*self._difference.kept, *self._difference.changed)]
        by_place = {listener.order.place: listener for listener in (*kept, *self._new)}
        return [by_place[order.place] for order in wanted]

    async def undo(self) -> None:
        """All is as before."""
        for _, keeper in self._changed:
            keeper.end.close()
        for listener in self._new:
            await listener.close_port()
            listener.factory.stop().addCallback(_close, listener)
        for listener in self._closed:
            problem = listener.listen()
            if problem is not None:
                _log.critical("{problem}", problem=problem)

    def _make(self) -> None:
        for listener, order in self._difference.changed:
            self._changed.append((listener, self._keep(order)))
        for order in self._difference.new:
            self._new.append(self._listen(self._keep(order)))

    async def _bind(self) -> list[str]:
        """A port that a listener to be gone has in its way is bound last, and only then that one closes."""
        in_the_way = those_in_the_way(self._new, self._difference.gone)
        problems = [problem for each in self._new if each not in in_the_way and (problem := each.listen())]
        if problems:
            return problems
        for listener in dict.fromkeys(other for others in in_the_way.values() for other in others):
            self._closed.append(listener)
            await listener.close_port()
        return [problem for each in in_the_way if (problem := each.listen())]


def those_in_the_way(new: Sequence[L], gone: Sequence[L]) -> dict[L, list[L]]:
    """Those that cannot listen beside one to be gone, with these; only neighbours are compared."""
    by_place: dict[str, list[L]] = {}
    for listener in gone:
        by_place.setdefault(listener.bound.place, []).append(listener)
    found = {}
    for listener in new:
        others = [each for each in by_place.get(listener.bound.place, ()) if listener.bound.collides(each.bound)]
        if others:
            found[listener] = others
    return found


def _close(_: Any, listener: Listener) -> None:
    listener.gate.close()
