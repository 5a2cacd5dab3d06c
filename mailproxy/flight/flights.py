"""
The last sessions of a listener that ended badly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from attrs import field, frozen

from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.recording import Recorder
from mailproxy.session.smtp_policy import SMTPPolicy

MAX_FLIGHTS = 10
"""So many are kept for a listener; the one that ended longest ago goes."""

_WELL = frozenset({"quit", "downstream_closed", "shutdown"})
"""How sessions end that are no trouble to anybody."""

_STRANGERS = frozenset({"not_smtp", "not_pop3", "downstream_tls_failed", "made_room"})
"""How those end that wanted nothing from a mail server: any number of them may come."""


@frozen(eq=False)
class Flight:
    """
    A session that has ended, and what it has heard.

    `ended` is in seconds since 1970.  `trouble` is the last failure that it met, in words.  `ledger` says whether its
    transactions were recorded.
    """

    session: str
    client: str
    ended: float
    outcome: str
    trouble: str | None
    policy: SMTPPolicy | POP3Policy
    ledger: bool
    recorder: Recorder = field(repr=False)


class Flights:
    """Of one listener, so that nobody's push out those of others."""

    def __init__(self) -> None:
        self._kept: deque[Flight] = deque(maxlen=MAX_FLIGHTS)

    def note(self, flight: Flight) -> None:
        """A session has ended; it is kept if that was badly."""
        if flight.trouble is not None or flight.outcome not in _WELL | _STRANGERS:
            self._kept.append(flight)

    def latest(self) -> Sequence[Flight]:
        """Those that are kept, the last one first."""
        return list(reversed(self._kept))
