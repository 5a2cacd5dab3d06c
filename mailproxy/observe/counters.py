"""
What one listener has seen, in numbers.
"""

from __future__ import annotations

from collections import Counter

from attrs import Factory, define


@define
class Counters:
    """
    Of one listener, that is of one destination of one tenant: `sessions == active + sum(outcomes.values())` always.

    `turned_away` counts, by the limit that each has met, those whose outcome is `too_many_sessions`.
    """

    sessions: int = 0
    active: int = 0
    outcomes: Counter[str] = Factory(Counter)
    events: Counter[str] = Factory(Counter)
    turned_away: Counter[str] = Factory(Counter)

    def add(self, other: Counters) -> None:
        """What another one has counted counts here, too."""
        self.sessions += other.sessions
        self.active += other.active
        self.outcomes.update(other.outcomes)
        self.events.update(other.events)
        self.turned_away.update(other.turned_away)

    def copy(self) -> Counters:
        """The same numbers, which stay as they are."""
        return Counters(
            self.sessions, self.active, Counter(self.outcomes), Counter(self.events), Counter(self.turned_away)
        )

    def began(self) -> None:
        """A mail client has connected."""
        self.sessions += 1
        self.active += 1

    def ended(self, outcome: str) -> None:
        """Its session has ended with this word."""
        self.active -= 1
        self.outcomes[outcome] += 1
