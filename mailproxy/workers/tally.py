"""
Counting across processes: what one worker has to tell of its listeners, and the sum over all workers, dead or alive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice

from mailproxy.admin.values import Report
from mailproxy.flight.latest import latest_of
from mailproxy.flight.recording import Recording
from mailproxy.observe.counters import Counters
from mailproxy.observe.observation import State
from mailproxy.recipes import Identity
from mailproxy.workers.conditions import Conditions
from mailproxy.workers.counts import MAX_LISTENERS, Counts
from mailproxy.workers.doings import Doing, Doings
from mailproxy.workers.joined import Reports
from mailproxy.workers.states import States

LOST = "worker_lost"
"""The outcome of sessions whose worker died before it could tell theirs."""


class Tally:
    """
    What the listeners of a worker have counted, and what of it has not been told yet.

    A listener that is gone is told of until its last session has ended.
    """

    def __init__(self) -> None:
        self._counters: dict[Identity, Counters] = {}
        self._before: dict[Identity, Counters] = {}
        """What was counted by counters that have been replaced since."""
        self._told: dict[Identity, Counters] = {}
        self._present: Collection[Identity] = ()

    def follow(self, counters: Iterable[tuple[Identity, Counters]]) -> None:
        """These are the counters of the listeners there are now."""
        present = dict(counters)
        for who, each in present.items():
            replaced = self._counters.get(who, each)
            if replaced is not each:
                self._before.setdefault(who, Counters()).add(replaced)
        self._counters |= present
        self._present = frozenset(present)

    def news(self) -> Iterator[Counts]:
        """The counts that have changed, in portions; from now on they are told."""
        changed = {who: now for who in self._counters if (now := self._now(who)) != self._told.get(who)}
        self._told |= changed
        for who in [who for who in self._counters if who not in self._present and not self._told[who].active]:
            del self._counters[who], self._told[who]
            self._before.pop(who, None)
        rest = iter(changed.items())
        while portion := dict(islice(rest, MAX_LISTENERS)):
            yield portion

    def _now(self, who: Identity) -> Counters:
        now = self._counters[who].copy()
        if who in self._before:
            now.add(self._before[who])
        return now


class Ledger:
    """
    The counts of all workers; each listener's `sessions == active + sum(outcomes.values())`, as with one process.

    Also how things are in those that live.  What was counted stays when a worker is gone, so that no count goes down.
    """

    def __init__(self) -> None:
        self.doings = Doings()
        """What workers do as a whole."""
        self._conditions = Conditions()
        self._reports: dict[int, Reports] = {}
        self._recordings: dict[int, Sequence[Recording]] = {}
        self._alive: dict[int, dict[Identity, Counters]] = {}
        self._dead: dict[Identity, Counters] = {}

    def report(self, worker: int, counts: Counts) -> None:
        """A worker has told these; they replace what it told before."""
        self._alive.setdefault(worker, {}).update(counts)

    def note(self, worker: int, states: States) -> None:
        """A worker has told how its listeners are; of any other it has none any more."""
        self._conditions.note(worker, states)

    def tell(self, worker: int, doing: Doing) -> None:
        """A worker has told what it is doing as a whole."""
        self.doings.tell(worker, doing)

    def describe(self, worker: int, reports: Reports) -> None:
        """A worker has told how its listeners are doing."""
        self._reports[worker] = reports

    def shelve(self, worker: int, recordings: Sequence[Recording]) -> None:
        """A worker has told what its last sessions were that ended badly; any other one does not count any more."""
        self._recordings[worker] = recordings

    def recordings(self) -> tuple[Recording, ...]:
        """The last ones of all that live, the last one first."""
        return latest_of(chain.from_iterable(self._recordings.values()))

    def state(self, who: Identity) -> State | None:
        """How a listener is in all workers together; None where none has told."""
        return self._conditions.of(who)

    def reports(self, who: Identity) -> list[Report]:
        """How a listener is doing in each worker that has told of it."""
        return [reports[who] for reports in self._reports.values() if who in reports]

    def close(self, worker: int) -> int:
        """The worker is dead, and what it has counted stays; how many sessions it took along."""
        self._conditions.close(worker)
        self._reports.pop(worker, None)
        self._recordings.pop(worker, None)
        self.doings.close(worker)
        lost = 0
        for who, counters in self._alive.pop(worker, {}).items():
            lost += counters.active
            _lose(counters)
            self._dead.setdefault(who, Counters()).add(counters)
        return lost

    def totals(self) -> dict[Identity, Counters]:
        """The sums, by listener."""
        found: dict[Identity, Counters] = {}
        for counts in (self._dead, *self._alive.values()):
            for who, counters in counts.items():
                found.setdefault(who, Counters()).add(counters)
        return found

    def total(self) -> Counters:
        """The sum of all."""
        found = Counters()
        for counters in self.totals().values():
            found.add(counters)
        return found

    def keep(self, present: Collection[Identity]) -> None:
        """Listeners that are not among these are forgotten, as soon as no session of theirs is left."""
        gone = [who for who, total in self.totals().items() if who not in present and not total.active]
        for counts in (self._dead, *self._alive.values()):
            for who in gone:
                counts.pop(who, None)
        self._conditions.keep(present)


def _lose(counters: Counters) -> None:
    """Nothing will be heard of the sessions that were active."""
    if counters.active:
        counters.outcomes[LOST] += counters.active
        counters.active = 0
