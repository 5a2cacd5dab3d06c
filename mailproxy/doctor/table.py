"""
The table of known answers, read from `answers/*.toml` and judged.

One file for each provider:

    title = "Amazon SES"
    host = 'regular expression'         # may be left out, as may greeting and fallbacks
    greeting = 'regular expression'
    fallbacks = ["smtp"]

    [[answers]]
    id = "ses-credentials-invalid"
    stages = ["auth"]
    pattern = '^535[ -]Authentication Credentials Invalid'
    sample = "535 Authentication Credentials Invalid"
    cause = "One sentence."
    remedy = ["One step.", "Or another."]
    passes = false
    evidence = "doc"                    # doc, code, ran or seen
    source = "where it is known from"
    side = "destination"                # may be left out: where the cause is, if the outcome does not say it

Within a file the first answer that fits counts, so that the special ones stand before the general ones.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from mailproxy.doctor.outcomes import SIDES
from mailproxy.doctor.patterns import compiled
from mailproxy.doctor.remedies import STAGES, Answer, Provider, Table

_EVIDENCE = frozenset({"doc", "code", "ran", "seen"})
_HEAD = {"title": str, "host": str, "greeting": str, "fallbacks": list, "answers": list}
_FIELDS = {
    "id": str,
    "stages": list,
    "pattern": str,
    "sample": str,
    "cause": str,
    "remedy": list,
    "passes": bool,
    "evidence": str,
    "source": str,
    "side": str,
}
_MAY_BE_MISSING = frozenset({"side"})
_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class TableError(Exception):
    """The table cannot be used; it is our mistake, not an operator's."""


@cache
def known_answers() -> Table:
    """The table that belongs to the program."""
    folder = files("mailproxy.doctor") / "answers"
    texts = {entry.name.removesuffix(".toml"): entry.read_text("utf-8") for entry in folder.iterdir()}
    return read_table({key: texts[key] for key in sorted(texts)})


def read_table(texts: Mapping[str, str]) -> Table:
    """
    The table that these files hold, by provider.

    Raises:
        TableError: one of them is not as it has to be.
    """
    providers = {key: _provider(key, tomllib.loads(text)) for key, text in texts.items()}
    seen: set[str] = set()
    for provider in providers.values():
        for key in provider.fallbacks:
            _need(key in providers, f"{provider.key}: fallbacks: there is no {key}")
        for answer in provider.answers:
            _need(answer.id not in seen, f"{provider.key}: {answer.id} is there twice")
            seen.add(answer.id)
    return Table(providers)


def _provider(key: str, raw: dict[str, Any]) -> Provider:
    _check_fields(key, raw, _HEAD)
    _need("title" in raw, f"{key}: title is missing")
    return Provider(
        key,
        raw["title"],
        _optional_pattern(f"{key}: host", raw.get("host")),
        _optional_pattern(f"{key}: greeting", raw.get("greeting")),
        tuple(raw.get("fallbacks", ())),
        tuple(_answers(key, raw.get("answers", []))),
    )


def _answers(key: str, entries: list[dict[str, Any]]) -> Iterator[Answer]:
    for number, raw in enumerate(entries):
        where = f"{key}: {raw.get('id', f'answers[{number}]')}"
        _check_fields(where, raw, _FIELDS)
        missing = sorted(_FIELDS.keys() - _MAY_BE_MISSING - raw.keys())
        _need(not missing, f"{where}: {', '.join(missing)} missing")
        _need(_ID.fullmatch(raw["id"]) is not None, f"{where}: id is not letters, digits and hyphens")
        _need(bool(raw["stages"]) and set(raw["stages"]) <= set(STAGES), f"{where}: stages")
        _need(raw["evidence"] in _EVIDENCE, f"{where}: evidence")
        _need(raw.get("side", SIDES[0]) in SIDES, f"{where}: side")
        _need(bool(raw["remedy"]) and all(isinstance(step, str) and step for step in raw["remedy"]), f"{where}: remedy")
        _need(all(raw[name] for name in ("sample", "cause", "source")), f"{where}: holds an empty text")
        given = {**raw, "stages": frozenset(raw["stages"]), "remedy": tuple(raw["remedy"])}
        yield Answer(provider=key, **given | {"pattern": _pattern(f"{where}: pattern", raw["pattern"])})


def _check_fields(where: str, raw: Mapping[str, object], wanted: Mapping[str, type]) -> None:
    for name, value in raw.items():
        _need(name in wanted, f"{where}: {name} is no field")
        _need(isinstance(value, wanted[name]), f"{where}: {name} is no {wanted[name].__name__}")


def _optional_pattern(where: str, text: str | None) -> re.Pattern[str] | None:
    return None if text is None else _pattern(where, text)


def _pattern(where: str, text: str) -> re.Pattern[str]:
    try:
        return compiled(text)
    except ValueError as error:
        raise TableError(f"{where}: {error}") from None


def _need(condition: bool, problem: str) -> None:  # noqa: FBT001 - as in `assert`
    if not condition:
        raise TableError(problem)
