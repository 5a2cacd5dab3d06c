"""
What the admin endpoint shows of a proxy: its listeners, read at the moment that somebody asks.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from mailproxy import __version__
from mailproxy.admin.desk import Pages
from mailproxy.admin.history import SAMPLE_SECONDS, History, Sample
from mailproxy.admin.status import moment
from mailproxy.admin.turns import in_turns
from mailproxy.admin.values import Advice, Picture, Process, Report, Row
from mailproxy.config import Config
from mailproxy.doctor.explain import meaning
from mailproxy.doctor.table import known_answers
from mailproxy.flight.latest import latest
from mailproxy.flight.recording import Recording
from mailproxy.listeners import Listener
from mailproxy.observe.condition import Condition, judge
from mailproxy.observe.counters import Counters
from mailproxy.observe.metrics import Exposition, exposing
from mailproxy.observe.observation import LedgerFigures, Observation
from mailproxy.observe.process import figures
from mailproxy.observe.stats import render
from mailproxy.recipes import Identity, Order

MAX_EXPLAINED = 512
"""Sentences whose meaning is remembered."""


class Watched(Protocol):
    """What there is to be shown; `service.Proxy` provides it."""

    config: Config
    config_since: float
    complaints: Sequence[str]
    listeners: list[Listener]

    @property
    def bound(self) -> bool:
        """Whether every port was bound."""

    @property
    def stopping(self) -> bool:
        """Whether the end has begun."""

    @property
    def unrecorded(self) -> str | None:
        """Why the ledger keeps clients away, if it does."""

    @property
    def recording(self) -> LedgerFigures | None:
        """What an operator sees of the ledger, if there is one."""

    @property
    def sessions(self) -> int:
        """How many clients have a place."""

    @property
    def max_sessions(self) -> int:
        """How many there may be; 0 is no limit."""

    def observations(self) -> list[Observation]:
        """What an operator sees of each listener."""


class Overview:
    """
    Of one proxy.

    Args:
        proxy: to be looked at.
        clock: tells the time, since 1970.
    """

    def __init__(self, proxy: Watched, clock: IReactorTime) -> None:
        self._proxy = proxy
        self._clock = clock
        self._started = clock.seconds()
        self.history = History(clock, self._samples)

    def pages(self) -> Pages:
        """All that is shown."""
        return Pages(self.glance, self.picture, self._series, self._stats, self._metrics, explain)

    async def picture(self) -> Picture:
        """All of the proxy as it is now."""
        return evolve(await self.glance(), recordings=recordings_of(self._proxy.listeners))

    async def glance(self) -> Picture:
        """The same, without what has gone wrong."""
        now = self._clock.seconds()
        return Picture(self._process(now), tuple(_row(listener, now) for listener in self._proxy.listeners))

    async def _stats(self) -> str:
        return render(self._proxy.observations())

    async def _metrics(self, accept: str) -> Exposition:
        process = evolve(figures, ledger=self._proxy.recording)
        return await in_turns(exposing(self._proxy.observations(), accept, process), self._clock)

    def _process(self, now: float) -> Process:
        proxy = self._proxy
        return Process(
            version=__version__,
            started=self._started,
            now=now,
            bound=proxy.bound,
            stopping=proxy.stopping,
            sessions=proxy.sessions,
            max_sessions=proxy.max_sessions,
            config_path=str(proxy.config.path),
            config_since=proxy.config_since,
            complaints=tuple(proxy.complaints),
            unrecorded=proxy.unrecorded,
        )

    def _samples(self) -> Mapping[Hashable, Sample]:
        return {_whose(listener): _sample(listener) for listener in self._proxy.listeners}

    async def _series(self) -> Mapping[str, Any]:
        return series(self.history, (listener.order for listener in self._proxy.listeners))


def learn() -> None:
    """What failures mean is known from now on; the first who asks would hold up sessions for 0.3 s otherwise."""
    known_answers()


@lru_cache(MAX_EXPLAINED)
def explain(outcome: str, sentence: str) -> Advice | None:
    """What the doctor knows of a failure."""
    found = meaning(known_answers(), outcome, sentence)
    return None if found is None else Advice(found.side, found.cause, " ".join(found.remedy))


def series(history: History, orders: Iterable[Order]) -> Mapping[str, Any]:
    """The last hour of these listeners."""
    return {
        "step_seconds": round(SAMPLE_SECONDS),
        "until": moment(history.taken),
        "listeners": {order.label: history.series(order.recipe.identity) for order in orders},
    }


def sample(counters: Counters) -> Sample:
    """What a listener has counted until now."""
    return Sample(counters.sessions, counters.failures, counters.active)


def report_of(listener: Listener, now: float) -> Report:
    """How it is doing here."""
    condition = listener.gate.keeper.condition
    return Report(
        last_success=condition.last_success,
        last_failure=condition.last_failure,
        peer=condition.peer,
        credential=condition.credential,
        held_until=condition.held(now),
        failures=tuple(listener.factory.log.failures.latest()),
    )


def recordings_of(listeners: Iterable[Listener]) -> tuple[Recording, ...]:
    """Their latest sessions that ended badly, the last one first."""
    return latest((each.order.label, flight) for each in listeners for flight in each.factory.flights)


def row_of(
    order: Order,
    counters: Counters,
    report: Report,
    now: float,
    *,
    listening: bool,
) -> Row:
    """What is shown of a listener."""
    who = order.recipe.identity
    condition = Condition(
        lambda: report.held_until, report.last_success, report.last_failure, report.peer, report.credential
    )
    return Row(
        label=order.label,
        destination=who.destination,
        tenant=who.tenant,
        service=who.service,
        protocol=who.protocol.value,
        endpoint=order.endpoint,
        listening=listening,
        active=counters.active,
        total=counters.sessions,
        verdict=judge(condition, report.last_mishap, now),
        report=report,
    )


def _row(listener: Listener, now: float) -> Row:
    counters = listener.factory.log.counters
    return row_of(listener.order, counters, report_of(listener, now), now, listening=listener.is_open)


def _whose(listener: Listener) -> Identity:
    return listener.order.recipe.identity


def _sample(listener: Listener) -> Sample:
    return sample(listener.factory.log.counters)
