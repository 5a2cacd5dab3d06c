"""
Replies that are owed to a client, in the order of its commands.

Some are ours and ready at once, others are the mail server's and still to come; a ready one waits for all before it.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from attrs import define


class Awaited(Enum):
    """The upstream command whose reply is awaited."""

    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    RSET = "RSET"
    EHLO = "RSET before EHLO"
    END_OF_DATA = "end of mail data"


@define(eq=False)
class Owed:
    """
    One reply that is owed; `awaited` None means that `raw` is ready.

    `outcome` not None: the session ends with it once this reply is delivered.
    """

    awaited: Awaited | None
    raw: bytes = b""
    outcome: str | None = None


class ReplyQueue:
    """Keeps replies in order."""

    def __init__(self) -> None:
        self._owed: deque[Owed] = deque()
        self.awaited: deque[Owed] = deque()
        """Those of them that the mail server still has to give, first asked first."""
        self.closing = False
        """Whether the session ends with one of them: nothing that comes behind it will be answered."""

    def __len__(self) -> int:
        return len(self._owed)

    def say(self, raw: bytes, outcome: str | None = None) -> None:
        """A reply of our own is ready."""
        self._owed.append(Owed(None, raw, outcome))
        self.closing = self.closing or outcome is not None

    def expect(self, awaited: Awaited) -> Owed:
        """The mail server was asked; its reply takes this place."""
        owed = Owed(awaited)
        self._owed.append(owed)
        self.awaited.append(owed)
        return owed

    def settle(self, raw: bytes, outcome: str | None = None) -> None:
        """The first awaited reply is there, or stands in for one that will not come."""
        owed = self.awaited.popleft()
        owed.awaited, owed.raw, owed.outcome = None, raw, outcome
        self.closing = self.closing or outcome is not None

    def withdraw(self) -> None:
        """The last awaited reply is not owed any more: its command will be tried again."""
        self._owed.remove(self.awaited.pop())

    def take_ready(self) -> tuple[bytes, str | None]:
        """
        All octets that may be sent now, and the outcome of the session if they end it.

        What is owed behind a reply that ends the session is forgotten.
        """
        ready = bytearray()
        while self._owed and self._owed[0].awaited is None:
            owed = self._owed.popleft()
            ready += owed.raw
            if owed.outcome is not None:
                self._owed.clear()
                self.awaited.clear()
                return bytes(ready), owed.outcome
        return bytes(ready), None
