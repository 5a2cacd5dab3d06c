"""
Mail data on its way: where it ends, and what a stray CR or LF in it becomes.

Two small machines, each fed with octets that are cut anywhere.  `EndFinder` knows one thing: only CRLF `.` CRLF
ends mail data or a POP3 multi-line response.  `NewlineKeeper` knows the other: what leaves us holds no CR, LF or NUL
that a mail server might take for an end of line or of data where the sender meant none.  Because of that,
dot-stuffing done by the sender stays valid for every receiver and content passes verbatim, chunk by chunk.

Nearly all content is clean and holds few dots, or none.  So what can be told from single octets, which the C library
finds at the speed of memory, is looked for first; a search for `CRLF .` alone takes sixty times as long, from behind
half of that, so whether there is one at all is found out so.

Source: RFC 5321 §4.1.1.4 (end of mail data), §4.5.2 (transparency), §2.3.8 (lines); RFC 1939 §3.
"""

from __future__ import annotations

from enum import Enum
from io import IncrementalNewlineDecoder

from mailproxy.errors import BareNewline, NulOctet

END = b".\r\n"
"""What follows the last CRLF of mail data, or of a multi-line response."""

_STOP = b"\r\n" + END
_DOT_FIRST = b"\r\n."


class EndFinder:
    """
    Cuts a stream at the first CRLF `.` CRLF; the stream begins behind a CRLF, so `.` CRLF alone is an empty body.

    At most two octets are held back: a `.` or `.` CR that begins a line.
    """

    __slots__ = ("_held", "_tail", "ended", "rest")

    def __init__(self) -> None:
        self._tail = b"\r\n"
        """The last two octets that were handed out, for what spans two chunks."""
        self._held = b""
        self.ended = False
        self.rest = b""
        """What came behind the end; it is not part of the body."""

    def feed(self, chunk: bytes) -> bytes:
        """
        The octets of the body that are certain now, without the final `.` CRLF.

        The body is handed out as it came, stuffed dots included.  Once `ended`, octets go to `rest`.
        """
        if self.ended:
            self.rest += chunk
            return b""
        data = self._held + chunk if self._held else chunk
        if b"." not in data:
            self._held = b""
            self._tail = (self._tail + data[-2:])[-2:]
            return data
        found = (self._tail + data[:4]).find(_STOP)
        if found >= 0:
            return self._end(data, found)
        if data.rfind(_STOP) >= 0:
            return self._end(data, data.find(_STOP) + 2)
        return self._hold_back(data)

    def _end(self, data: bytes, size: int) -> bytes:
        self.ended = True
        self._held = b""
        self.rest = data[size + len(END) :]
        return data[:size]

    def _hold_back(self, data: bytes) -> bytes:
        seen = self._tail + data[-4:]
        keep = 0
        if seen.endswith(b"\r\n."):
            keep = 1
        elif seen.endswith(b"\r\n.\r"):
            keep = 2
        if keep:
            self._held = data[-keep:]
            data = data[:-keep]
        else:
            self._held = b""
        self._tail = (self._tail + data[-2:])[-2:]
        return data


class Unstuffer:
    """
    Hands on mail data without its stuffed dots: the message as its author meant it.

    Fed with what goes over the wire in front of the final dot, cut anywhere; every CR and LF in it belongs to a CRLF.

    Source: RFC 5321 §4.5.2.
    """

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def feed(self, chunk: bytes) -> bytes:
        """The chunk without them."""
        tail = self._tail
        self._tail = (tail + chunk[-2:])[-2:]
        if b"." not in chunk:
            return chunk
        data = tail + chunk
        return chunk if data.rfind(_DOT_FIRST) < 0 else data.replace(_DOT_FIRST, b"\r\n")[len(tail) :]


class BareNewlines(Enum):
    """What becomes of a CR or LF that is not part of a CRLF."""

    NORMALIZE = "normalize"
    """It becomes CRLF; a line that begins with a dot only because of that is stuffed."""
    REJECT = "reject"
    """It is an error."""


