"""
Which files belong to a ledger, and what their ends say.

A configured `mail.jsonl` is a chain of files, each named by the number of its first record: `mail.000000000001.jsonl`,
`mail.000000004711.jsonl`.  None is ever renamed or shortened, so that they may be append-only for everybody.  Beside
them is `mail.head`, which says what the last record was: without it nobody could tell that the newest are gone.
"""

from __future__ import annotations

import json
import os
import re
from hashlib import sha256
from pathlib import Path

from attrs import frozen

from mailproxy.ledger.chain import Broken, Link, Record, read
from mailproxy.ledger.record import MAX_RECORD_OCTETS

MAX_TAIL_OCTETS = 2 * MAX_RECORD_OCTETS
"""How far from the end of a file its last whole record is looked for."""

_FIRST_LOOK_OCTETS = 64 * 1024
_DIGITS = 12
_NUMBERED = re.compile(rf"(.+)\.([0-9]{{{_DIGITS},18}})(\.[^.]*)?")
_HEAD = re.compile(rb" *([0-9]{1,18}) ([0-9a-f]{64})\n")
_HEAD_DIGITS = 18


@frozen(order=True)
class Part:
    """One file of a chain, known by its name: `of` is the path that was configured."""

    of: Path
    first: int

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.of.with_name(f"{self.of.stem}.{self.first:0{_DIGITS}}{self.of.suffix}")


@frozen
class Tail:
    """
    How a file ends: its last record, and what stands behind that; both may be missing.

    `ended` is whether the last octet is a newline.
    """

    record: Record | None
    torn: bytes
    ended: bool


def part_of(path: Path) -> Part | None:
    """Which file of which chain this is; None if its name does not say."""
    found = _NUMBERED.fullmatch(path.name)
    return found and Part(path.with_name(found[1] + (found[3] or "")), int(found[2]))


def parts(of: Path) -> list[Part]:
    """The files of a chain that are there, first one first."""
    found = (part_of(each) for each in of.parent.iterdir())
    return sorted(each for each in found if each is not None and each.of == of)


def head_path(of: Path) -> Path:
    """Where it says what the last record was."""
    return of.with_name(f"{of.stem}.head")


def format_head(link: Link) -> bytes:
    """What it says, always of the same length."""
    return b"%*d %b\n" % (_HEAD_DIGITS, link.seq, link.hash.encode("ascii"))


def parse_head(octets: bytes) -> Link | None:
    """The same, read; None for what is nothing of the kind."""
    found = _HEAD.fullmatch(octets)
    return found and Link(int(found[1]), found[2].decode("ascii"))


def read_tail(path: Path) -> Tail:
    """The end of a file, of which no more is read than has to be."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        look = _FIRST_LOOK_OCTETS
        while True:
            start = max(0, size - look)
            file.seek(start)
            tail = _tail_in(file.read(), whole=start == 0)
            if tail.record is not None or start == 0 or look >= MAX_TAIL_OCTETS:
                return tail
            look = min(2 * look, MAX_TAIL_OCTETS)


def _tail_in(octets: bytes, *, whole: bool) -> Tail:
    """The same for the last octets of a file; `whole` says that they are all of it."""
    ended = octets.endswith(b"\n")
    end = len(octets)
    while end > 0:
        start = octets.rfind(b"\n", 0, end - 1) + 1
        if start or whole:
            try:
                record = read(octets[start:end].removesuffix(b"\n"))
            except Broken:
                pass
            else:
                return Tail(record, octets[end:], ended)
        end = start
    return Tail(None, octets, ended)


def time_of(path: Path) -> str | None:
    """When a file was begun, as its first record says; None where that cannot be read."""
    with path.open("rb") as file:
        line = file.readline(MAX_RECORD_OCTETS)
    try:
        time = json.loads(line)["time"]
    except (ValueError, KeyError, TypeError):
        return None
    return time if isinstance(time, str) else None


def digest(octets: bytes) -> str:
    """The SHA-256 of octets that belong to no record."""
    return sha256(octets).hexdigest()
