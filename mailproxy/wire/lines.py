"""
Lines out of octets that arrive cut anywhere.
"""

from __future__ import annotations

from mailproxy.errors import BareNewline, LineTooLong

_TELLING_OCTETS = 64


class LineBuffer:
    """
    Collects chunks and hands out one CRLF-ended line at a time; work is linear in the octets received.

    What was not taken stays, in order, and `take_all` gives it to the next owner of the stream.

    Args:
        limit: the longest line in octets, CRLF included.
        lone_lf_ends_line: a LF without CR ends a line as CRLF does; otherwise it is an error.
    """

    __slots__ = ("_data", "_limit", "_lone_lf_ends_line", "_searched", "_skipping", "beginning", "skipped")

    def __init__(self, limit: int, *, lone_lf_ends_line: bool = False) -> None:
        self._limit = limit
        self._lone_lf_ends_line = lone_lf_ends_line
        self._data = bytearray()
        self._searched = 0
        self._skipping = False
        self.skipped = 0
        """Octets of over-long lines thrown away so far."""
        self.beginning = b""
        """How the last over-long line began, which may tell what speaks there."""

    def __len__(self) -> int:
        return len(self._data)

    @property
    def in_line(self) -> bool:
        """Whether a line has begun that is not complete."""
        return bool(self._data) or self._skipping

    def feed(self, chunk: bytes) -> None:
        """Store a chunk."""
        self._data += chunk

    def next_line(self) -> bytes | None:
        """
        Take the next complete line, without its CRLF; None when more octets are needed.

        A bare CR inside the line is handed out with it: what it means is for the grammar to say.

        Raises:
            LineTooLong: a line passed the limit.  It is raised once for that line; its rest is thrown away as it
                comes in, and the lines after it are handed out as usual.
            BareNewline: a LF came without CR, be it the end of an over-long line.  The stream cannot be trusted after
                it; nothing was taken but what stood before it in an over-long line.

        Source: RFC 5321 §2.3.8 (only CRLF ends a line), §4.5.3.1.4 (command lines).
        """
        if self._skipping and not self._skip():
            return None
        if not self._data:
            return None
        end = self._data.find(b"\n", self._searched)
        if end >= self._limit or (end < 0 and len(self._data) >= self._limit):
            self._skipping = True
            self.beginning = bytes(self._data[:_TELLING_OCTETS])
            self._drop((end if end >= 0 else len(self._data)) - 1)
            raise LineTooLong(f"a line is longer than {self._limit} octets")
        if end < 0:
            self._searched = len(self._data)
            return None
        line = bytes(self._data[: self._without_newline(end)])
        del self._data[: end + 1]
        self._searched = 0
        return line

    def take_all(self) -> bytes:
        """Take every octet that is left, whole lines or not."""
        rest = bytes(self._data)
        self._data.clear()
        self._searched = 0
        return rest

    def _skip(self) -> bool:
        """Throw away what is there of an over-long line; whether it has ended."""
        end = self._data.find(b"\n")
        ahead = max(0, (end if end >= 0 else len(self._data)) - 1)
        self._drop(ahead)
        if end < 0:
            return False
        self._without_newline(end - ahead)
        self._drop(end - ahead + 1)
        self._skipping = False
        return True

    def _drop(self, octets: int) -> None:
        """Throw away octets of an over-long line; while it goes on, the last one stays: it may be a CR."""
        del self._data[:octets]
        self._searched = 0
        self.skipped += octets

    def _without_newline(self, end: int) -> int:
        """Where the line whose LF is at `end` stops."""
        if end and self._data[end - 1] == 0x0D:
            return end - 1
        if not self._lone_lf_ends_line:
            self._searched = 0
            raise BareNewline("bare <LF>")
        return end
