"""
What the admin endpoint shows of a proxy with workers: `overview` says what it shows of one process.

Whoever asks hears what all workers know at that moment.  One that does not answer in time is told as such, and what it
said last counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from mailproxy import __version__
from mailproxy.admin.desk import Pages
from mailproxy.admin.history import History, Sample
from mailproxy.admin.turns import in_turns
from mailproxy.admin.values import Picture, Process, Row, Work
from mailproxy.config import Config
from mailproxy.observe.counters import Counters
from mailproxy.observe.metrics import Exposition, exposing
from mailproxy.observe.observation import CrewFigures, Observation
from mailproxy.observe.process import figures
from mailproxy.observe.stats import render
from mailproxy.overview import explain, row_of, sample, series
from mailproxy.workers.crew import Crew
from mailproxy.workers.held import Held
from mailproxy.workers.joined import joined
from mailproxy.workers.mate import Look


class Watched(Protocol):
    """What there is to be shown; `supervisor.Supervisor` provides it."""

    config: Config
    config_since: float
    complaints: Sequence[str]
    listeners: list[Held]
    bound: bool
    stopping: bool

    def observations(self) -> list[Observation]:
        """What an operator sees of each listener."""


class Lookout:
    """
    Of all workers.

    Args:
        supervisor: knows what is wanted.
        crew: knows the workers.
        clock: tells the time, since 1970.
    """

    def __init__(self, supervisor: Watched, crew: Crew, clock: IReactorTime) -> None:
        self._supervisor = supervisor
        self._crew = crew
        self._clock = clock
        self._started = clock.seconds()
        self.history = History(clock, self._samples)

    def pages(self) -> Pages:
        """All that is shown."""
        return Pages(self._glance, self._picture, self._series, self._stats, self._metrics, explain)

    async def _glance(self) -> Picture:
        await self._crew.look(Look.DOING)
        return Picture(self._process(), ())

    async def _picture(self) -> Picture:
        await self._crew.look(Look.REPORTS)
        totals, now = self._crew.ledger.totals(), self._clock.seconds()
        nothing = Counters()
        rows = [
            self._row(held, totals.get(held.order.recipe.identity, nothing), now) for held in self._supervisor.listeners
        ]
        return Picture(self._process(), tuple(rows), self._crew.ledger.recordings())

    def _row(self, held: Held, counters: Counters, now: float) -> Row:
        report = joined(self._crew.ledger.reports(held.order.recipe.identity))
        return row_of(held.order, counters, report, now, listening=held.is_open)

    def _process(self) -> Process:
        supervisor, doings = self._supervisor, self._crew.ledger.doings
        return Process(
            version=__version__,
            started=self._started,
            now=self._clock.seconds(),
            bound=supervisor.bound,
            stopping=supervisor.stopping,
            sessions=doings.sessions,
            max_sessions=doings.max_sessions,
            config_path=str(supervisor.config.path),
            config_since=supervisor.config_since,
            complaints=tuple(supervisor.complaints),
            crew=self._crew.hands(),
        )

    async def _stats(self) -> str:
        await self._crew.look(Look.FIGURES)
        return render(self._supervisor.observations())

    async def _metrics(self, accept: str) -> Exposition:
        await self._crew.look(Look.FIGURES)
        doings = self._crew.ledger.doings
        process = evolve(figures, lag=doings.lag, ledger=doings.ledger, crew=self._figures())
        return await in_turns(exposing(self._supervisor.observations(), accept, process), self._clock)

    def _figures(self) -> CrewFigures:
        states = dict.fromkeys(Work, 0)
        for hand in self._crew.hands():
            states[hand.work] += 1
        return CrewFigures({work.value: number for work, number in states.items()}, self._crew.ended)

    async def _series(self) -> Mapping[str, Any]:
        return series(self.history, (held.order for held in self._supervisor.listeners))

    def _samples(self) -> Mapping[Hashable, Sample]:
        totals = self._crew.ledger.totals()
        return {who: sample(totals.get(who, Counters())) for who in self._identities()}

    def _identities(self) -> list[Any]:
        return [held.order.recipe.identity for held in self._supervisor.listeners]
