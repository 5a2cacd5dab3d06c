"""
Lines out of octets that arrive cut anywhere.
"""

from __future__ import annotations

from mailproxy.errors import BareNewline, LineTooLong


class LineBuffer:
    """
    Collects chunks and hands out one CRLF-ended line at a time; work is linear in the octets received.

    What was not taken stays, in order, and `take_all` gives it to the next owner of the stream.

    Args:
        limit: the longest line in octets, CRLF included.
        lone_lf_ends_line: a LF without CR ends a line as CRLF does; otherwise it is an error.
    """

    def __init__(self, limit: int, *, lone_lf_ends_line: bool = False) -> None:
        self._limit = limit
        self._lone_lf_ends_line = lone_lf_ends_line
        self._data = bytearray()
        self._searched = 0
        self._skipping = False
        self.skipped = 0
        """Octets of over-long lines thrown away so far."""

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
            BareNewline: a LF came without CR.  The stream cannot be trusted after it; nothing was taken.

        Source: RFC 5321 §2.3.8 (only CRLF ends a line), §4.5.3.1.4 (command lines).
        """
        end = self._data.find(b"\n", self._searched)
        if self._skipping:
            end = self._skip(end)
            if self._skipping:
                return None
        if end < 0:
            self._searched = len(self._data)
            if len(self._data) >= self._limit:
                self._skipping = True
                self._skip(-1)
                raise LineTooLong(f"a line is longer than {self._limit} octets")
            return None
        self._searched = 0
        stop = end - 1 if end and self._data[end - 1] == 0x0D else end
        if stop == end and not self._lone_lf_ends_line:
            raise BareNewline("bare <LF>")
        too_long = end + 1 > self._limit
        line = b"" if too_long else bytes(self._data[:stop])
        del self._data[: end + 1]
        if too_long:
            self.skipped += end + 1
            raise LineTooLong(f"a line is longer than {self._limit} octets")
        return line

    def take_all(self) -> bytes:
        """Take every octet that is left, whole lines or not."""
        rest = bytes(self._data)
        self._data.clear()
        self._searched = 0
        return rest

    def _skip(self, end: int) -> int:
        """Throw away the rest of an over-long line up to the LF at `end`; the next LF's place, or -1."""
        gone = len(self._data) if end < 0 else end + 1
        self.skipped += gone
        del self._data[:gone]
        self._searched = 0
        self._skipping = end < 0
        return self._data.find(b"\n") if not self._skipping else -1
