"""
JSON objects out of octets that somebody else wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NoReturn
from urllib.parse import quote, quote_plus

from mailproxy.observe.text import printable, without_secrets

_LONGEST_NUMBER = 100
"""Digits of a whole number; Python itself gives up at a length that can be set from outside."""


def load_object(octets: bytes, *, unique_keys: bool = False) -> dict[str, object]:
    """
    The one JSON object that the octets are.

    Args:
        octets: UTF-8, with or without a byte order mark.
        unique_keys: the same key twice is an error, as it is where people write the text.

    Raises:
        ValueError: they are something else.  The reason is short and quotes no value.

    Source: RFC 8259 §4 (names should be unique), §6 (no NaN, no Infinity), §8.1 (UTF-8).
    """
    pairs_hook = _without_duplicates if unique_keys else None
    try:
        value = json.loads(
            octets.decode("utf-8-sig"), object_pairs_hook=pairs_hook, parse_constant=_refuse, parse_int=_whole
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except UnicodeDecodeError:
        raise ValueError("is no JSON (not UTF-8)") from None
    except RecursionError:
        raise ValueError("is JSON nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004 - the text's fault, not a caller's
    return value


def peer_words(text: object, *, secrets: Iterable[str] = (), limit: int = 256) -> str:
    """
    A text out of somebody's JSON, fit for an operator's eyes: without the secrets, escaped, bounded.

    What is no text is shown by its type alone.  A secret is also found as a form would hold it.
    """
    if not isinstance(text, str):
        return f"<{type(text).__name__}>"
    forms = {form for secret in secrets if secret for form in (secret, *_encoded(secret))}
    # The forms of one secret begin alike: whole ones go first, lest the beginning of another leaves their rest.
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "<secret>")
    return printable(without_secrets(text, forms), limit)


def _encoded(secret: str) -> tuple[str, str]:
    return quote_plus(secret, errors="surrogatepass"), quote(secret, safe="", errors="surrogatepass")


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"holds the key '{peer_words(name, limit=100)}' twice")
        found[name] = value
    return found


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError("is no JSON (a number in it is too long)")
    return int(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"is no JSON ({constant} is no number)")
