"""
Of all sessions that ended badly, the latest: those that are shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from mailproxy.flight.flights import Flight
from mailproxy.flight.recording import Recording, recording_of

MAX_SHOWN = 20
"""Of all listeners."""

MAX_REMEMBERED = 2 * MAX_SHOWN
"""So many are remembered as who looked has seen them: with no more than are shown, each new one would push out the
next one that is asked for."""


def latest(flights: Iterable[tuple[str, Flight]]) -> tuple[Recording, ...]:
    """The last ones of these, the last one first; each with the label of its listener."""
    last = sorted(flights, key=lambda each: each[1].ended, reverse=True)[:MAX_SHOWN]
    return tuple(_recording(label, flight) for label, flight in last)


def latest_of(recordings: Iterable[Recording]) -> tuple[Recording, ...]:
    """The last ones of these, the last one first; those of the same second as they were."""
    return tuple(sorted(recordings, key=lambda each: each.ended, reverse=True)[:MAX_SHOWN])


@lru_cache(MAX_REMEMBERED)
def _recording(label: str, flight: Flight) -> Recording:
    """It has ended, so that it stays as it is."""
    return recording_of(flight, label)
