"""
What a session has heard, as typed values, so that it can be told and lived through once more.

Whoever takes octets says what they were: a command, mail data, a reply.  Only what is known to be neither a credential
nor content is kept in words, of all the rest no more than how much it was.  Octets of the client are counted twice,
when they come and when they are taken for something: what comes too early is part of the story.

The tape is bounded.  Between two moments at which a session is at rest nothing is left behind that matters to what
follows, so that what lies between them is cut out first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, TypeVar

from attrs import frozen

from mailproxy.errors import MailProxyError
from mailproxy.wire.lines import LineBuffer

MAX_TAPE_OCTETS = 8192
"""So much is kept of a session, counted as on the tape: about two hundred lines."""

MAX_KEPT_TEXT_OCTETS = 1024
"""So much of a line or a reply is kept in words."""

MAX_THINGS = 16
"""So many offers of mail servers, and errors, are kept of a session."""

MAX_THINGS_CHARACTERS = 16_384
"""So long are all of them together at most, written out."""

BINARY = b"binary"
"""What a line is called that begins as none does."""

_HEAD = struct.Struct(">BIH")

MAX_TAPE_FRAMES = MAX_TAPE_OCTETS // _HEAD.size
"""So many events are on a tape at most, if none has any words."""

_LARGEST = 2**32 - 1

Answer = TypeVar("Answer")


class Event(IntEnum):
    """What happened; `number` and `text` of a `Frame` are as said here."""

    __hash__ = int.__hash__  # each is looked up for every line

    START = 1
    """The client is connected."""
    SECURED = 2
    """The client's handshake is done."""
    CLIENT = 3
    """`number` octets of the client came."""
    CLIENT_CONTENT = 4
    """The same, and all of them were mail data."""
    CLIENT_ENDED = 5
    CLIENT_LOST = 6
    LINE = 7
    """`number` octets of the client were taken as this command."""
    WITHHELD = 8
    """The same; of the command, only `text` is shown, if anything."""
    COMPLAINT = 9
    """`number` octets were taken as a line that is no command; `text` says why not."""
    SKIPPED = 10
    """`number` octets were read past."""
    CONTENT = 11
    """`number` octets were mail data."""
    CONTENT_END = 12
    """The same, and the last ones end it; `text` is the size of the message, if it was sound."""
    SPOILED = 13
    """At octet `number` of the message, from 0, was what must not be in it: `text`."""
    OPENED = 14
    """
    The mail server is there; what it offers is `Recorder.things[number]`.  `text` is "reused 2" where others have begun
    two messages on the connection before, or nothing.
    """
    FAILED = 15
    """It is not; the error is `things[number]`."""
    LOST = 16
    """It was lost; the error is `things[number]`."""
    WANTED = 17
    """Others wait for the connection."""
    SERVER = 18
    """`number` octets of the mail server came."""
    SERVER_CONTENT = 19
    """The same, and all of them were of a multi-line response."""
    REPLY = 20
    """A reply of SMTP with the code `number`; `text` has its lines, as they go to the client."""
    STATUS = 21
    """A status line of POP3."""
    BODY = 22
    """`number` octets were of a multi-line response."""
    BODY_END = 23
    """The same, and they end it."""
    PARTIAL = 24
    """The octets that came last are a part of something."""
    MALFORMED = 25
    """`number` octets were nothing that a mail server may say there."""
    KNOWN = 26
    """What the mail server offers was asked for, and is `things[number]`."""
    RECORDABLE = 27
    """Whether the ledger takes another record was asked, and it does (`number` 1) or not."""
    EXPIRED = 28
    """The deadline of the current wait has passed."""
    DRAIN = 29
    CUT = 30
    """The time to drain is over, for who waits for the last word, too, where `number` is 1."""
    OWNER = 31
    """The session was ended from outside; the outcome is `text`."""
    LEFT_OUT = 32
    """`number` frames are missing here that left nothing behind."""


@frozen
class ToldError:
    """
    An error that a session was told of: the name of its class, its sentence, and what else sessions look at.

    The error itself would keep all that was on the stack when it was raised.
    """

    kind: str
    text: str
    temporary: bool
    response_code: str | None = None

    @classmethod
    def of(cls, error: MailProxyError) -> ToldError:
        """An error, told."""
        return cls(type(error).__name__, str(error), error.temporary, getattr(error, "response_code", None))


@frozen
class Frame:
    """One event on the tape."""

    event: Event
    number: int = 0
    text: bytes = b""


class NoRecorder:
    """Nothing is kept."""

    __slots__ = ()

    on = False
    ripe = False
    """Whether the session has just done something whole, so that `rest` is worth a call."""

    def note(self, event: Event, number: int = 0, text: bytes = b"") -> None:
        """It happened."""

    def refer(self, event: Event, thing: object, text: bytes = b"") -> None:
        """It happened, and this belongs to it."""

    def arrived(self, event: Event, octets: int) -> None:
        """Octets came, and nobody has looked at them yet."""

    def flow(self, event: Event, octets: int) -> None:
        """Octets that came were content."""

    def ripen(self) -> None:
        """Something whole was done."""

    def rest(self) -> None:
        """The session is where it was when it last rested."""

    def changed(self) -> None:
        """It will not be: what the client has said is remembered by its session."""

    def asking(self, event: Event, ask: Callable[[], Answer]) -> Callable[[], Answer]:
        """The same question; its answers are kept."""
        del event
        return ask


NO_RECORDER = NoRecorder()

_CHANGES = frozenset({Event.OPENED, Event.FAILED, Event.LOST, Event.WANTED, Event.SECURED, Event.COMPLAINT})
"""What leaves something behind, so that nothing may be cut out around it."""

