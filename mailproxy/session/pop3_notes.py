"""
What the ledger hears of a session of POP3, noted while it goes on.
"""

from __future__ import annotations

from mailproxy.session.actions import MaildropVisited
from mailproxy.wire.pop3 import Command

MAX_USER_OCTETS = 255
"""Of a name that a client gives; a command line has hardly more."""


class VisitNotes:
    """Counts what the mail server has agreed to."""

    __slots__ = ("_committed", "_deleted", "_octets", "_retrieved", "_user")

    def __init__(self) -> None:
        self._user: bytes | None = None
        self._retrieved = self._deleted = self._octets = 0
        self._committed: bool | None = False

    def relayed(self, command: Command) -> None:
        """A command went to the mail server; of QUIT nobody knows what comes of it until there is an answer."""
        if command.keyword == "QUIT":
            self._committed = None
        elif command.keyword == "USER":
            self._user = command.argument[:MAX_USER_OCTETS]

    def answered(self, command: Command, *, positive: bool) -> None:
        """The mail server has answered it."""
        if command.keyword == "QUIT":
            self._committed = positive
        elif positive and command.keyword == "DELE":
            self._deleted += 1
        elif positive and command.keyword == "RSET":
            self._deleted = 0

    def body(self, command: Command, octets: int) -> None:
        """Octets of a multi-line response went to the client."""
        if command.keyword == "RETR":
            self._octets += octets

    def body_ended(self, command: Command) -> None:
        """All of it has."""
        self._retrieved += command.keyword == "RETR"

    def account(self) -> MaildropVisited:
        """What there is to say, should the session end now."""
        return MaildropVisited(self._user, self._retrieved, self._deleted, self._committed, self._octets)
