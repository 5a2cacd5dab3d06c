"""
Words of a peer, made fit for an operator's eyes.
"""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: bytes | str, limit: int = 256) -> str:
    r"""
    One line of printable text: control octets and everything beyond ASCII escaped (`\x1b`), cut at `limit`.
    """
    octets = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
    clean = "".join(
        chr(octet) if 0x20 <= octet < 0x7F and octet != 0x5C else f"\\x{octet:02x}" for octet in octets[:limit]
    )
    return clean + "..." if len(octets) > limit else clean


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """
    The text with every one of the secrets replaced: a peer may quote back what it was sent.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "<secret>")
    return text
