"""
What a mail server said, fit for others' eyes: it may quote back what it was sent.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from weakref import WeakKeyDictionary

from attrs import frozen

from mailproxy.destination.model import Credentials
from mailproxy.observe.text import Secrets, printable
from mailproxy.wire.sasl import Mechanism

SHORTEST_CONCEALED = 8
"""A shorter secret may be a common word, and to take that out of a reply would tell what the secret is."""


@frozen(eq=False)
class Words:
    """
    What a mail server said: `quoted` makes it fit for the log, `concealed` for its client, octet for octet.

    Both take the credentials out, in any form they were sent in.
    """

    quoted: Callable[[bytes], str]
    concealed: Callable[[bytes], bytes]


def words_of(credentials: Credentials | None) -> Words:
    """All connections with the same credentials have the same one, which goes when they do."""
    if credentials is None:
        return _WITHOUT_CREDENTIALS
    words = _words.get(credentials)
    if words is None:
        words = _words[credentials] = Words(quoter(credentials), concealer(credentials))
    return words


def quoter(credentials: Credentials | None) -> Callable[[bytes], str]:
    """What makes the words of a mail server fit for the log."""
    secrets = Secrets([] if credentials is None else _forms(credentials))
    return lambda text: printable(secrets.taken_out_of(text.decode("utf-8", "replace")))


def quoted(text: bytes, credentials: Credentials | None) -> str:
    """The words of a mail server, escaped and bounded, without the credentials in any form they were sent in."""
    return words_of(credentials).quoted(text)


def concealer(credentials: Credentials | None) -> Callable[[bytes], bytes]:
    """
    What makes the words of a mail server fit for its client: octet for octet, but without the credentials in any form.
    """
    if credentials is None or len(credentials.secret) < SHORTEST_CONCEALED:
        return bytes
    secrets = Secrets(form.encode("utf-8", "surrogatepass").decode("latin-1") for form in _forms(credentials))
    return lambda text: secrets.taken_out_of(text.decode("latin-1")).encode("latin-1")


def login_refused(mechanism: Mechanism, said: str) -> str:
    """Who was refused, with what was said about it, before the reply and in it."""
    why = f" (token refused: {mechanism.refusal})" if mechanism.refusal else ""
    return f"the mail server refused the login of {printable(mechanism.user)}: {said}{why}"


def _forms(credentials: Credentials) -> list[str]:
    """
    A secret as it is, and as base64 shows it behind anything: of three alignments one is in every encoding.
    """
    secret = credentials.secret.encode("utf-8", "surrogatepass")
    whole = [b64encode(b"\0" * shift + secret).decode("ascii") for shift in range(3)]
    cores = [text[(0, 2, 3)[shift] :].rstrip("=")[:-1] for shift, text in enumerate(whole)]
    return [credentials.secret, *(core for core in cores if len(core) >= 4)]


_WITHOUT_CREDENTIALS = Words(quoter(None), concealer(None))
_words: WeakKeyDictionary[Credentials, Words] = WeakKeyDictionary()
