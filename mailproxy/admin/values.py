"""
What there is to be shown.  Times are in seconds since 1970; nothing in here is secret.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from mailproxy.flight.flights import Flight
from mailproxy.observe.condition import Credential, Mishap, Peer, Verdict
from mailproxy.observe.failures import Failed


@frozen
class Process:
    """
    The process as a whole.

    `complaints` is what keeps a changed configuration from being used; `max_sessions` 0 is no limit; `unrecorded` is
    why the ledger keeps clients away.
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
    last_success: float | None = None
    last_failure: Mishap | None = None
    peer: Peer | None = None
    credential: Credential | None = None
    held_until: float | None = None
    failures: tuple[Failed, ...] = ()
    flights: tuple[Flight, ...] = ()


@frozen
class Picture:
    """All of it, at one moment."""

    process: Process
    rows: tuple[Row, ...]

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
        closed = [f"{row.label}: not listening" for row in self.rows if not row.listening]
        return tuple(closed)


@frozen
class Advice:
    """What an error means: on whose side the cause is, the cause, and what to do about it."""

    side: str
    cause: str
    remedy: str


Explain = Callable[[str, str], Advice | None]
"""Advice for the outcome and the sentence of an error; None where there is none."""
