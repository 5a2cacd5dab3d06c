"""
What a fuzz target is, and what all targets share.

A target takes octets that nobody has chosen with care, lets a parser of ours loose on them, and asserts what has to
hold whatever they are.  It knows nothing of the fuzzer, so that a file that once showed a mistake is an ordinary test.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

CORPUS = Path(__file__).parent / "corpus"


@frozen
class Target:
    """
    `check` raises for octets that show a mistake, and returns for all others.

    `words` are what the fuzzer may put in; `by_line` has it move whole lines about as well.  `share` of the time is
    relative to the other targets'.
    """

    name: str
    check: Callable[[bytes], None]
    words: tuple[bytes, ...] = ()
    longest: int = 2048
    by_line: bool = False
    share: int = 1

    @property
    def corpus(self) -> Path:
        """The files that every run begins with."""
        return CORPUS / self.name


TARGETS: dict[str, Target] = {}


def target(name: str, *words: bytes, **settings) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """The decorated function is a target."""

    def register(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
        assert name not in TARGETS
        TARGETS[name] = Target(name, check, words, **settings)
        return check

    return register


def ways_of_cutting(octets: bytes) -> Iterator[list[bytes]]:
    """Whole, in single octets, and in two more ways that only the octets decide."""
    yield [octets]
    yield [octets[place : place + 1] for place in range(len(octets))]
    chance = random.Random(zlib.crc32(octets))
    for most in (4, 64):
        places = [0]
        while places[-1] < len(octets):
            places.append(places[-1] + chance.randint(1, most))
        yield [octets[a:b] for a, b in itertools.pairwise(places)]


def the_same_for_every_cut(octets: bytes, read: Callable[[list[bytes]], object]) -> object:
    """What `read` makes of the chunks, which no way of cutting changes."""
    results = [read(chunks) for chunks in ways_of_cutting(octets)]
    for result in results:
        assert result == results[0], f"{result!r} in pieces, {results[0]!r} as a whole"
    return results[0]


def options(octets: bytes, number: int) -> tuple[bytes, bytes]:
    """The first octets choose, zeros where there are none; the rest is the input."""
    return octets[:number].ljust(number, b"\0"), octets[number:]
