"""
What clients know when it is over: the evidence that the judge compares with mailboxes and logs.
"""

from __future__ import annotations

import itertools
from collections import Counter
from enum import Enum

from attrs import define, field, frozen


class End(Enum):
    """How one attempt to send a message ended, as its client saw it."""

    UNDER_WAY = "under way"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "delivery status unknown"
    LOST = "connection lost"
    WITHDRAWN = "given up by the client"
    LATE = "no answer in time"


@define
class Attempt:
    """
    One attempt to send one message.  `boxes` are those whose recipients were accepted, `dot` whether the end of mail
    data was sent, `reply` the last words about it.
    """

    marker: str
    tenant: str
    boxes: tuple[str, ...]
    digest: str
    peer: str
    stage: str = "connection"
    dot: bool = False
    end: End = End.UNDER_WAY
    reply: bytes = b""

    @property
    def letter(self) -> str:
        """What all attempts with the same message share."""
        return self.marker.rpartition(".")[0]


@frozen
class Collected:
    """A message that a POP3 client has got."""

    unique_id: str
    marker: str
    queue_id: str
    digest: str
    deleted: bool
    """DELE was answered with +OK."""


@define
class Collection:
    """One POP3 session: what it got; whether it said QUIT, and whether +OK came back."""

    tenant: str
    peer: str
    began: float
    got: list[Collected] = field(factory=list)
    quit_said: bool = False
    confirmed: bool = False
    end: str = ""


@define
class Record:
    """All that was seen while the chaos lasted; `incidents` are violations that were seen at once."""

    attempts: list[Attempt] = field(factory=list)
    collections: list[Collection] = field(factory=list)
    incidents: list[str] = field(factory=list)
    figures: Counter[str] = field(factory=Counter)
    longest_wait: float = 0.0
    longest_wait_for: str = ""
    _peers: itertools.count[int] = field(factory=lambda: itertools.count(1))

    def new_peer(self) -> str:
        """A loopback address that no connection had before: the log of the proxy names it."""
        self.figures["connections of clients"] += 1
        number = next(self._peers)
        return f"127.{1 + (number >> 14) % 250}.{(number >> 7) & 127}.{1 + (number & 127)}"

    def waited(self, seconds: float, what: str) -> None:
        """A client had to wait for an answer."""
        if seconds > self.longest_wait:
            self.longest_wait, self.longest_wait_for = seconds, what
