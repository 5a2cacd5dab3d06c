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
        pool=_sum(PoolFigures, [each.pool for each in known]),
        hold_off=HoldOffFigures(
            server=any(each.hold_off.server for each in known), login=any(each.hold_off.login for each in known)
        ),
        source=_sources([each.source for each in known if each.source is not None]),
        certificate_expires_at=_first(each.certificate_expires_at for each in known),
        token_expires_at=_first(each.token_expires_at for each in known),
    )


def _sources(known: list[SourceFigures]) -> SourceFigures | None:
    if not known:
        return None
    seconds = Histogram()
    for each in known:
        seconds.add(each.token_seconds)
    return attrs.evolve(known[0], cache=_sum(CacheFigures, [each.cache for each in known]), token_seconds=seconds)


def _sum(kind: Any, values: Iterable[Any]) -> Any:
    return kind(*map(sum, zip(*map(attrs.astuple, values), strict=True)))


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
        None if certificate is None else _real(certificate),
        None if token is None else _real(token),
    )


def _parse_source(raw: object) -> SourceFigures:
    service, tenant, cache, counts, total = as_list(raw, [5])
    if not isinstance(service, str) or not (tenant is None or isinstance(tenant, str)):
        raise ValueError("a place of destinations has no name")
    figures = CacheFigures(*_numbers(cache, len(attrs.fields(CacheFigures))))
    return SourceFigures(service, tenant, figures, Histogram(_numbers(counts, len(SECONDS) + 1), _real(total)))


def _numbers(raw: object, length: int) -> list[int]:
    return [as_number(each) for each in as_list(raw, [length])]


def _real(raw: object) -> float:
    if not isinstance(raw, int | float) or isinstance(raw, bool) or not 0 <= raw < math.inf:
        raise ValueError("a time is no number")
    return float(raw)
