"""
The last sessions that ended badly, as JSON: each can be given to `mailproxy replay`, and says in lines what happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mailproxy.flight.addresses import without_addresses
from mailproxy.flight.latest import MAX_REMEMBERED
from mailproxy.flight.recording import Recording, written
from mailproxy.flight.replay import told


def recordings(every: Sequence[Recording], *, addresses: bool) -> list[dict[str, Any]]:
    """All of these, with the `addresses` of senders and recipients or not."""
    return [_shown(each, addresses=addresses) for each in every]


@lru_cache(MAX_REMEMBERED)
def _shown(recording: Recording, *, addresses: bool) -> dict[str, Any]:
    """It has ended, so that it stays as it is."""
    if not addresses:
        recording = without_addresses(recording)
    return {**written(recording), "lines": list(told(recording))}
