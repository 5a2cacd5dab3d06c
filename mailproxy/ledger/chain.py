"""
How records hold on to each other: each has its number, the hash of the one before it, and its own.

    {"seq":7,"prev":"<64 digits>","kind":"transaction", ... ,"hash":"<64 digits>"}

The hash is SHA-256 over the line's octets, with `,"hash":"..."` taken out: whoever has the line can work it out without
reading JSON.  A record that is altered does not fit its own hash, one whose hash was mended does not fit the next one's
`prev`, and one that is gone leaves a gap in the numbers.
"""

from __future__ import annotations

import re
from hashlib import sha256

from attrs import frozen

_HASH_OCTETS = len(',"hash":""}') + 64

# record = '{"seq":' number ',"prev":"' 64hex '","kind":"' word '",' fields ',"hash":"' 64hex '"}'
_LINE = re.compile(
    rb'\{"seq":([1-9][0-9]{0,17}),"prev":"([0-9a-f]{64})","kind":"([a-z0-9]{1,20})",[ -~]+,"hash":"([0-9a-f]{64})"\}'
)


class Broken(Exception):
    """A line is no record, or not the one that it was; the text says which."""


@frozen
class Link:
    """What the next record holds on to: number and hash of a record."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


START = Link(0, "0" * 64)
"""What the very first record of a chain holds on to."""


@frozen
class Record:
    """A line that fits its own hash."""

    link: Link
    prev: str
    kind: str

    def follows(self, link: Link) -> bool:
        """Whether it is the very next one."""
        return self.link.seq == link.seq + 1 and self.prev == link.hash


def seal(after: Link, fields: bytes) -> tuple[bytes, Link]:
    """The line of the next record, without its newline, and what the one behind it holds on to."""
    seq = after.seq + 1
    body = b'{"seq":%d,"prev":"%b",%b' % (seq, after.hash.encode("ascii"), fields)
    digest = sha256(body + b"}").hexdigest()
    return b'%b,"hash":"%b"}' % (body, digest.encode("ascii")), Link(seq, digest)


def read(line: bytes) -> Record:
    """
    The record in a line without its newline.

    Raises:
        Broken: it is none, or does not fit its own hash.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise Broken("is no record of a ledger")
    seq, prev, kind, digest = match.groups()
    if sha256(line[:-_HASH_OCTETS] + b"}").hexdigest().encode("ascii") != digest:
        raise Broken("was altered: it does not fit its own hash")
    return Record(Link(int(seq), digest.decode("ascii")), prev.decode("ascii"), kind.decode("ascii"))
