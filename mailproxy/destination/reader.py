"""
A destination's properties, read one by one with the rules that hold for all of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from mailproxy.destination.jsontext import peer_words
from mailproxy.errors import DestinationUnusable

_INTEGER = re.compile(r"-?[0-9]{1,10}")
_BOOLEANS = {"true": True, "false": False}


class PropertyReader:
    """
    Reads properties by key and remembers which ones were read.

    The service gives every value as a text; numbers and booleans of JSON are understood, too.  An empty text and
    null are as good as a missing property.  Every method raises `DestinationUnusable`, which names the key and
    never quotes a value that may be secret.
    """

    def __init__(self, properties: Mapping[str, object]) -> None:
        self._properties = properties
        self._read: set[str] = set()

    @property
    def unread(self) -> tuple[str, ...]:
        """The keys that nobody asked for, sorted."""
        return tuple(sorted(set(self._properties) - self._read))

    def touch(self, *keys: str) -> None:
        """These need no reading: whatever they say is the case anyway."""
        self._read.update(keys)

    def secret(self, key: str) -> str | None:
        """The value as it stands, blanks included."""
        self._read.add(key)
        return self._value(key)

    def text(self, key: str) -> str | None:
        """The value without blanks around it."""
        return (self.secret(key) or "").strip() or None

    def required(self, key: str) -> str:
        """The value, which must be there."""
        value = self.text(key)
        if value is None:
            raise DestinationUnusable(key, "is missing")
        return value

    def one_of(self, key: str, *allowed: str) -> str:
        """A value that must be one of these."""
        value = self.required(key)
        if value not in allowed:
            raise DestinationUnusable(key, f"is '{peer_words(value, limit=60)}', not {' or '.join(allowed)}")
        return value

    def words(self, key: str) -> tuple[str, ...] | None:
        """The words of the value, which blanks or commas separate."""
        value = self.text(key)
        return None if value is None else tuple(value.replace(",", " ").split())

    def flag(self, key: str) -> bool | None:
        """True or false, in any case of letters."""
        value = self.text(key)
        if value is None:
            return None
        try:
            return _BOOLEANS[value.lower()]
        except KeyError:
            raise DestinationUnusable(key, "is neither true nor false") from None

    def integer(self, key: str, least: int, most: int) -> int | None:
        """A whole number between two bounds, both included."""
        value = self.text(key)
        if value is None:
            return None
        number = int(value) if _INTEGER.fullmatch(value) else None
        if number is None or not least <= number <= most:
            raise DestinationUnusable(key, f"is no whole number from {least} to {most}")
        return number

    def seconds(self, key: str) -> float | None:
        """A duration, which the property gives in milliseconds; None for 0 and less, which mean "no limit"."""
        value = self.integer(key, -(10**10), 10**10)
        return value / 1000 if value is not None and value > 0 else None

    def _value(self, key: str) -> str | None:
        value = self._properties.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int):
            return str(value)
        if not isinstance(value, str):
            raise DestinationUnusable(key, "is no text")
        # Cs: halves of a character, which no protocol can carry
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise DestinationUnusable(key, "holds control characters")
        return value