class NewlineKeeper:
    """
    Hands on mail data in which every CR and LF belongs to a CRLF and no octet is NUL.

    Fed with what `EndFinder` hands out; a trailing CR is held back until its LF is seen.  Content that is clean
    already is handed on as the same object.
    """

    __slots__ = ("_behind_crlf", "_behind_mended", "_held_cr", "_policy", "mended", "octets", "stuffed")

    def __init__(self, policy: BareNewlines) -> None:
        self._policy = policy
        self._held_cr = False
        self._behind_crlf = True
        self._behind_mended = False
        self.mended = 0
        """How many bare CR and LF became CRLF."""
        self.stuffed = 0
        """How many lines began with a stuffed dot: the difference between the wire's octets and the message's."""
        self.octets = 0
        """Octets of the message so far as the sender meant it: CRLF included, stuffing and the final dot not."""

    def feed(self, chunk: bytes) -> bytes:
        """
        The chunk, fit to be sent on.

        Raises:
            NulOctet: the chunk holds NUL.
            BareNewline: it holds a bare CR or LF and the policy is to reject.
        """
        if b"\0" in chunk:
            raise NulOctet("mail data contains NUL")
        data = b"\r" + chunk if self._held_cr else chunk
        self._held_cr = data.endswith(b"\r")
        if self._held_cr:
            data = data[:-1]
        if not data:
            return b""
        self._count(data)
        if self._behind_mended or not _is_clean(data):
            return self._mend(data)
        self._behind_crlf = data.endswith(b"\r\n")
        return data

    def _count(self, data: bytes) -> None:
        stuffed = 0
        if b"." in data:
            within = data.count(_DOT_FIRST) if data.rfind(_DOT_FIRST) >= 0 else 0
            stuffed = within + (self._behind_crlf and data.startswith(b"."))
        self.stuffed += stuffed
        self.octets += len(data) - stuffed

    def _mend(self, data: bytes) -> bytes:
        """
        The data with its bare CR and LF mended, in a few passes over the whole: hostile data is nothing but newlines.

        NUL, which never gets here, stands for CRLF meanwhile, LF for what is bare.
        """
        before = b"\n" if self._behind_mended else b"\0" if self._behind_crlf else b""
        text = data.replace(b"\r\n", b"\0").replace(b"\r", b"\n")
        bare = text.count(b"\n")
        if bare and self._policy is BareNewlines.REJECT:
            raise BareNewline("mail data contains a bare CR or LF")
        self.mended += bare
        # Stuffed: a lone dot whose line only now ends, and a dot that only now begins a line.
        text = (before + text).replace(b"\0.\n", b"\0..\n").replace(b"\n.", b"\n..")
        self._behind_crlf, self._behind_mended = text.endswith(b"\0"), text.endswith(b"\n")
        return text[len(before) :].replace(b"\n", b"\0").replace(b"\0", b"\r\n")


def _is_clean(data: bytes) -> bool:
    """
    Whether every CR and LF belongs to a CRLF.

    The decoder of text files keeps a record of the newlines that it has seen, and needs one pass for it: a quarter of
    what it takes to count CR, LF and CRLF.
    """
    if _is_even(data):
        return True
    newlines = IncrementalNewlineDecoder(None, translate=False)
    newlines.decode(data.decode("latin-1"), final=True)
    return newlines.newlines in (None, "\r\n")


def _is_even(data: bytes) -> bool:
    """
    Whether all lines are of one length and end with CRLF, as those of base64 do, and there is no other CR or LF.

    Where the newlines have to be is known then: they are looked at there, and taken out of a copy that must hold no
    other.  That is three times as fast as to go through all octets.
    """
    first = data.find(b"\n")
    length = data.find(b"\n", first + 1) - first
    if first < 1 or length < 2:
        return False
    places = slice(first, None, length), slice(first - 1, None, length)
    marks = [data[place] for place in places]
    count = len(marks[0])
    if marks != [b"\n" * count, b"\r" * count]:
        return False
    rest = bytearray(data)
    for place in places:
        rest[place] = bytes(count)
    return b"\n" not in rest and b"\r" not in rest
