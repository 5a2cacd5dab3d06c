"""
Attrs values as part of a message: each is a list of its fields, in their order.

What comes from the other side is judged by the types of the fields, and bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

import attrs

from mailproxy.observe.failures import MAX_TEXT_CHARACTERS
from mailproxy.observe.histogram import Histogram
from mailproxy.workers.counts import as_list, as_number, parse_histogram

MAX_ITEMS = 100
"""Values of the same kind in another one."""

T = TypeVar("T")
_Parse = Callable[[object], Any]


def format_value(value: Any) -> Any:
    """The value as JSON has it; what is too long is cut, and a number that is none is left out."""
    if isinstance(value, str):
        return value[:MAX_TEXT_CHARACTERS]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple | list):
        return [format_value(each) for each in value]
    if attrs.has(type(value)):
        return [format_value(getattr(value, each.name)) for each in attrs.fields(type(value))]
    return value


def parse_value(kind: type[T], raw: object) -> T:
    """
    The value of this class in a message.

    Raises:
        ValueError: it is none.
    """
    wanted: Any = kind
    value: T = _parser(wanted)(raw)
    return value


@cache
def _parser(kind: Hashable) -> _Parse:
    """What takes values of a type out of a message."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if get_origin(kind) is tuple:
        item = _parser(get_args(kind)[0])
        return lambda raw: tuple(item(each) for each in as_list(raw, range(MAX_ITEMS + 1)))
    if NoneType in get_args(kind):
        (other,) = set(get_args(kind)) - {NoneType}
        known = _parser(other)
        return lambda raw: None if raw is None else known(raw)
    return _of_class(kind)


def _of_class(kind: Any) -> _Parse:
    fields = [_parser(each.type) for each in attrs.fields(attrs.resolve_types(kind))]

    def parse(raw: object) -> Any:
        values = as_list(raw, [len(fields)])
        return kind(*[parse(value) for parse, value in zip(fields, values, strict=True)])

    return parse


def _real(raw: object) -> float:
    if not isinstance(raw, int | float) or isinstance(raw, bool) or not math.isfinite(raw):
        raise ValueError("a time is no number")
    return float(raw)


def _text(raw: object) -> str:
    if not isinstance(raw, str) or len(raw) > MAX_TEXT_CHARACTERS:
        raise ValueError("a text is none, or too long")
    return raw


_PLAIN: Mapping[Any, _Parse] = {int: as_number, float: _real, str: _text, Histogram: parse_histogram}
