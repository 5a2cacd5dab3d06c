"""
What a mail server said, fit for an operator's eyes: it may quote back what it was sent.
"""

from __future__ import annotations

from base64 import b64encode

from mailproxy.destination.model import Credentials
from mailproxy.observe.text import printable, without_secrets


def quoted(text: bytes, credentials: Credentials | None) -> str:
    """The words of a mail server, escaped and bounded, without the credentials in any form they were sent in."""
    words = text.decode("utf-8", "replace")
    if credentials is not None:
        words = without_secrets(words, _forms(credentials))
    return printable(words)


def _forms(credentials: Credentials) -> list[str]:
    """
    A secret as it is, and as base64 shows it behind anything: of three alignments one is in every encoding.
    """
    secret = credentials.secret.encode("utf-8", "surrogatepass")
    whole = [b64encode(b"\0" * shift + secret).decode("ascii") for shift in range(3)]
    cores = [text[(0, 2, 3)[shift] :].rstrip("=")[:-1] for shift, text in enumerate(whole)]
    return [credentials.secret, *(core for core in cores if len(core) >= 4)]
