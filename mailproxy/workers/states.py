"""
How things are in a worker, as part of a message, and what that makes of all workers together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from mailproxy.observe.histogram import SECONDS, Histogram
from mailproxy.observe.observation import CacheFigures, HoldOffFigures, PoolFigures, SourceFigures, State
from mailproxy.recipes import Identity
from mailproxy.workers.counts import as_list, as_number, format_identity, parse_identity
from mailproxy.workers.doings import summed

MAX_STATES = 1000
"""Of so many listeners a worker tells at most how they are; one takes about 300 octets of the message."""

States = Mapping[Identity, State]


def format_states(states: States) -> list[Any]:
    """The states as JSON has them."""
    return [[format_identity(who), _format(state)] for who, state in states.items()]


def parse_states(raw: object, most: int) -> dict[Identity, State]:
    """
    The states in a message.

    Raises:
        ValueError: there are none in it, or more than `most`.
    """
    pairs = (as_list(each, [2]) for each in as_list(raw, range(most + 1)))
    return {parse_identity(who): _parse(state) for who, state in pairs}


def together(states: Iterable[State]) -> State | None:
    """What these are in all, each of another worker; None where there is none."""
    known = list(states)
    if not known:
        return None
    return State(
        pool=summed([each.pool for each in known]),
        hold_off=HoldOffFigures(
            server=any(each.hold_off.server for each in known), login=any(each.hold_off.login for each in known)
        ),
        source=sources_together(each.source for each in known if each.source is not None),
        certificate_expires_at=_first(each.certificate_expires_at for each in known),
        token_expires_at=_first(each.token_expires_at for each in known),
    )


def sources_together(sources: Iterable[SourceFigures]) -> SourceFigures | None:
    """What these are in all, of the same place in several processes; None where there is none."""
    known = list(sources)
    if not known:
        return None
    cache, seconds = summed([each.cache for each in known]), summed([each.token_seconds for each in known])
    return attrs.evolve(known[0], cache=cache, token_seconds=seconds)


def lasting(state: State) -> State:
    """What was counted, and stays so when the process is gone."""
    source = state.source
    return State(
        pool=attrs.evolve(state.pool, resting=0, in_use=0, opening=0, waiting=0),
        source=None if source is None else attrs.evolve(source, cache=attrs.evolve(source.cache, entries=0)),
    )


def has_begun_anew(before: State, now: State) -> bool:
    """Whether something counts from 0 again: a reload has put something new in its place."""
    return any(one > other for one, other in zip(_counted(before), _counted(now), strict=True))


def _counted(state: State) -> list[int]:
    source = state.source or SourceFigures("", None)
    cache = source.cache
    return [state.pool.made, state.pool.reused, cache.hits, cache.fetches, cache.failures]


def _first(times: Iterable[float | None]) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _format(state: State) -> list[Any]:
    source = state.source
    return [
        attrs.astuple(state.pool),
        [state.hold_off.server, state.hold_off.login],
        None if source is None else [source.service, source.tenant, attrs.astuple(source.cache), *_plain(source)],
        state.certificate_expires_at,
        state.token_expires_at,
    ]


def _plain(source: SourceFigures) -> list[Any]:
    return [source.token_seconds.counts, source.token_seconds.total]


def _parse(raw: object) -> State:
    pool, hold_off, source, certificate, token = as_list(raw, [5])
    server, login = as_list(hold_off, [2])
    return State(
        PoolFigures(*_numbers(pool, len(attrs.fields(PoolFigures)))),
        HoldOffFigures(server=server is True, login=login is True),
        None if source is None else _parse_source(source),
        None if certificate is None else _time(certificate),
        None if token is None else _time(token),
    )


def _parse_source(raw: object) -> SourceFigures:
    service, tenant, cache, counts, total = as_list(raw, [5])
    if not isinstance(service, str) or not (tenant is None or isinstance(tenant, str)):
        raise ValueError("a place of destinations has no name")
    figures = CacheFigures(*_numbers(cache, len(attrs.fields(CacheFigures))))
    return SourceFigures(service, tenant, figures, Histogram(_numbers(counts, len(SECONDS) + 1), _real(total)))


def _numbers(raw: object, length: int) -> list[int]:
    return [as_number(each) for each in as_list(raw, [length])]


def _time(raw: object) -> float:
    """One may be before 1970: certificates say what they like."""
    if not isinstance(raw, int | float) or isinstance(raw, bool) or not math.isfinite(raw):
        raise ValueError("a time is no number")
    return float(raw)


def _real(raw: object) -> float:
    if not isinstance(raw, int | float) or isinstance(raw, bool) or not 0 <= raw < math.inf:
        raise ValueError("a time is no number")
    return float(raw)