_FLOWS = {Event.CONTENT: (Event.CLIENT, Event.CLIENT_CONTENT), Event.BODY: (Event.SERVER, Event.SERVER_CONTENT)}


class Recorder(NoRecorder):
    """Keeps what one session hears."""

    __slots__ = ("_clean", "_last", "_pending", "_rests", "_room", "_tape", "ripe", "things", "whole")

    on = True

    def __init__(self) -> None:
        self.ripe = False
        self._tape = bytearray()
        self._last = 0
        """Where the last frame begins."""
        self._pending: tuple[Event, int] | None = None
        """Octets that came, of which nothing is known yet."""
        self._rests: list[tuple[int, bool]] = []
        """Where the session was at rest, and whether the stretch before is one that leaves nothing behind."""
        self._clean = False
        self._room = MAX_THINGS_CHARACTERS
        self.things: list[Any] = []
        """What events refer to."""
        self.whole = True
        """Whether nothing was lost that would be needed to live through it once more."""

    def __len__(self) -> int:
        return len(self._tape)

    def note(self, event: Event, number: int = 0, text: bytes = b"") -> None:
        """It happened."""
        if self._pending is not None:
            self._settle()
        tape = self._tape
        self._last = len(tape)
        tape += _HEAD.pack(event, min(_LARGEST, number), len(text))
        tape += text
        if event in _CHANGES:
            self._clean = False
        while len(tape) > MAX_TAPE_OCTETS:
            self._make_room()

    def refer(self, event: Event, thing: object, text: bytes = b"") -> None:
        """It happened, and this belongs to it; equal things are kept once."""
        if isinstance(thing, MailProxyError):
            thing = ToldError.of(thing)
        if thing not in self.things:
            self._room -= len(repr(thing))
            if len(self.things) == MAX_THINGS or self._room < 0:
                self.whole = False
                return
            self.things.append(thing)
        self.note(event, self.things.index(thing), text)

    def arrived(self, event: Event, octets: int) -> None:
        """Octets came, and nobody has looked at them yet."""
        if self._pending is not None:
            self._settle()
        self._pending = event, octets

    def flow(self, event: Event, octets: int) -> None:
        """Octets that came were content; what only flows takes no room."""
        came, flowing = _FLOWS[event]
        if self._pending != (came, octets):
            self.note(event, octets)
            return
        self._pending = None
        if self._tape and self._tape[self._last] == flowing:
            before = self._number(self._last)
            if before + octets <= _LARGEST:
                struct.pack_into(">I", self._tape, self._last + 1, before + octets)
                return
        self.note(flowing, octets)

    def ripen(self) -> None:
        """Something whole was done."""
        self.ripe = True

    def rest(self) -> None:
        """The session is where it was when it last rested."""
        self.ripe = False
        if self._pending is not None:
            self._settle()
        if self._rests and self._rests[-1][0] == len(self._tape):
            return
        self._rests.append((len(self._tape), self._clean))
        self._clean = True

    def changed(self) -> None:
        """It will not be: what the client has said is remembered by its session."""
        self._clean = False

    def asking(self, event: Event, ask: Callable[[], Answer]) -> Callable[[], Answer]:
        """The same question; its answers are kept."""

        def asked() -> Answer:
            answer = ask()
            if isinstance(answer, bool):
                self.note(event, int(answer))
            else:
                self.refer(event, answer)
            return answer

        return asked

    def frames(self) -> Iterator[Frame]:
        """What is on the tape, in the order in which it happened."""
        if self._pending is not None:
            self._settle()
        position = 0
        while position < len(self._tape):
            frame, position = self._frame(position)
            yield frame

    def _settle(self) -> None:
        assert self._pending is not None, "octets have come"
        (event, octets), self._pending = self._pending, None
        self.note(event, octets)

    def _frame(self, position: int) -> tuple[Frame, int]:
        event, number, size = _HEAD.unpack_from(self._tape, position)
        begin = position + _HEAD.size
        return Frame(Event(event), number, bytes(self._tape[begin : begin + size])), begin + size

    def _number(self, position: int) -> int:
        number: int = _HEAD.unpack_from(self._tape, position)[1]
        return number

    # Room

    def _make_room(self) -> None:
        """The oldest stretch between two rests goes; where there is none, the beginning, and then it is not whole."""
        for index in range(1, len(self._rests)):
            (begin, _), (end, clean) = self._rests[index - 1 : index + 1]
            if clean:
                self._cut_out(index, begin, end)
                return
        self.whole = False
        _, end = self._frame(0)
        self._remove(0, end)

    def _cut_out(self, index: int, begin: int, end: int) -> None:
        """The stretch goes; a note of how much stays."""
        count = 0
        position = begin
        while position < end:
            frame, position = self._frame(position)
            count += frame.number if frame.event is Event.LEFT_OUT else 1
        note = _HEAD.pack(Event.LEFT_OUT, count, 0)
        del self._rests[index]
        self._remove(begin + len(note), end)
        self._tape[begin : begin + len(note)] = note

    def _remove(self, begin: int, end: int) -> None:
        size = end - begin
        del self._tape[begin:end]
        self._last = max(0, self._last - size)
        self._rests = [(at - size, clean) if at >= end else (at, clean) for at, clean in self._rests]


class Measure:
    """How much was in a buffer before a line was taken."""

    __slots__ = ("_lines", "_octets", "_skipped")

    def __init__(self, lines: LineBuffer) -> None:
        self._lines = lines
        self._octets = len(lines)
        self._skipped = lines.skipped

    def taken(self) -> tuple[int, int]:
        """Octets that were taken since for a line, and those that were read past before it."""
        skipped = self._lines.skipped - self._skipped
        return self._octets - len(self._lines) - skipped, skipped
