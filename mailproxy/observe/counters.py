"""
What one listener has seen, in numbers.

Whatever a session counts, it adds to a plain number here; names, labels and text are made when somebody looks.
"""

from __future__ import annotations

from collections import Counter

from attrs import Factory, define

from mailproxy.observe.histogram import Histogram


@define
class Octets:
    """What went through, without TLS: mail data, commands and replies."""

    from_client: int = 0
    to_client: int = 0
    from_server: int = 0
    to_server: int = 0

    def add(self, other: Octets) -> None:
        """The sum of both."""
        self.from_client += other.from_client
        self.to_client += other.to_client
        self.from_server += other.from_server
        self.to_server += other.to_server

    def copy(self) -> Octets:
        """The same numbers, which stay as they are."""
        return Octets(self.from_client, self.to_client, self.from_server, self.to_server)


@define
class Durations:
    """How long things took, in seconds; docs/reference/metrics.md says from when to when."""

    session: Histogram = Factory(Histogram)
    upstream_ready: Histogram = Factory(Histogram)
    transaction: Histogram = Factory(Histogram)
    first_reply: Histogram = Factory(Histogram)

    def add(self, other: Durations) -> None:
        """The sum of both."""
        self.session.add(other.session)
        self.upstream_ready.add(other.upstream_ready)
        self.transaction.add(other.transaction)
        self.first_reply.add(other.first_reply)

    def copy(self) -> Durations:
        """The same numbers, which stay as they are."""
        return Durations(
            self.session.copy(), self.upstream_ready.copy(), self.transaction.copy(), self.first_reply.copy()
        )


@define
class Counters:
    """
    Of one listener, that is of one destination of one tenant: `sessions == active + sum(outcomes.values())` always.

    `events` counts what sessions reported, `seen` in how many sessions a thing of `stats.STATISTICS` was the case.
    `turned_away` counts, by the limit that each has met, those whose outcome is `too_many_sessions`.  `replies` counts
    what clients were told, by author, stage and class: `upstream.rcpt.5xx`.  `failures` counts what the operator was
    told of with a cause and a remedy.
    """

    sessions: int = 0
    active: int = 0
    outcomes: Counter[str] = Factory(Counter)
    events: Counter[str] = Factory(Counter)
    turned_away: Counter[str] = Factory(Counter)
    seen: Counter[str] = Factory(Counter)
    replies: Counter[str] = Factory(Counter)
    octets: Octets = Factory(Octets)
    durations: Durations = Factory(Durations)
    failures: int = 0

    def add(self, other: Counters) -> None:
        """What another one has counted counts here, too."""
        self.sessions += other.sessions
        self.active += other.active
        for name in BY_WORD:
            getattr(self, name).update(getattr(other, name))
        self.octets.add(other.octets)
        self.durations.add(other.durations)
        self.failures += other.failures

    def copy(self) -> Counters:
        """The same numbers, which stay as they are."""
        by_word = {name: Counter(getattr(self, name)) for name in BY_WORD}
        return Counters(
            self.sessions,
            self.active,
            **by_word,
            octets=self.octets.copy(),
            durations=self.durations.copy(),
            failures=self.failures,
        )

    def began(self) -> None:
        """A mail client has connected."""
        self.sessions += 1
        self.active += 1

    def ended(self, outcome: str) -> None:
        """Its session has ended with this word."""
        self.active -= 1
        self.outcomes[outcome] += 1

    @property
    def adds_up(self) -> bool:
        """Whether every session is active or has one outcome; it is never otherwise."""
        return self.active >= 0 and self.sessions == self.active + sum(self.outcomes.values())


BY_WORD = ("outcomes", "events", "turned_away", "seen", "replies")
"""Those of the counters that are a number for each word."""
