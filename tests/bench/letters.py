"""
Mails with a number that the sink finds without reading the rest.

Behind the number there is no dot but that of the end, so that looking for it costs the sink next to nothing.
"""

from __future__ import annotations

from attrs import field, frozen

HEAD_OCTETS = 21
END = b".\r\n"

_REST_OF_HEAD = b"From: <bench@client>\r\nTo: <bench@sink>\r\nSubject: bench\r\n\r\n"
_LINE = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ABCD\r\n"


@frozen
class Letters:
    """All of the same length, with their CRLFs and without the end of mail data."""

    octets: int
    rest: bytes = field(init=False, repr=False)
    """What they have in common, behind the head: the end of mail data is part of it."""

    @rest.default
    def _make(self) -> bytes:
        return text(self.octets - HEAD_OCTETS) + END


def head(number: int) -> bytes:
    """The first line."""
    return b"X-Bench: %010d\r\n" % number


def number_of(octets: bytes) -> int:
    """The number in a first line; 0 where it is another line."""
    digits = octets[9:19]
    return int(digits) if octets.startswith(b"X-Bench: ") and digits.isdigit() else 0


def text(octets: int) -> bytes:
    """The rest of a mail's head, and lines, so many octets in all."""
    whole = _REST_OF_HEAD + _LINE * (octets // len(_LINE) + 1)
    return whole[: octets - 2] + b"\r\n"
