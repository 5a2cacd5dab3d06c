"""
The last failures of one listener, each with how often it came.
"""

from __future__ import annotations

from attrs import evolve, frozen

MAX_FAILURES = 8
"""So many different ones are kept for a listener; the one that was seen longest ago goes."""

MAX_TEXT_CHARACTERS = 600
"""So much is kept of a sentence."""


@frozen
class Failed:
    """
    A failure, seen `count` times; `session` is the last one that met it.

    Times are in seconds since 1970.
    """

    first: float
    last: float
    count: int
    session: str
    outcome: str
    text: str


class Failures:
    """Of one listener, so that nobody's failures push out those of others."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Failed] = {}

    def note(self, now: float, session: str, outcome: str, text: str) -> None:
        """A session failed: the same as before is counted, anything else is kept beside it."""
        text = text[:MAX_TEXT_CHARACTERS]
        before = self._kept.pop((outcome, text), None)
        if before is None:
            if len(self._kept) >= MAX_FAILURES:
                del self._kept[next(iter(self._kept))]
            before = Failed(now, now, 0, session, outcome, text)
        self._kept[outcome, text] = evolve(before, last=now, count=before.count + 1, session=session)

    def latest(self) -> list[Failed]:
        """Those that are kept, the last one first."""
        return list(reversed(self._kept.values()))
