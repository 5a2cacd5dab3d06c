"""
What listeners have counted, as part of a message.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from mailproxy.destination.model import MailProtocol
from mailproxy.observe.counters import BY_WORD, Counters, Durations, Octets
from mailproxy.observe.histogram import SECONDS, Histogram
from mailproxy.recipes import Identity

MAX_LISTENERS = 200
"""Of so many listeners one message tells at most."""

MAX_WORDS = 500
"""Far more outcomes, or events, than there are."""

_WORD = re.compile(r"(?=.{1,100}\Z)[a-z0-9_-]+(\.[a-z0-9_-]+){0,2}")
"""What is counted by word ends up in the text of statistics and metrics."""

_DOTS_OF_A_REPLY = 2
_MAX_NAME = 300
_MAX_NUMBER = 1 << 63

Counts = Mapping[Identity, Counters]


def format_counts(counts: Counts) -> list[Any]:
    """The counts as JSON has them."""
    return [
        [
            format_identity(who),
            [
                counters.sessions,
                counters.active,
                *[getattr(counters, name) for name in BY_WORD],
                list(attrs.astuple(counters.octets)),
                [[each.counts, each.total] for each in attrs.astuple(counters.durations, recurse=False)],
                counters.failures,
            ],
        ]
        for who, counters in counts.items()
    ]


def parse_counts(raw: object) -> dict[Identity, Counters]:
    """
    The counts in a message.

    Raises:
        ValueError: there are none in it, or too many.
    """
    return {
        parse_identity(who): _counters(numbers)
        for who, numbers in (as_list(each, [2]) for each in as_list(raw, range(MAX_LISTENERS + 1)))
    }


def format_identity(who: Identity) -> list[Any]:
    """Whose they are."""
    return [who.destination, who.tenant, who.service, who.protocol.value]


def parse_identity(raw: object) -> Identity:
    """
    Whose they are.

    Raises:
        ValueError: it is nobody's name.
    """
    destination, tenant, service, protocol = as_list(raw, [4])
    name = None if tenant is None else _text(tenant)
    return Identity(_text(destination), name, _text(service), MailProtocol(_text(protocol)))


def _counters(raw: object) -> Counters:
    sessions, active, *by_word, octets, durations, failures = as_list(raw, [5 + len(BY_WORD)])
    words: dict[str, Any] = {name: _words(each) for name, each in zip(BY_WORD, by_word, strict=True)}
    if any(word.count(".") != _DOTS_OF_A_REPLY for word in words["replies"]):
        raise ValueError("a reply is counted without its author, stage or class")
    return Counters(
        as_number(sessions),
        as_number(active),
        **words,
        octets=Octets(*map(as_number, as_list(octets, [len(attrs.fields(Octets))]))),
        durations=Durations(*map(parse_histogram, as_list(durations, [len(attrs.fields(Durations))]))),
        failures=as_number(failures),
    )


def parse_histogram(raw: object) -> Histogram:
    """
    How long things took.

    Raises:
        ValueError: it is something else.
    """
    counts, total = as_list(raw, [2])
    if not isinstance(total, int | float) or isinstance(total, bool) or not 0 <= total < math.inf:
        raise ValueError("a sum of durations is no number")
    return Histogram([as_number(each) for each in as_list(counts, [len(SECONDS) + 1])], float(total))


def _words(raw: object) -> Counter[str]:
    if not isinstance(raw, dict) or len(raw) > MAX_WORDS or not all(map(_WORD.fullmatch, raw)):
        raise ValueError("counts are no words with numbers")
    return Counter({word: as_number(number) for word, number in raw.items()})


def as_number(raw: object) -> int:
    """
    A number that is counted.

    Raises:
        ValueError: it is none.
    """
    if type(raw) is not int or not 0 <= raw < _MAX_NUMBER:
        raise ValueError("a count is no number")
    return raw


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not 0 < len(raw) <= _MAX_NAME:
        raise ValueError("a name is no text")
    return raw


def as_list(raw: object, lengths: Sequence[int]) -> list[Any]:
    """
    A list of one of these lengths.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(raw, list) or len(raw) not in lengths:
        raise ValueError("counts are no list of the right length")
    return raw
