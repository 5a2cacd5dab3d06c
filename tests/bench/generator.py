"""
The load: `python -m tests.bench.generator ORDER`, where ORDER is JSON (`tests/bench/orders.py`).

Each line of its output is JSON, too: `settled` when every session that is to stay has come so far, `progress` now and
then, `done` at the end.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import resource
import sys
import time
from array import array
from collections.abc import Iterator

from attrs import asdict, define, field

from tests.bench.dialogues import Dialogue, Visit
from tests.bench.engine import READ, WRITE, Loop, Steps
from tests.bench.orders import Done, Order
from tests.support.report import percentile

_OPENING_AT_A_TIME = 50
"""Sessions that are to stay come one behind another, not all at once."""


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _times() -> array[float]:
    return array("d")


@define(eq=False)
class Load:
    """The sessions of an order, those that are over and those that are not."""

    order: Order
    loop: Loop = field(factory=Loop)
    began: float = 0.0
    started: int = 0
    settled: int = 0
    failed: int = 0
    failure: str = ""
    mails: int = 0
    octets: int = 0
    cpu_began: float = 0.0
    took: array[float] = field(factory=_times)
    taken: array[float] = field(factory=_times)
    unacknowledged: list[int] = field(factory=list)
    _dialogue: Dialogue = field(init=False)
    _ports: Iterator[int] = field(init=False)
    _under_way: dict[int, Visit] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._dialogue = Dialogue(self.order, self._settle)
        self._ports = itertools.cycle(self.order.ports)

    def run(self) -> None:
        """All sessions are over, or time is up for them."""
        order = self.order
        if order.until_told:
            self.loop.start(sys.stdin.fileno(), self._listen(), READ, lambda _: self.loop.stop())
        self.began, self.cpu_began = time.monotonic(), _cpu_seconds()
        self._fill()
        self.loop.run(float("inf") if order.until_told else self.began + order.seconds + order.patience_seconds)
        if not order.until_told:
            self.failed += len(self._under_way)
            self.failure = self.failure or ("time was up" if self._under_way else "")
        for visit in self._under_way.values():
            self._leave(visit)

    def _listen(self) -> Steps:
        """Until somebody has closed our standard input."""
        while os.read(sys.stdin.fileno(), 100):
            yield READ

    def _fill(self) -> None:
        order = self.order
        while self._under_way_now() < self._at_a_time() and self._more():
            number = order.first + self.started * order.mails
            self.started += 1
            self._start(number)

    def _under_way_now(self) -> int:
        return len(self._under_way) - self.settled

    def _at_a_time(self) -> int:
        return _OPENING_AT_A_TIME if self.order.hold >= 0 else self.order.at_a_time

    def _more(self) -> bool:
        if self.order.sessions:
            return self.started < self.order.sessions
        return time.monotonic() - self.began < self.order.seconds

    def _start(self, number: int) -> None:
        visit = self._under_way[number] = Visit(number)
        first = WRITE if self._dialogue.secured else READ
        connection = self._dialogue.open(next(self._ports))
        steps = self._dialogue.steps(connection, visit)
        self.loop.start(connection.fileno(), steps, first, lambda failure: self._ended(visit, failure))

    def _ended(self, visit: Visit, failure: Exception | None) -> None:
        del self._under_way[visit.number]
        self._leave(visit)
        if failure is None:
            now = time.monotonic()
            self.took.append(now - visit.began)
            self.taken.append(visit.taken_at - visit.began)
        else:
            self.failed += 1
            self.failure = self.failure or f"{type(failure).__name__}: {failure}"
            self._say_settled()
        if self.order.progress and (len(self.took) + self.failed) % self.order.progress == 0:
            say("progress", sessions=len(self.took), failed=self.failed, seconds=time.monotonic() - self.began)
        self._fill()

    def _leave(self, visit: Visit) -> None:
        self.mails += visit.taken
        self.octets += visit.octets
        self.unacknowledged += range(visit.number + visit.taken, visit.number + self.order.mails)

    def _settle(self) -> None:
        self.settled += 1
        self._say_settled()
        self._fill()

    def _say_settled(self) -> None:
        if self.order.hold >= 0 and self.settled + self.failed == self.order.sessions:
            say("settled", sessions=self.settled, seconds=time.monotonic() - self.began)

    def done(self) -> Done:
        """What it came to."""
        return Done(
            sessions=len(self.took),
            failed=self.failed,
            failure=self.failure,
            mails=self.mails,
            octets=self.octets,
            seconds=time.monotonic() - self.began,
            p50_seconds=_percentile(self.took, 0.5),
            p95_seconds=_percentile(self.took, 0.95),
            longest_seconds=_percentile(self.took, 1.0),
            taken_seconds=_percentile(self.taken, 0.5),
            cpu_seconds=_cpu_seconds() - self.cpu_began,
            next_number=self.order.first + self.started * self.order.mails,
            unacknowledged=self.unacknowledged,
        )


def _percentile(seconds: array[float], share: float) -> float:
    return percentile(seconds, share) if seconds else 0.0


def say(what: str, **words: object) -> None:
    """A line."""
    sys.stdout.write(json.dumps({"what": what} | words) + "\n")
    sys.stdout.flush()


def main() -> None:
    """The order was carried out."""
    load = Load(Order.from_json(sys.argv[1]))
    gc.freeze()
    load.run()
    say("done", **asdict(load.done()))


if __name__ == "__main__":
    main()
