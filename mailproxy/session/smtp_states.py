"""
The states of an SMTP session, all in one place: of the client's octets, the mail server, and the mail transaction.
"""

from __future__ import annotations

from enum import Enum

from mailproxy.session.actions import Waiting
from mailproxy.session.reply_queue import Awaited


class Mode(Enum):
    """What the octets of the client are at the moment, unless the mail server is receiving mail data."""

    COMMANDS = "commands"
    SWALLOWING = "swallowing"
    HANDSHAKE = "handshake"
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


class Next(Enum):
    """What the session has to do behind a command."""

    COMMAND = "take the next one"
    LOGIN = "open a session at the mail server, then carry it out again"
    CHUNK = "read past its octets"
    HANDSHAKE = "change to TLS"
    DESYNC = "end: the client sent ahead where it may not"


DOWNSTREAM_WAITS = frozenset(
    {
        Waiting.DOWNSTREAM_FIRST_COMMAND,
        Waiting.DOWNSTREAM_COMMAND,
        Waiting.DOWNSTREAM_LINE,
        Waiting.DOWNSTREAM_CONTENT,
    }
)
"""The client has to speak, and its silence ends the session."""

WAITS = {
    Awaited.MAIL: Waiting.UPSTREAM_REPLY,
    Awaited.RCPT: Waiting.UPSTREAM_REPLY,
    Awaited.DATA: Waiting.UPSTREAM_DATA_REPLY,
    Awaited.RSET: Waiting.UPSTREAM_RSET_REPLY,
    Awaited.EHLO: Waiting.UPSTREAM_RSET_REPLY,
    Awaited.END_OF_DATA: Waiting.UPSTREAM_FINAL_REPLY,
}
"""What is waited for, by the command whose reply it is."""
