"""
Replies that are owed to a client, in the order of its commands.

Some are ours and ready at once, others are the mail server's and still to come; a ready one waits for all before it.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum

from attrs import define

from mailproxy.session.tally import CONTENT, GREETING, key


class Awaited(Enum):
    """The upstream command whose reply is awaited."""

    __hash__ = object.__hash__  # each is one object

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

    `outcome` not None: the session ends with it once this reply is delivered.  `instead` is said in place of whatever
    the mail server replies.
    `ahead`: the client sent more behind this DATA, which would be read as commands if the mail server refused it.
    `stage` is what it answers, `upstream` whether the words are the mail server's.
    """

    awaited: Awaited | None
    raw: bytes = b""
    outcome: str | None = None
    instead: tuple[bytes, str] | None = None
    ahead: bool = False
    stage: str = ""
    upstream: bool = False


_STAGES = {
    Awaited.MAIL: "mail",
    Awaited.RCPT: "rcpt",
    Awaited.DATA: "data",
    Awaited.RSET: "rset",
    Awaited.EHLO: "ehlo",
    Awaited.END_OF_DATA: CONTENT,
}


class ReplyQueue:
    """
    Keeps replies in order.

    Args:
        counts: where those that were taken are counted.
    """

    __slots__ = ("_counts", "_owed", "awaited", "closing", "stage")

    def __init__(self, counts: Counter[str] | None = None) -> None:
        self._counts: Counter[str] = Counter() if counts is None else counts
        self.stage = GREETING
        """What a reply of our own answers."""
        # Lists: a queue takes 0.7 KiB of each session, and what is in them is short.
        self._owed: list[Owed] = []
        self.awaited: list[Owed] = []
        """Those of them that the mail server still has to give, first asked first."""
        self.closing = False
        """Whether the session ends with one of them: nothing that comes behind it will be answered."""

    def __len__(self) -> int:
        return len(self._owed)

    @property
    def doomed(self) -> bool:
        """Whether it is settled already what is said in place of the first awaited reply."""
        return bool(self.awaited) and self.awaited[0].instead is not None

    def awaits_last(self, *which: Awaited) -> bool:
        """Whether the mail server was last asked for one of these, and has not replied to it."""
        return bool(self.awaited) and self.awaited[-1].awaited in which

    def say(self, raw: bytes, outcome: str | None = None, *, upstream: bool = False) -> None:
        """A reply of our own is ready; or one of the mail server's that came too early."""
        self._owed.append(Owed(None, raw, outcome, stage=self.stage, upstream=upstream))
        self.closing = self.closing or outcome is not None

    def expect(self, awaited: Awaited) -> None:
        """The mail server was asked; its reply takes this place."""
        owed = Owed(awaited, stage=_STAGES[awaited])
        self._owed.append(owed)
        self.awaited.append(owed)

    def settle(self, raw: bytes, outcome: str | None = None, *, upstream: bool = False) -> None:
        """The first awaited reply is there, which is `upstream`'s, or one that stands in for it."""
        owed = self.awaited.pop(0)
        owed.awaited = None
        owed.upstream = upstream and owed.instead is None
        owed.raw, owed.outcome = owed.instead or (raw, outcome)
        self.closing = self.closing or owed.outcome is not None

    def doom(self, raw: bytes, outcome: str) -> None:
        """The session ends with the last awaited reply, and whatever the mail server's is, this is said."""
        self.awaited[-1].instead = (raw, outcome)
        self.closing = True

    def withdraw(self) -> None:
        """The first awaited reply, and whatever is owed behind it, is not owed any more."""
        first = self.awaited[0]
        while self._owed.pop() is not first:
            pass
        self.awaited.clear()

    def break_off(self, raw: bytes, outcome: str) -> None:
        """The session ends here: of all that is owed, nothing is said but this."""
        self._owed.clear()
        self.awaited.clear()
        self.say(raw, outcome)

    def take_ready(self) -> tuple[bytes, str | None]:
        """
        All octets that may be sent now, and the outcome of the session if they end it.

        What is owed behind a reply that ends the session is forgotten.
        """
        if not self._owed or self._owed[0].awaited is not None:
            return b"", None
        ready = bytearray()
        while self._owed and self._owed[0].awaited is None:
            owed = self._owed.pop(0)
            ready += owed.raw
            if owed.raw:
                self._counts[key(owed.stage, owed.raw[0], upstream=owed.upstream)] += 1
            if owed.outcome is not None:
                self._owed.clear()
                self.awaited.clear()
                return bytes(ready), owed.outcome
        return bytes(ready), None
