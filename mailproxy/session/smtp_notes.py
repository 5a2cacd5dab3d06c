"""
What the ledger hears of a mail transaction, noted while it goes on.

A mail transaction begins with a MAIL that is fit to be passed on.  It is begun once, also where it has to be carried
out again on another connection: then only what was said there counts.  It ends with the reply to its mail data, or to
MAIL where that is negative; with RSET or EHLO; or with its session.

Without a ledger there is `NoNotes`, which costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from hashlib import sha256

from mailproxy.session.actions import Recipient, Transacted, TransactionBegun
from mailproxy.session.agenda import Agenda
from mailproxy.wire.smtp import Reply
from mailproxy.wire.transparency import Unstuffer

MAX_NOTED_OCTETS = 512 * 1024
"""Paths and replies of one transaction; recipients beyond that are counted."""

MAX_WORDS_OCTETS = 1024
"""Of one path, name or reply; the standard asks for 512 at most."""

MAX_SEARCHED_OCTETS = 64 * 1024
"""How far from the beginning of the content a Message-ID is looked for."""

MAX_MESSAGE_ID_OCTETS = 1000
"""A longer field, with its name and folds, is none."""

_COST = 64
"""What one recipient costs beside its words."""

# message-id = "Message-ID:" value, folded: RFC 5322 §3.6.4, §2.2.3; here also with blanks before the colon (§4.5.4)
_NAME = rb"(?:\A|\r\n)(message-id[ \t]*"
_VALUE = rb":([^\r]*(?:\r\n[ \t][^\r]*)*)"
_FIELD = re.compile(_NAME + _VALUE + rb")\r\n(?=[^ \t])", re.IGNORECASE)
_UNFINISHED = re.compile(_NAME + rb"(?:" + _VALUE + rb"(?:\r\n?)?)?)\Z", re.IGNORECASE)
_OTHER = b"x"
"""Stands for a line that is another field's, whose beginning was forgotten."""


class MessageIDFinder:
    """
    Finds the first Message-ID in the header section, out of chunks cut anywhere, and keeps no more than that field.
    """

    __slots__ = ("_kept", "_left", "_over", "found")

    def __init__(self) -> None:
        self._kept = b""
        self._left = MAX_SEARCHED_OCTETS
        self._over = False
        self.found: bytes | None = None

    def feed(self, chunk: bytes) -> None:
        """The next octets of the content."""
        if self._over:
            return
        data = self._kept + chunk[: self._left]
        self._left -= len(chunk)
        end = -2 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n")
        header = data if end == -1 else data[: end + 4]
        match = _FIELD.search(header)
        if match is not None and len(match[1]) <= MAX_MESSAGE_ID_OCTETS:
            self.found = b" ".join(match[2].split()) or None
        self._over = match is not None or header is not data or end != -1 or self._left <= 0
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        """A line that is not complete, as far as it may be wanted."""
        if self._over:
            self._kept = b""
            return
        unfinished = _UNFINISHED.search(data)
        last = data[data.rfind(b"\r\n") + 2 :] if b"\r\n" in data else data
        if unfinished is not None:
            self._over = len(unfinished[1].rstrip(b"\r\n")) > MAX_MESSAGE_ID_OCTETS
            self._kept = b"" if self._over else unfinished[1]
        else:
            self._kept = last if len(last) < len(b"message-id:") else _OTHER + last[-3:]


class ContentNotes:
    """What goes to the mail server as mail data."""

    __slots__ = ("_finder", "_hash", "_unstuffer", "octets")

    def __init__(self) -> None:
        self._hash = sha256()
        self._unstuffer = Unstuffer()
        self._finder = MessageIDFinder()
        self.octets = 0

    def feed(self, raw: bytes) -> None:
        """The next piece."""
        octets = self._unstuffer.feed(raw)
        self._hash.update(octets)
        self.octets += len(octets)
        self._finder.feed(octets)

    @property
    def message_id(self) -> bytes | None:
        """The first Message-ID, if there was one so far."""
        return self._finder.found

    @property
    def digest(self) -> str:
        """The hash of what there was so far."""
        return self._hash.hexdigest()


class State(Enum):
    """How far a transaction is."""

    NONE = "none"
    BEGUN = "begun"
    """The mail server has not been asked, or has to be asked again."""
    ASKED = "asked"
    COMMITTED = "committed"
    """The final dot is on its way."""


class NoNotes:
    """There is no ledger: nothing is noted, and anything may begin."""

    __slots__ = ()

    @property
    def open(self) -> bool:
        """Whether something may begin that has to be recorded."""
        return True

    def greeted(self, name: bytes) -> None:
        """The client has given its name, or has not any more."""

    def begin(self, path: bytes) -> None:
        """MAIL has come, or come again."""

    def asked(self) -> None:
        """It went to the mail server."""

    def withdrawn(self) -> None:
        """It will come again, with all that came behind it."""

    def recipient(self, path: bytes, refusal: bytes = b"") -> None:
        """RCPT has come, and went to the mail server, or was refused here."""

    def recipient_answered(self, reply: Reply) -> None:
        """The mail server has answered the first RCPT that had no answer."""

    def content_begins(self) -> None:
        """The mail server wants the content."""

    def content(self, raw: bytes) -> None:
        """A piece of it went to the mail server."""

    def committed(self) -> None:
        """And so did the final dot."""

    def said(self, reply: Reply) -> None:
        """The mail server has said what may decide it."""

    def ruled(self, raw: bytes) -> None:
        """We have."""

    def end(self, ending: str) -> None:
        """It is over, if there is one."""

    def break_off(self) -> None:
        """It goes no further, and how it ends follows from how far it was."""


