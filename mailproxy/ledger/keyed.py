"""
Addresses that can be searched for, and not be read: HMAC-SHA256 under a key that only those have who may search.

Source: RFC 2104; RFC 5321 §2.4 (case), §4.1.2 (paths).
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from pathlib import Path

from attrs import field, frozen

MIN_KEY_OCTETS = 16
"""Fewer could be found by trying."""

MAX_KEY_OCTETS = 4096
"""More is another file."""

_PREFIX = "hmac-sha256:"
# what looks like Mailbox = ( Dot-string / Quoted-string ) "@" ( Domain / address-literal ), RFC 5321 §4.1.2, and more
_PART = r"[^\s<>()\[\],;:\"]+"
_ADDRESS = re.compile(rf'(?:"[^"]*"|{_PART})@(?:\[[^\s\]]*\]|{_PART})')
# source route, RFC 5321 §4.1.2: A-d-l ":" with A-d-l = At-domain *( "," At-domain )
_ROUTE = re.compile(rb"@[^:<>]*:")


class BadKey(Exception):
    """A file that holds no key; the text says why."""


def address_of(path: bytes) -> bytes:
    """The address in a path, without brackets and source route; nothing for the null reverse-path."""
    inside = path[1:-1] if path[:1] == b"<" and path[-1:] == b">" else path
    return _ROUTE.sub(b"", inside, count=1) if inside[:1] == b"@" else inside


def folded(address: str) -> str:
    """Equal for addresses that differ in nothing but the case of ASCII letters: nobody means two people by that."""
    return "".join(each.lower() if each.isascii() else each for each in address)


@frozen
class AddressKey:
    """What addresses are stored under; without one they are stored as they are."""

    key: bytes | None = field(default=None, repr=False)

    def hide(self, address: str) -> str:
        """An address as a record holds it; nothing stays nothing: the null reverse-path is nobody's."""
        if self.key is None or not address:
            return address
        return _PREFIX + hmac.new(self.key, folded(address).encode(), sha256).hexdigest()

    def hide_in(self, text: str) -> str:
        """Words of a mail server, which likes to repeat the address that they are about."""
        return text if self.key is None else _ADDRESS.sub(lambda found: self.hide(found.group()), text)

    def matches(self, stored: str, address: str) -> bool:
        """Whether this is the address that was stored; `address` is the clear one."""
        if self.key is not None and stored.startswith(_PREFIX):
            return hmac.compare_digest(stored, self.hide(address))
        return folded(stored) == folded(address)

    def cannot_tell(self, stored: str) -> bool:
        """Whether the address was stored under a key, and we have none."""
        return self.key is None and stored.startswith(_PREFIX)


NO_KEY = AddressKey()
"""Addresses are stored as they are."""


def read_key(path: Path) -> AddressKey:
    """
    The key in a file: its octets, without blanks and newlines at either end.

    Raises:
        BadKey: the file cannot be read, or holds too little for a key, or too much.
    """
    try:
        with path.open("rb") as file:
            key = file.read(MAX_KEY_OCTETS + 1).strip()
    except OSError as error:
        raise BadKey(error.strerror or type(error).__name__) from error
    if len(key) < MIN_KEY_OCTETS:
        raise BadKey(f"a key has {MIN_KEY_OCTETS} octets or more")
    if len(key) > MAX_KEY_OCTETS:
        raise BadKey(f"a key has {MAX_KEY_OCTETS} octets at most")
    return AddressKey(key)
