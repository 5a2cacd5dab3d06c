"""
Octets that stand in for those that a session has heard: of the same number, and taken for the same things.

Where words were kept, these are they; the rest is made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from mailproxy.session.recording import BINARY, Event, Frame
from mailproxy.session.smtp_content import NUL
from mailproxy.session.smtp_input import BARE_LF, BLANK, CHUNK, ENDLESS, MALFORMED, STRANGER, TOO_LONG
from mailproxy.session.smtp_input import NUL as NUL_IN_LINE

_FILLER = b"x"
_END = b"\r\n.\r\n"
_NEWLINE = b"\r\n"
_MOST_DIGITS = 10
_GARBAGE = b"\0\r\n"

_LINES = frozenset({Event.LINE, Event.WITHHELD, Event.COMPLAINT})
_SPANS = _LINES | {Event.SKIPPED, Event.CONTENT, Event.CONTENT_END, Event.CLIENT_CONTENT}
_HEARD = frozenset(
    {
        Event.OPENED,
        Event.REPLY,
        Event.STATUS,
        Event.BODY,
        Event.BODY_END,
        Event.SERVER_CONTENT,
        Event.PARTIAL,
        Event.MALFORMED,
    }
)

_UNENDED = frozenset({TOO_LONG.encode(), ENDLESS.encode()})
"""Before these, the line that was read past has no end, or brings its end along."""

_HEADS = {
    CHUNK: b"BDAT \1",
    NUL_IN_LINE: b"\0",
    STRANGER: b"GET",
    MALFORMED: b"\1",
}


MOST_AT_ONCE = 65536
"""Octets that are made up of content that flowed; all before them are no different."""


def made_up(frame: Frame) -> int:
    """How many octets stand in for those of a frame."""
    flowed = frame.event in (Event.CLIENT_CONTENT, Event.SERVER_CONTENT)
    return min(frame.number, MOST_AT_ONCE) if flowed else frame.number


def of_client(frames: Sequence[Frame]) -> bytes:
    """All that the client has sent and that was taken for something."""
    spans = [frame for frame in frames if frame.event in _SPANS or frame.event is Event.SPOILED]
    stream = _Stream()
    for frame, after in zip_longest(spans, spans[1:]):
        stream.add(frame, after)
    return bytes(stream.octets)


class _Stream:
    def __init__(self) -> None:
        self.octets = bytearray()
        self._content = 0
        """Octets of the message so far, as they are here."""
        self._before = 0
        """Those that are left out here."""
        self._ended = False
        self._endless = False
        """A line that is too long goes on."""

    def add(self, frame: Frame, after: Frame | None) -> None:
        """One thing more, and what comes behind it."""
        if frame.event is Event.SPOILED:
            self._spoil(frame)
        elif frame.event in (Event.CONTENT, Event.CLIENT_CONTENT, Event.CONTENT_END):
            self._add_content(frame)
        else:
            self._content = self._before = 0
            self._add_line(frame, after)

    def _add_content(self, frame: Frame) -> None:
        if self._ended:
            self._content = self._before = 0
        octets = made_up(frame)
        self.octets += _FILLER * octets
        self._content += octets
        self._before += frame.number - octets
        self._ended = frame.event is Event.CONTENT_END
        if self._ended:
            end = _END if self._content >= len(_END) else _END[2:]
            self.octets[len(self.octets) - len(end) :] = end
            if frame.text.isdigit() and len(frame.text) <= _MOST_DIGITS:
                self._resize(int(frame.text))

    def _resize(self, size: int) -> None:
        """Of the message, so many octets count: a dot that is stuffed does not, a lone LF becomes two."""
        more = self._before + self._content - len(_END[2:]) - size
        line = b"..\r\n" if more > 0 else b"\n"
        begin = len(self.octets) - self._content + len(_NEWLINE)
        if len(_NEWLINE) + len(line) * abs(more) + len(_END) <= self._content:
            self.octets[begin - len(_NEWLINE) : begin] = _NEWLINE
            self.octets[begin : begin + len(line) * abs(more)] = line * abs(more)

    def _spoil(self, frame: Frame) -> None:
        """An octet of the message is what must not be there; none of those that may yet become its end."""
        last = self._content - len(_END) - 1
        if last >= 0:
            place = max(0, min(frame.number - self._before, last))
            self.octets[len(self.octets) - self._content + place] = 0 if frame.text == NUL.encode() else 0x0A

    def _add_line(self, frame: Frame, after: Frame | None) -> None:
        if frame.event is Event.SKIPPED:
            over = after is not None and after.event in _LINES and after.text not in _UNENDED
            self.octets += _ended(b"", frame.number) if over else _FILLER * frame.number
            self._endless = not over
        elif frame.event is Event.COMPLAINT:
            self._complain(frame)
        elif frame.event is Event.WITHHELD:
            self.octets += _ended(frame.text + b" " if frame.text else b"", frame.number)
        else:
            self.octets += _ended(frame.text, frame.number, b" ")

    def _complain(self, frame: Frame) -> None:
        kind, octets = frame.text.decode("ascii"), frame.number
        self._endless, over = kind == TOO_LONG, self._endless
        if frame.text == BINARY:
            self.octets += b"\x16" + _FILLER * (octets - 1)
        elif kind == BARE_LF:
            self.octets += b"\n"
        elif kind == ENDLESS:
            self.octets += _FILLER * octets
        elif kind == TOO_LONG:
            self.octets += b"\r\n" + _FILLER * (octets - 2) if over else _FILLER * octets
        else:
            head = _HEADS.get(kind, b"")
            if not self.octets and kind in (NUL_IN_LINE, MALFORMED):
                head = _FILLER + head  # as the very first octet it would be another protocol's
            self.octets += _ended(head, octets, b" " if kind in (BLANK, STRANGER) else _FILLER)


def _ended(words: bytes, octets: int, filler: bytes = _FILLER) -> bytes:
    """A line of so many octets, or nothing."""
    if not octets:
        return b""
    if octets <= len(words) + 1:
        return words[: octets - 1] + b"\n"
    return words + filler * (octets - len(words) - 2) + b"\r\n"


def of_server(frames: Sequence[Frame]) -> dict[int, bytes]:
    """What each chunk of the mail server was, by the place of its frame among all."""
    server = _Server([frame for frame in frames if frame.event in _HEARD])
    ends: dict[int, int] = {}
    chunk = 0
    begins: dict[int, int] = {}
    for place, frame in enumerate(frames):
        if frame.event in (Event.SERVER, Event.SERVER_CONTENT):
            chunk, begins[place] = place, len(server.octets)
        if frame.event in _HEARD:
            server.next()
        ends[chunk] = len(server.octets)
    return {place: bytes(server.octets[begin : ends[place]]) for place, begin in begins.items()}


class _Server:
    def __init__(self, said: Sequence[Frame]) -> None:
        self.octets = bytearray()
        self._said = list(said)
        self._place = 0
        self._body = 0
        """Octets of the multi-line response so far."""
        self._begun = False
        """The first octet of the next thing has been said."""

    def next(self) -> None:
        """One thing more."""
        frame = self._said[self._place]
        self._place += 1
        if frame.event is Event.OPENED:
            self._begun = False
        elif frame.event is Event.PARTIAL:
            self._begin()
        elif frame.event in (Event.BODY, Event.BODY_END, Event.SERVER_CONTENT):
            self._add_body(frame)
        else:
            self._body = 0
            self.octets += _words(frame)[self._begun :]
            self._begun = False

    def _begin(self) -> None:
        if not self._begun:
            coming = (frame for frame in self._said[self._place :] if frame.event is not Event.PARTIAL)
            self.octets += _words(next(coming, _NOTHING))[:1]
            self._begun = True

    def _add_body(self, frame: Frame) -> None:
        self.octets += _FILLER * made_up(frame)
        self._body += made_up(frame)
        if frame.event is Event.BODY_END:
            end = _END if self._body >= len(_END) else _END[2:]
            self.octets[len(self.octets) - len(end) :] = end
            self._body = 0


_NOTHING = Frame(Event.MALFORMED)


def _words(frame: Frame) -> bytes:
    if frame.event is Event.REPLY:
        return b"%d %s\r\n" % (frame.number, frame.text)
    if frame.event is Event.STATUS:
        return frame.text + b"\r\n"
    return _GARBAGE
