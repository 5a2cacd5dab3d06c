"""
Words of a peer, made fit for an operator's eyes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import takewhile

_TELLING = 8
"""So many characters of a secret say too much: who quotes a long line, often cuts it."""


def printable(text: bytes | str, limit: int = 256) -> str:
    r"""
    One line of printable text: control octets and everything beyond ASCII escaped (`\x1b`), cut at `limit`.
    """
    if isinstance(text, str) and len(text) <= limit and text.isascii() and text.isprintable() and "\\" not in text:
        return text
    # JSON can hold lone surrogates, which have no octets of their own.
    octets = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
    clean = "".join(
        chr(octet) if 0x20 <= octet < 0x7F and octet != 0x5C else f"\\x{octet:02x}" for octet in octets[:limit]
    )
    return clean + "..." if len(octets) > limit else clean


class Secrets:
    """
    What must not be shown; made once for many texts.
    """

    __slots__ = ("_beginnings", "_known")

    def __init__(self, secrets: Iterable[str]) -> None:
        self._known = tuple(secret for secret in secrets if secret)
        self._beginnings = re.compile("|".join({re.escape(secret[:_TELLING]) for secret in self._known}))

    def taken_out_of(self, text: str) -> str:
        """
        The text with every one of them replaced, also where only its beginning stands: a peer may quote back what it
        was sent.  At each place the secret counts of which most is there.
        """
        if not self._known:
            return text
        kept: list[str] = []
        place = 0
        while (found := self._beginnings.search(text, place)) is not None:
            start = found.start()
            kept += text[place:start], "<secret>"
            place = start + max(_agreement(text, start, secret) for secret in self._known)
        return "".join(kept) + text[place:]


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text as `Secrets` shows it."""
    return Secrets(secrets).taken_out_of(text)


def _agreement(text: str, start: int, secret: str) -> int:
    """How many characters of the secret stand in the text from `start` on; 0 where too few to tell."""
    pairs = zip(text[start : start + len(secret)], secret, strict=False)
    agreed = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return agreed if agreed >= min(_TELLING, len(secret)) else 0
