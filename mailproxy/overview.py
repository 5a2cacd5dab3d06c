"""
What the admin endpoint shows of a proxy: its listeners, read at the moment that somebody asks.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from mailproxy import __version__
from mailproxy.admin.desk import Pages
from mailproxy.admin.history import SAMPLE_SECONDS, History, Sample
from mailproxy.admin.status import moment
from mailproxy.admin.values import Advice, Picture, Process, Row
from mailproxy.config import Config
from mailproxy.doctor.explain import meaning
from mailproxy.doctor.table import known_answers
from mailproxy.listeners import Listener
from mailproxy.observe.condition import judge
from mailproxy.observe.metrics import exposition
from mailproxy.observe.observation import Observation
from mailproxy.observe.stats import render

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

    def learn(self) -> None:
        """What failures mean is known from now on; the first who asks would hold up sessions for 0.3 s otherwise."""
        known_answers()

    def pages(self) -> Pages:
        """All that is shown."""
        return Pages(
            picture=self.picture,
            history=self._series,
            stats=lambda: render(self._proxy.observations()),
            metrics=lambda accept: exposition(self._proxy.observations(), accept),
            explain=_explain,
        )

    def picture(self) -> Picture:
        """The proxy as it is now."""
        now = self._clock.seconds()
        return Picture(self._process(now), tuple(_row(listener, now) for listener in self._proxy.listeners))

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

    def _series(self) -> Mapping[str, Any]:
        return {
            "step_seconds": round(SAMPLE_SECONDS),
            "until": moment(self.history.taken),
            "listeners": {
                listener.order.label: self.history.series(_whose(listener)) for listener in self._proxy.listeners
            },
        }


@lru_cache(MAX_EXPLAINED)
def _explain(outcome: str, sentence: str) -> Advice | None:
    """What the doctor knows of a failure."""
    found = meaning(known_answers(), outcome, sentence)
    return None if found is None else Advice(found.side, found.cause, " ".join(found.remedy))


def _row(listener: Listener, now: float) -> Row:
    order, log, condition = listener.order, listener.factory.log, listener.gate.keeper.condition
    who = order.recipe.identity
    return Row(
        label=order.label,
        destination=who.destination,
        tenant=who.tenant,
        service=who.service,
        protocol=who.protocol.value,
        endpoint=order.endpoint,
        listening=listener.is_open,
        active=log.counters.active,
        total=log.counters.sessions,
        verdict=judge(condition, log.failures.last, now),
        last_success=condition.last_success,
        last_failure=condition.last_failure,
        peer=condition.peer,
        credential=condition.credential,
        held_until=condition.held(now),
        failures=tuple(log.failures.latest()),
        flights=tuple(listener.factory.flights),
    )


def _whose(listener: Listener) -> Hashable:
    return listener.order.recipe.identity


def _sample(listener: Listener) -> Sample:
    counters = listener.factory.log.counters
    return Sample(counters.sessions, listener.factory.log.failures.total, counters.active)
