"""
The last hour of every listener, sample by sample.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from mailproxy.deadline import Deadline

SAMPLE_SECONDS = 30.0
MAX_SAMPLES = 120
"""An hour of them."""


@frozen
class Sample:
    """What a listener had counted at a moment: sessions and failures since the start, sessions under way."""

    sessions: int
    failures: int
    active: int


@define
class _Ring:
    """The samples of one listener; the first one is only what the next is held against."""

    samples: deque[Sample] = field(factory=lambda: deque(maxlen=MAX_SAMPLES + 1))

    def series(self) -> dict[str, list[int]]:
        """What was new in each step, and what was under way at its end, the oldest first."""
        steps = list(zip(self.samples, list(self.samples)[1:], strict=False))
        return {
            "sessions": [max(0, after.sessions - before.sessions) for before, after in steps],
            "failures": [max(0, after.failures - before.failures) for before, after in steps],
            "active": [after.active for _, after in steps],
        }


class History:
    """
    Takes samples while it runs.

    Args:
        clock: says when.
        look: what the listeners have counted by now, by whose they are.
    """

    def __init__(self, clock: IReactorTime, look: Callable[[], Mapping[Hashable, Sample]]) -> None:
        self._clock = clock
        self._look = look
        self._next = Deadline(clock)
        self._rings: dict[Hashable, _Ring] = {}
        self.taken: float | None = None
        """When the last sample was taken."""

    def start(self) -> None:
        """The first samples are taken, and from then on others."""
        seen = self._look()
        self._rings = {whose: self._rings.get(whose, _Ring()) for whose in seen}
        for whose, sample in seen.items():
            self._rings[whose].samples.append(sample)
        self.taken = self._clock.seconds()
        self._next.set(SAMPLE_SECONDS, self.start)

    def stop(self) -> None:
        """No more are taken, and those that were are forgotten."""
        self._next.clear()
        self._rings.clear()
        self.taken = None

    def series(self, whose: Hashable) -> dict[str, list[int]]:
        """Of one listener; nothing of one that was not there yet."""
        return self._rings.get(whose, _Ring()).series()
