"""
The last sessions that ended badly, as JSON: each can be given to `mailproxy replay`, and says in lines what happened.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mailproxy.admin.values import Row
from mailproxy.flight.addresses import without_addresses
from mailproxy.flight.flights import Flight
from mailproxy.flight.recording import recording_of, written
from mailproxy.flight.replay import told

MAX_RECORDINGS_SHOWN = 20
"""Of all listeners, the latest ones."""


def recordings(rows: tuple[Row, ...], *, addresses: bool) -> list[dict[str, Any]]:
    """The last ones of all, the last one first, with the `addresses` of senders and recipients or not."""
    every = ((row.label, flight) for row in rows for flight in row.flights)
    latest = sorted(every, key=lambda each: each[1].ended, reverse=True)[:MAX_RECORDINGS_SHOWN]
    return [_shown(label, flight, addresses=addresses) for label, flight in latest]


@lru_cache(MAX_RECORDINGS_SHOWN)
def _shown(label: str, flight: Flight, *, addresses: bool) -> dict[str, Any]:
    """It has ended, so that it stays as it is."""
    recording = recording_of(flight, label)
    if not addresses:
        recording = without_addresses(recording)
    return {**written(recording), "lines": list(told(recording))}
