"""
What workers tell of themselves as a whole, and what that amounts to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import attrs
from attrs import field, frozen

from mailproxy.observe.histogram import Histogram
from mailproxy.observe.observation import LedgerFigures

MAX_REASONS = 20
"""So many reasons are told why a worker serves nobody."""

T = TypeVar("T")


@frozen
class Doing:
    """
    A worker at this moment.

    `max_sessions` 0 is no limit.  `reasons` say why clients are not welcome there.  `lag` and `ledger` are those of its
    process; it may have no ledger.
    """

    sessions: int = 0
    max_sessions: int = 0
    reasons: tuple[str, ...] = ()
    lag: Histogram = field(factory=Histogram)
    ledger: LedgerFigures | None = None


class Doings:
    """
    Those of all workers.  What a worker has counted stays when it is gone.
    """

    def __init__(self) -> None:
        self._alive: dict[int, Doing] = {}
        self._lag = Histogram()
        self._ledger: LedgerFigures | None = None

    def tell(self, worker: int, doing: Doing) -> None:
        """A worker is doing that now."""
        self._alive[worker] = doing

    def of(self, worker: int) -> Doing:
        """What a worker is doing; as good as nothing, as long as it has not told."""
        return self._alive.get(worker, Doing())

    def close(self, worker: int) -> None:
        """The worker is gone."""
        gone = self._alive.pop(worker, Doing())
        self._lag.add(gone.lag)
        if gone.ledger is not None:
            lasting = attrs.evolve(gone.ledger, waiting=0, failing=0, blocking=0, sessions=0)
            self._ledger = lasting if self._ledger is None else summed([self._ledger, lasting])

    @property
    def lag(self) -> Histogram:
        """By how much workers were late."""
        return summed([self._lag, *(each.lag for each in self._alive.values())])

    @property
    def ledger(self) -> LedgerFigures | None:
        """Their ledgers taken together; None where they have none."""
        every = [self._ledger, *(each.ledger for each in self._alive.values())]
        known = [each for each in every if each is not None]
        return summed(known) if known else None

    @property
    def sessions(self) -> int:
        """How many clients have a place."""
        return sum(each.sessions for each in self._alive.values())

    @property
    def max_sessions(self) -> int:
        """How many there may be; 0 is no limit."""
        most = [each.max_sessions for each in self._alive.values()]
        return sum(most) if all(most) else 0


def summed(values: Iterable[T]) -> T:
    """
    One value whose numbers are the sums of theirs; there is one at least.
    """
    first, *others = values
    return first if not others else _sum([first, *others])


def _sum(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, Histogram):
        total = first.copy()
        for each in values[1:]:
            total.add(each)
        return total
    if attrs.has(type(first)):
        names = [each.name for each in attrs.fields(type(first))]
        return type(first)(*[_sum([getattr(value, name) for value in values]) for name in names])
    return sum(values)