NO_NOTES = NoNotes()


class Notes(NoNotes):
    """
    Args:
        agenda: where it goes.
        may_begin: whether something may begin that has to be recorded.
    """

    __slots__ = (
        "_agenda",
        "_content",
        "_ehlo",
        "_last",
        "_left_out",
        "_may_begin",
        "_path",
        "_recipients",
        "_refusal",
        "_room",
        "_state",
        "_unanswered",
    )

    def __init__(self, agenda: Agenda, may_begin: Callable[[], bool]) -> None:
        self._agenda = agenda
        self._may_begin = may_begin
        self._state = State.NONE
        self._ehlo = b""
        self._forget(b"")

    @property
    def open(self) -> bool:
        """Whether something may begin that has to be recorded."""
        return self._may_begin()

    def _forget(self, path: bytes) -> None:
        self._path = path[:MAX_WORDS_OCTETS]
        self._recipients: list[Recipient] = []
        self._unanswered: list[int] = []
        self._room = MAX_NOTED_OCTETS
        self._left_out = 0
        self._last: tuple[int, bytes, bool] | None = None
        self._refusal: tuple[int, bytes, bool] | None = None
        self._content: ContentNotes | None = None

    def greeted(self, name: bytes) -> None:
        """The client has given its name, or has not any more."""
        self._ehlo = name[:MAX_WORDS_OCTETS]

    def begin(self, path: bytes) -> None:
        """MAIL has come; where it has come again, what was noted since does not count."""
        if self._state not in (State.NONE, State.BEGUN):
            self.break_off()
        if self._state is State.NONE:
            self._agenda.add(TransactionBegun())
        self._state = State.BEGUN
        self._forget(path)

    def asked(self) -> None:
        """It went to the mail server."""
        self._state = State.ASKED

    def withdrawn(self) -> None:
        """It will come again, with all that came behind it."""
        if self._state is State.ASKED:
            self._state = State.BEGUN

    def recipient(self, path: bytes, refusal: bytes = b"") -> None:
        """RCPT has come, and went to the mail server, or was refused here."""
        path = path[:MAX_WORDS_OCTETS]
        self._room -= len(path) + _COST
        if self._room < 0:
            self._left_out += 1
            place = -1
        else:
            place = len(self._recipients)
            self._recipients.append(Recipient(path, int(refusal[:3]) if refusal else None, refusal[4:].rstrip()))
        if refusal:
            self._refusal = _ours(refusal)
        else:
            self._unanswered.append(place)

    def recipient_answered(self, reply: Reply) -> None:
        """The mail server has answered the first RCPT that had no answer."""
        if reply.negative:
            self._refusal = _theirs(reply)
        place = self._unanswered.pop(0) if self._unanswered else -1
        if place >= 0:
            text = reply.text[: min(MAX_WORDS_OCTETS, max(0, self._room))]
            self._room -= len(text)
            self._recipients[place] = Recipient(self._recipients[place].path, reply.code, text)

    def content_begins(self) -> None:
        """
        The mail server wants the content; what it has said to another DATA before does not count.

        Of a group that was sent together it may have refused MAIL: what it takes all the same is another transaction.
        """
        if self._state is State.NONE:
            self._agenda.add(TransactionBegun())
            self._state = State.ASKED
        self._last = None
        self._content = ContentNotes()

    def content(self, raw: bytes) -> None:
        """A piece of it went to the mail server."""
        if self._content is not None:
            self._content.feed(raw)

    def committed(self) -> None:
        """And so did the final dot."""
        self._state = State.COMMITTED

    def said(self, reply: Reply) -> None:
        """The mail server has said what may decide it."""
        self._last = _theirs(reply)

    def ruled(self, raw: bytes) -> None:
        """We have, unless the mail server had before."""
        self._last = self._last or _ours(raw)

    def end(self, ending: str) -> None:
        """It is over, if there is one."""
        if self._state is not State.NONE:
            self._agenda.add(self._told(ending))
            self._state = State.NONE

    def break_off(self) -> None:
        """It goes no further, and how it ends follows from how far it was."""
        if self._state is not State.COMMITTED and self._nobody_accepted:
            self._last = self._last or self._refusal
        self.end(self._ending())

    @property
    def _nobody_accepted(self) -> bool:
        refused = all(each.code is not None and each.code >= 400 for each in self._recipients)
        return bool(self._recipients) and refused and not self._left_out

    def _ending(self) -> str:
        if self._state is State.COMMITTED:
            return "unknown"
        return "rejected" if self._last else "aborted"

    def _told(self, ending: str) -> Transacted:
        code, text, upstream_said_so = self._last or (None, b"", False)
        content = self._content
        return Transacted(
            ending=ending,
            ehlo=self._ehlo,
            reverse_path=self._path,
            recipients=tuple(self._recipients),
            left_out=self._left_out,
            octets=0 if content is None else content.octets,
            message_id=None if content is None else content.message_id,
            sha256=content.digest if content is not None and self._state is State.COMMITTED else None,
            code=code,
            text=text,
            upstream_said_so=upstream_said_so,
        )


def _theirs(reply: Reply) -> tuple[int, bytes, bool]:
    return reply.code, reply.text[:MAX_WORDS_OCTETS], True


def _ours(raw: bytes) -> tuple[int, bytes, bool]:
    return int(raw[:3]), raw[4:].rstrip(), False
