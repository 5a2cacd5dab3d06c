"""
Mail data as a strict SMTP server reads it.

This is written anew on purpose: the sandbox shares no reading of the standard with the proxy in front of it.
"""

from __future__ import annotations

_END = b"\r\n.\r\n"


class MailData:
    """
    Collects mail data up to CRLF `.` CRLF; nothing else ends it.

    Over `limit` octets it only looks for the end, and `too_big` is true.

    Source: RFC 5321 §4.1.1.4, §4.5.2.
    """

    def __init__(self, limit: int) -> None:
        self.too_big = False
        self._limit = limit
        self._data = bytearray(b"\r\n")  # the CRLF of the DATA command counts as the first of the end
        self._searched = 0

    def feed(self, chunk: bytes) -> bytes | None:
        """Take octets; None while the end is not in sight, else what came behind it."""
        self._data += chunk
        end = self._data.find(_END, self._searched)
        if end >= 0:
            rest = bytes(self._data[end + len(_END) :])
            del self._data[end + 2 :]
            return rest
        if len(self._data) > self._limit + 2 + len(_END):
            self.too_big = True
            del self._data[: -len(_END)]
        self._searched = max(0, len(self._data) - len(_END))
        return None

    @property
    def has_stray_octets(self) -> bool:
        """Whether there is a NUL, or a CR or LF that is no CRLF: servers disagree about what these mean."""
        crlf = self._data.count(b"\r\n")
        return b"\0" in self._data or self._data.count(b"\r") != crlf or self._data.count(b"\n") != crlf

    def content(self) -> bytes:
        """What the client meant: without the dots that its stuffing added."""
        return bytes(self._data).replace(b"\r\n.", b"\r\n")[2:]
