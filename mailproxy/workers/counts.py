"""
What listeners have counted, as part of a message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mailproxy.destination.model import MailProtocol
from mailproxy.observe.counters import Counters
from mailproxy.recipes import Identity

MAX_LISTENERS = 200
"""Of so many listeners one message tells at most."""

MAX_WORDS = 500
"""Far more outcomes, or events, than there are."""

_MAX_WORD = 100
_MAX_NAME = 300
_MAX_NUMBER = 1 << 63

Counts = Mapping[Identity, Counters]


def format_counts(counts: Counts) -> list[Any]:
    """The counts as JSON has them."""
    return [
        [
            [who.destination, who.tenant, who.service, who.protocol.value],
            [counters.sessions, counters.active, counters.outcomes, counters.events, counters.turned_away],
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
        _identity(who): _counters(numbers)
        for who, numbers in (_list(each, [2]) for each in _list(raw, range(MAX_LISTENERS + 1)))
    }


def _identity(raw: object) -> Identity:
    destination, tenant, service, protocol = _list(raw, [4])
    name = None if tenant is None else _text(tenant)
    return Identity(_text(destination), name, _text(service), MailProtocol(_text(protocol)))


def _counters(raw: object) -> Counters:
    sessions, active, outcomes, events, turned_away = _list(raw, [5])
    return Counters(_number(sessions), _number(active), _words(outcomes), _words(events), _words(turned_away))


def _words(raw: object) -> Counter[str]:
    if not isinstance(raw, dict) or len(raw) > MAX_WORDS or any(len(word) > _MAX_WORD for word in raw):
        raise ValueError("counts are no words with numbers")
    return Counter({word: _number(number) for word, number in raw.items()})


def _number(raw: object) -> int:
    if type(raw) is not int or not 0 <= raw < _MAX_NUMBER:
        raise ValueError("a count is no number")
    return raw


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not 0 < len(raw) <= _MAX_NAME:
        raise ValueError("a name is no text")
    return raw


def _list(raw: object, lengths: Sequence[int]) -> list[Any]:
    if not isinstance(raw, list) or len(raw) not in lengths:
        raise ValueError("counts are no list of the right length")
    return raw
