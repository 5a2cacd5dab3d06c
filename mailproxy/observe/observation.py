"""
One listener as an operator sees it: what it has counted, and the state of all that it uses, as plain values.

Whoever has a state fills in one of these values when he is asked; nothing in here knows where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, field, frozen

from mailproxy.observe.counters import Counters
from mailproxy.observe.histogram import Histogram


@frozen
class PoolFigures:
    """
    Connections to the mail server, now and since the start.

    `opening` are attempts under way, `waiting` sessions that have no connection yet.  `made` and `reused` count
    connections that were made, and those that were given to another session.
    """

    resting: int = 0
    in_use: int = 0
    opening: int = 0
    waiting: int = 0
    made: int = 0
    reused: int = 0


@frozen
class HoldOffFigures:
    """Whether the mail server, or the login there, is left alone for a while because it failed."""

    server: bool = False
    login: bool = False


@frozen
class CacheFigures:
    """
    What is kept of destinations and tokens, now and since the start.

    `hits` were answered out of it, `fetches` went to a service, `failures` of these brought nothing.
    """

    entries: int = 0
    hits: int = 0
    fetches: int = 0
    failures: int = 0


@frozen
class SourceFigures:
    """
    A place that knows destinations, opened for one tenant; several listeners may share it.

    `token_seconds` is how long fetching a token took.
    """

    service: str
    tenant: str | None
    cache: CacheFigures = CacheFigures()
    token_seconds: Histogram = Factory(Histogram)


@frozen
class LedgerFigures:
    """
    The audit ledger, now and since the start; of several processes, all of theirs together.

    `records` were written, `waiting` are in memory because the file cannot be written, `lost` found no room there.
    `full`, `slow` and `other` count attempts that failed, by what was wrong with the disk.  `failing` ledgers cannot be
    written, and because of `blocking` ones nothing new begins.  `sessions` wait for the disk.  `sync_seconds` is how
    long that took to have what was written.
    """

    records: int = 0
    waiting: int = 0
    lost: int = 0
    full: int = 0
    slow: int = 0
    other: int = 0
    failing: int = 0
    blocking: int = 0
    sessions: int = 0
    sync_seconds: Histogram = Factory(Histogram)


@frozen
class CrewFigures:
    """
    Workers at this moment, by what they do, and how many have ended by themselves since the start.
    """

    states: Mapping[str, int]
    ended: int = 0


@frozen
class State:
    """
    How things are at this moment.

    `certificate_expires_at` is of the certificate that clients are shown and that ends first, `token_expires_at` of
    the token that was used last; both in seconds since 1970, None where there is none.
    """

    pool: PoolFigures = PoolFigures()
    hold_off: HoldOffFigures = HoldOffFigures()
    source: SourceFigures | None = None
    certificate_expires_at: float | None = None
    token_expires_at: float | None = None


@frozen
class Observation:
    """
    One listener.

    `stat_prefix` is unique among those with the same protocol.  `tenant` is None for the provider's own.  `counters`
    go on counting; `state` is as it was when the value was made, None where it is not known.
    """

    protocol: str
    destination: str
    tenant: str | None
    stat_prefix: str
    counters: Counters = field(repr=False)
    state: State | None = field(default=None, repr=False)
