"""
What there is to be shown.  Times are in seconds since 1970; nothing in here is secret.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from attrs import frozen

from mailproxy.flight.recording import Recording
from mailproxy.observe.condition import Credential, Mishap, Peer, Verdict
from mailproxy.observe.failures import Failed


@frozen
class Process:
    """
    The process as a whole.

    `complaints` is what keeps a changed configuration from being used; `max_sessions` 0 is no limit; `unrecorded` is
    why the ledger keeps clients away.  `crew` are the processes that serve, where there are several.
    """

    version: str
    started: float
    now: float
    bound: bool
    stopping: bool
    sessions: int
    max_sessions: int
    config_path: str
    config_since: float
    complaints: tuple[str, ...] = ()
    unrecorded: str | None = None
    crew: tuple[Hand, ...] = ()


class Work(Enum):
    """What a worker does."""

    SERVING = "serving"
    STARTING = "starting"
    SILENT = "silent"
    """It has not answered in time."""
    ABSENT = "absent"
    """It is gone, and another one will take its place."""


@frozen
class Hand:
    """
    A worker, or the seat of one, counted from 1.

    `number` and `pid` are None where nobody is there.  `reasons` say why clients are not welcome there.
    """

    seat: int
    work: Work
    number: int | None = None
    pid: int | None = None
    since: float | None = None
    sessions: int = 0
    reasons: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As the log calls it; or its seat."""
        return f"seat {self.seat}" if self.number is None else f"worker {self.number}"

    @property
    def ready(self) -> bool:
        """Whether clients are welcome."""
        return self.work is Work.SERVING and not self.reasons


@frozen
class Report:
    """
    How a listener, that is one destination of one tenant, is doing in one process, or in several together.

    `held_until` says until when nobody tries; None while anybody may.
    """

    last_success: float | None = None
    last_failure: Mishap | None = None
    peer: Peer | None = None
    credential: Credential | None = None
    held_until: float | None = None
    failures: tuple[Failed, ...] = ()

    @property
    def last_mishap(self) -> float | None:
        """When a session last failed."""
        return max((each.last for each in self.failures), default=None)


@frozen
class Row:
    """One destination of one tenant, where it is listened for, and how it is doing."""

    label: str
    destination: str
    tenant: str | None
    service: str
    protocol: str
    endpoint: str
    listening: bool
    active: int
    total: int
    verdict: Verdict
    report: Report


@frozen
class Picture:
    """
    All of it, at one moment.

    `recordings` are the latest sessions that ended badly, the last one first.
    """

    process: Process
    rows: tuple[Row, ...]
    recordings: tuple[Recording, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why no client should come; none where they are welcome.  No mail server has a say in that."""
        process = self.process
        if process.stopping:
            return ("draining: mailproxy is being stopped",)
        if not process.bound:
            return ("starting: the ports are not bound yet",)
        if process.unrecorded is not None:
            return (process.unrecorded,)
        if process.crew and not any(hand.ready for hand in process.crew):
            return self.troubles
        closed = [f"{row.label}: not listening" for row in self.rows if not row.listening]
        return tuple(closed)

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with workers, be there others that serve or not."""
        return tuple(f"{hand.name}: {reason}" for hand in self.process.crew for reason in hand.reasons)


@frozen
class Advice:
    """What an error means: on whose side the cause is, the cause, and what to do about it."""

    side: str
    cause: str
    remedy: str


Explain = Callable[[str, str], Advice | None]
"""Advice for the outcome and the sentence of an error; None where there is none."""
