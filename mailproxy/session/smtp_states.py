"""
The states of an SMTP session, all in one place: of the client's octets, the mail server, and the mail transaction.
"""

from __future__ import annotations

from enum import Enum

from mailproxy.session.actions import Waiting
from mailproxy.session.reply_queue import Awaited


class Mode(Enum):
    """What the octets of the client are at the moment."""

    COMMANDS = "commands"
    LOGIN = "login"
    CONTENT = "content"
    SWALLOWING = "swallowing"
    ENDED = "ended"


class Upstream(Enum):
    """How far the connection to the mail server is."""

    NONE = "none"
    OPENING = "opening"
    READY = "ready"


class Transaction(Enum):
    """The mail transaction, as the mail server knows it."""

    NONE = "none"
    OPEN = "open"
    DEAD = "dead"
    """The mail server lost it; the client has not been told yet."""


WAITS = {
    Awaited.MAIL: Waiting.UPSTREAM_REPLY,
    Awaited.RCPT: Waiting.UPSTREAM_REPLY,
    Awaited.DATA: Waiting.UPSTREAM_DATA_REPLY,
    Awaited.RSET: Waiting.UPSTREAM_RSET_REPLY,
    Awaited.EHLO: Waiting.UPSTREAM_RSET_REPLY,
    Awaited.END_OF_DATA: Waiting.UPSTREAM_FINAL_REPLY,
}
"""What is waited for, by the command whose reply it is."""
