"""
Secrets that say whose they are, found again in every form they travel in.

A secret is `SECRET-OWNER-...`, its owner two words: a tenant and a destination, or a client and its number.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode

PREFIX = "SECRET-"
_WHOLE = re.compile(rb"SECRET-[a-z0-9]+-[a-z0-9]+-\w+")
_OWNER = re.compile(rb"SECRET-([a-z0-9]+-[a-z0-9]+)")
_WORD = re.compile(rb"[A-Za-z0-9+/]{8,}={0,2}")


def secret(owner, what):
    """The one secret of this kind."""
    return f"{PREFIX}{owner}-{what}"


def _shown(octets):
    """What stands in octets that hold these: themselves, and the three ways in which base64 shows them."""
    whole = [b64encode(b"\0" * shift + octets).decode() for shift in range(3)]
    return [octets, *(text[(0, 2, 3)[shift] :].rstrip("=")[:-1].encode() for shift, text in enumerate(whole))]


_ANY = re.compile(b"|".join(re.escape(form) for form in _shown(PREFIX.encode())))


def owners(octets):
    """Whose secrets stand in the octets."""
    if not _ANY.search(octets):
        return set()
    found = {owner.decode() for text in _texts(octets) for owner in _OWNER.findall(text)}
    return found or {"?-?"}


def secrets_in(octets):
    """The secrets that stand in the octets."""
    if not _ANY.search(octets):
        return set()
    return {found.decode() for text in _texts(octets) for found in _WHOLE.findall(text)}


def _texts(octets):
    return [octets, *(decoded for word in _WORD.findall(octets) for decoded in _decoded(word))]


def _decoded(word):
    for start in range(4):
        part = word[start:].rstrip(b"=")
        try:
            yield b64decode(part + b"=" * (-len(part) % 4))
        except binascii.Error:
            yield b""
