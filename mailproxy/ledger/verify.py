"""
Whether a ledger is what was written: the first place where it is not, and what is wrong there.

The files of a chain are gone through once, in the order of their records, and no more than a line is kept.  Where a
number is missing the rest is searched for it, so that a record in the wrong place is told from one that is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from mailproxy.ledger import files
from mailproxy.ledger.chain import START, Broken, Link, Record, read
from mailproxy.ledger.record import MAX_RECORD_OCTETS


@frozen
class Line:
    """A line of a file: the octets without newline, and whether there was one."""

    file: Path
    number: int
    octets: bytes
    ended: bool


@frozen
class Problem:
    """What is wrong, and where."""

    file: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


@frozen
class Finding:
    """All that there is to say of a chain; `last` is its last record that is in order."""

    of: Path
    records: int
    last: Link
    problem: Problem | None
    notes: tuple[str, ...]


@define
class _Debris:
    """Lines that are no records: left by a crash, if a `recovered` record behind them says so."""

    problem: Problem
    octets: int = 0
    whole: Any = field(factory=sha256)
    unended: str = ""
    """The digest without the last newline, which the recovery has added."""

    def add(self, line: Line) -> None:
        self.whole.update(line.octets)
        self.unended = self.whole.hexdigest()
        if line.ended:
            self.whole.update(b"\n")
        self.octets += len(line.octets) + line.ended

    def is_that_of(self, fields: dict[str, Any]) -> bool:
        """Whether the record speaks of exactly these octets."""
        size, digest = fields.get("torn_octets"), fields.get("torn_sha256")
        return (size, digest) in ((self.octets, self.whole.hexdigest()), (self.octets - 1, self.unended))


class Verifier:
    """
    Goes through one chain.

    Args:
        head: what the last record is known to be, from before the files were read; None where nobody knows.
    """

    def __init__(self, head: Link | None = None) -> None:
        self._head = head
        self._debris: _Debris | None = None
        self._gap: Problem | None = None
        self._at = Line(Path(), 0, b"", ended=True)
        self.last = START
        self.records = 0
        self.problem: Problem | None = None
        self.notes: list[str] = []

    def take(self, line: Line) -> bool:
        """One more line; whether there is any need for more of them."""
        try:
            record = read(line.octets)
        except Broken as broken:
            self._broken(line, str(broken) if line.ended else "is cut off in its middle")
        else:
            if line.ended:
                self._fits(line, record)
            else:
                self._broken(line, "has lost its end, the newline")
        self._at = line
        return self.problem is None

    def finish(self) -> None:
        """There are no more lines."""
        if self._debris is not None and self._is_unfinished(self._debris.problem):
            where, self._debris = self._debris.problem, None
            self.notes.append(f"{where.file}:{where.line}: a record is being written here, or was when a crash came")
        found = self._gap or (self._debris and self._debris.problem)
        if self.problem is None and found:
            self.problem = found
        if self.problem is None and self._head is not None and self._head.seq > self.last.seq:
            gone = _numbers(self.last.seq + 1, self._head.seq)
            self._wrong(self._at, f"the end is cut off: {gone} missing behind this line, as the head knows")

    def _is_unfinished(self, found: Problem) -> bool:
        """Whether it is nothing but a last line without end, of which the head does not know yet."""
        last = (found.file, found.line) == (self._at.file, self._at.number)
        return last and not self._at.ended and self._head is not None and self._head.seq <= self.last.seq

    def _wrong(self, line: Line, what: str) -> None:
        if self.problem is None:
            self.problem = Problem(line.file, line.number, what)

    def _broken(self, line: Line, what: str) -> None:
        if self._gap is not None:
            return  # what is looked for may still come
        if self._debris is None:
            self._debris = _Debris(Problem(line.file, line.number, what))
        self._debris.add(line)

    def _fits(self, line: Line, record: Record) -> None:
        if self._gap is not None:
            self._look_for(line, record)
            return
        if self._debris is not None and not self._clear(line, record):
            return
        if record.follows(self.last):
            self._accept(line, record)
        elif self.last == START and record.kind == "carried":
            self._start(line, record)
        else:
            self._misplaced(line, record)

    def _clear(self, line: Line, record: Record) -> bool:
        """Whether it speaks of the lines before it that are none; else the first of these is what is wrong."""
        assert self._debris is not None
        if record.kind == "recovered" and self._debris.is_that_of(json.loads(line.octets)):
            where, self._debris = self._debris.problem, None
            self.notes.append(f"{where.file}:{where.line}: what a crash has left of a record stands here")
            return True
        self.problem = self._debris.problem
        return False

    def _start(self, line: Line, record: Record) -> None:
        """The first record that there is, carried over from a file that is not here."""
        before = json.loads(line.octets).get("previous")
        self.notes.append(f"{line.file}:{line.number}: begins with record {record.link.seq}; {before} comes before it")
        self._accept(line, record)

    def _accept(self, line: Line, record: Record) -> None:
        self.last = record.link
        self.records += 1
        if record.kind == "recovered" and (missing := json.loads(line.octets).get("missing_records")):
            self._wrong(line, f"says that {missing} records before it were missing when the ledger was taken up again")
        if self._head is not None and record.link.seq == self._head.seq and record.link != self._head:
            self._wrong(line, "is not the record that the head knows: the chain was written anew")

    def _misplaced(self, line: Line, record: Record) -> None:
        expected, seq = self.last.seq + 1, record.link.seq
        if line.octets == self._at.octets:
            self._wrong(line, "is the line before it once more")
        elif seq < expected:
            self._wrong(line, f"is record {seq} once more, or out of its place: {expected} is to come")
        elif seq == expected:
            self._wrong(
                line, f"is record {seq}, but does not hold on to the record before it: one of them is another's"
            )
        else:
            before = json.loads(line.octets).get("previous") if record.kind == "carried" else None
            cut = f"; {before}, which comes before this file, is cut off or missing" if before else ""
            self._gap = Problem(line.file, line.number, f"{_numbers(expected, seq - 1)} missing before this line{cut}")

    def _look_for(self, line: Line, record: Record) -> None:
        """Whether this is the record that is missing further up."""
        expected = self.last.seq + 1
        if record.link.seq == expected and record.prev == self.last.hash:
            assert self._gap is not None
            what = f"is out of order: record {expected} belongs here, and stands in {line.file}:{line.number}"
            self.problem = Problem(self._gap.file, self._gap.line, what)


def _numbers(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"


def verify(paths: Iterable[Path], anchor: Link | None = None) -> list[Finding]:
    """
    What is to be said of each chain that these files belong to.

    Args:
        paths: of files, in any order.
        anchor: a record that is known from elsewhere.

    Raises:
        OSError: a file cannot be read.
    """
    chains: dict[Path, list[tuple[int, Path]]] = {}
    for path in dict.fromkeys(paths):
        part = files.part_of(path)
        chains.setdefault(part.of if part else path, []).append((part.first if part else 0, path))
    return [_verify_chain(of, [path for _, path in sorted(numbered)], anchor) for of, numbered in chains.items()]


def _verify_chain(of: Path, paths: list[Path], anchor: Link | None) -> Finding:
    head = anchor or _head_of(of, paths)  # before the files: they may grow meanwhile
    verifier = Verifier(head)
    for line in (line for path in paths for line in lines(path)):
        if not verifier.take(line):
            break
    verifier.finish()
    return Finding(of, verifier.records, verifier.last, verifier.problem, tuple(verifier.notes))


def _head_of(of: Path, paths: list[Path]) -> Link | None:
    """What the last record is, if the newest file is among these: what is cut off can be in no other."""
    parts = files.parts(of)
    if not parts or parts[-1].path not in paths:
        return None
    try:
        return files.parse_head(files.head_path(of).read_bytes())
    except FileNotFoundError:
        return None


def lines(path: Path) -> Iterator[Line]:
    """The lines of a file, one after the other; a longer one than any record is comes in pieces, none of them one."""
    number = 1
    with path.open("rb") as file:
        while raw := file.readline(MAX_RECORD_OCTETS + 1):
            ended = raw.endswith(b"\n")
            yield Line(path, number, raw.removesuffix(b"\n"), ended=ended)
            number += ended
