"""
Plain TOML values to typed ones, strictly: nothing is converted on the quiet, and every mistake is found.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter, ForbiddenExtraKeysError
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from mailproxy.config.endpoints import parse_endpoint, with_loopback_default
from mailproxy.config.rules import LABEL
from mailproxy.config.values import Listen, LogLevelName, LogLevels, Place

T = TypeVar("T")
KeyPath = tuple[str | int, ...]
Mistake = tuple[KeyPath, str]
Hook = Callable[[Any, Any], Any]


class Invalid(Exception):
    """A value that cannot be used; the text says what it has to be, and never repeats what it is."""


def format_path(path: KeyPath) -> str:
    """A key path as an operator writes it, `destinations[1].listen.globex`; odd names are in quotes."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        name = step if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", step) else json.dumps(step[:80])
        text += f".{name}" if text else name
    return text


def unknown_key(key: str, known: list[str]) -> str:
    """The complaint about a key, with the one that was probably meant."""
    near = difflib.get_close_matches(key[:80], known, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key"


class Judge:
    """
    Structures the parts of one file and keeps every mistake it meets, with its key path.

    Args:
        base: the directory that relative paths start from.
    """

    def __init__(self, base: Path) -> None:
        self._converter = _converter(base)
        self.mistakes: list[Mistake] = []

    def structure(self, raw: object, wanted: type[T], path: KeyPath) -> T | None:
        """
        The value as `wanted`, or None when there is a mistake in it.

        Args:
            raw: what the TOML parser gave.
            wanted: an attrs class, or any type that one of its attributes may have.
            path: where `raw` stands in the file.
        """
        try:
            return self._converter.structure(raw, wanted)
        except (Invalid, ExceptionGroup) as error:
            self.mistakes += _mistakes(error, path)
            return None


def _mistakes(error: Exception, path: KeyPath) -> Iterator[Mistake]:
    """Every leaf of what cattrs raised; what is no mistake of the file's is raised again."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            path = (*path, note.name)
        elif isinstance(note, IterableValidationNote):
            path = (*path, note.index)
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _mistakes(each, path)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        for key in sorted(error.extra_fields):
            yield (*path, key), unknown_key(key, known)
    elif isinstance(error, KeyError):
        yield path, "is missing"
    elif isinstance(error, Invalid):
        yield path, str(error)
    else:
        raise error


def _converter(base: Path) -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind, words in ((str, "text in quotes"), (bool, "true or false"), (int, "a whole number")):
        converter.register_structure_hook(kind, _exactly(kind, words))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Path, lambda raw, _: _path(raw, base))
    converter.register_structure_hook(Listen, lambda raw, _: _listen(raw))
    converter.register_structure_hook(LogLevels, lambda raw, _: _levels(raw))
    converter.register_structure_hook(Place, lambda raw, _: _endpoint(raw))
    converter.register_structure_hook_func(_made_from(Literal), _literal)
    converter.register_structure_hook_func(lambda kind: isinstance(kind, type) and issubclass(kind, Enum), _enum)
    converter.register_structure_hook_factory(_made_from(tuple), lambda kind: _list(converter, kind))
    converter.register_structure_hook_factory(_made_from(Annotated), lambda kind: _ruled(converter, kind))
    converter.register_structure_hook_factory(attrs.has, lambda kind: _table(converter, kind))
    return converter


def _made_from(origin: Any) -> Callable[[Any], bool]:
    """Whether a type is this one with something in its brackets."""
    return lambda kind: get_origin(kind) is origin


def _exactly(kind: type, words: str) -> Hook:
    def hook(raw: object, _: object) -> object:
        if type(raw) is not kind:  # True is an int for isinstance
            raise Invalid(f"must be {words}")
        return raw

    return hook


def _number(raw: object, _: object) -> float:
    if not isinstance(raw, int | float) or isinstance(raw, bool):
        raise Invalid("must be a number")
    return float(raw) if abs(raw) < 1e300 else math.inf


def _path(raw: object, base: Path) -> Path:
    if not isinstance(raw, str) or not raw or "\0" in raw:
        raise Invalid("must be a path in quotes")
    return base / raw


def _literal(raw: object, kind: Any) -> object:
    if raw not in get_args(kind):
        raise Invalid(f"must be one of {', '.join(get_args(kind))}")
    return raw


def _enum(raw: object, kind: type[Enum]) -> Enum:
    for member in kind:
        if member.value == raw:
            return member
    raise Invalid(f"must be one of {', '.join(member.value for member in kind)}")


def _list(converter: Converter, kind: Any) -> Hook:
    items = GenericAlias(list, get_args(kind)[:1])
    inner: Hook = converter.get_structure_hook(items)

    def hook(raw: object, _: object) -> tuple[object, ...]:
        if not isinstance(raw, list):
            raise Invalid("must be a list in brackets")
        return tuple(inner(raw, items))

    return hook


def _ruled(converter: Converter, kind: Any) -> Hook:
    plain, *rules = get_args(kind)
    inner: Hook = converter.get_structure_hook(plain)

    def hook(raw: object, _: object) -> object:
        value = inner(raw, plain)
        for rule in rules:
            wrong = rule(value)
            if wrong is not None:
                raise Invalid(wrong)
        return value

    return hook


def _table(converter: Converter, kind: type) -> Hook:
    inner: Hook = make_dict_structure_fn(
        kind, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )

    def hook(raw: object, _: object) -> object:
        if not isinstance(raw, dict):
            raise Invalid("must be a table")
        return inner(raw, kind)

    return hook


def _levels(raw: object) -> LogLevels:
    """A table of namespaces, each with its level."""
    if not isinstance(raw, dict):
        raise Invalid("must be a table of levels")
    wrong: list[Exception] = []
    for name, level in raw.items():
        if not re.fullmatch(r"[A-Za-z0-9_.]{1,100}", name):
            raise Invalid("a namespace must be 1 to 100 letters, digits, '_' or '.', in quotes where it has a dot")
        try:
            _literal(level, LogLevelName)
        except Invalid as error:
            error.add_note(IterableValidationNote("namespace", name, str))
            wrong.append(error)
    if wrong:
        raise ExceptionGroup("levels", wrong)
    return LogLevels(raw)


def _listen(raw: object) -> Listen:
    """One endpoint for the provider's own, or a table of tenants, each with its endpoint."""
    if isinstance(raw, str):
        return Listen({None: _endpoint(raw)})
    if not isinstance(raw, dict) or not raw:
        raise Invalid("must be an endpoint in quotes, or a table of tenants with one endpoint each")
    wrong: list[Exception] = []
    endpoints: dict[str | None, str] = {}
    for tenant, text in raw.items():
        try:
            endpoints[_tenant(tenant)] = _endpoint(text)
        except Invalid as error:
            error.add_note(IterableValidationNote("tenant", tenant, str))
            wrong.append(error)
    if wrong:
        raise ExceptionGroup("listen", wrong)
    return Listen(endpoints)


def _tenant(name: str) -> str:
    wrong = LABEL(name)
    if wrong is not None:
        raise Invalid(f"a tenant's name {wrong}")
    return name


def _endpoint(raw: object) -> str:
    if not isinstance(raw, str):
        raise Invalid("must be an endpoint in quotes, such as tcp:1587")
    try:
        parse_endpoint(raw)
        return with_loopback_default(raw)
    except ValueError as error:
        raise Invalid(f"not an endpoint to listen on: {error}") from error
