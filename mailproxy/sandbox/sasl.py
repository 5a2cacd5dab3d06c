"""
The server's half of SASL: PLAIN, LOGIN, XOAUTH2, OAUTHBEARER.

Each mechanism is a generator: it yields challenges, is sent responses, and returns the user, or None for "refused".

Source: RFC 4616 (PLAIN), RFC 7628 (OAUTHBEARER), RFC 4954 §4 and RFC 5034 §4 (how responses travel).
"""

from __future__ import annotations

import binascii
import json
from base64 import b64encode
from collections.abc import Callable, Generator

from mailproxy.sandbox.mailboxes import Mailboxes

Mechanism = Generator[bytes, bytes, str | None]


class Malformed(Exception):
    """A response that is not base64, or not what the mechanism wants."""


class Cancelled(Exception):
    """The client has sent `*`."""


class Exchange:
    """
    One AUTH exchange.

    `start` and `answer` return the next challenge in base64, or None when it is over; then `user` is set if the
    login succeeded.

    Raises (both): Malformed, Cancelled; the exchange is over then, too.
    """

    def __init__(self, mailboxes: Mailboxes, mechanism: bytes) -> None:
        self.mechanism = mechanism.decode()
        self.user: str | None = None
        self._begin = MECHANISMS[mechanism]
        self._mailboxes = mailboxes
        self._steps: Mechanism

    def start(self, initial: bytes | None) -> bytes | None:
        """Begin; `initial` is the initial response as it came, in base64, `=` for an empty one."""
        decoded = None if initial is None else b"" if initial == b"=" else _decode(initial)
        self._steps = self._begin(self._mailboxes, decoded)
        return self._run(lambda: next(self._steps))

    def answer(self, response: bytes) -> bytes | None:
        """Go on with a response, as it came."""
        if response == b"*":
            raise Cancelled
        decoded = _decode(response)
        return self._run(lambda: self._steps.send(decoded))

    def _run(self, step: Callable[[], bytes]) -> bytes | None:
        try:
            return b64encode(step())
        except StopIteration as end:
            self.user = end.value
            return None


def _decode(response: bytes) -> bytes:
    try:
        return binascii.a2b_base64(response, strict_mode=True) if response else b""
    except binascii.Error:
        raise Malformed from None


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise Malformed from None


def _plain(mailboxes: Mailboxes, initial: bytes | None) -> Mechanism:
    response = (yield b"") if initial is None else initial
    parts = _text(response).split("\0")
    if len(parts) != 3:
        raise Malformed
    authorization, user, password = parts
    allowed = authorization in {"", user} and mailboxes.accepts_password(user, password)
    return user if allowed else None


def _login(mailboxes: Mailboxes, initial: bytes | None) -> Mechanism:
    user = _text((yield b"Username:") if initial is None else initial)
    password = _text((yield b"Password:"))
    return user if mailboxes.accepts_password(user, password) else None


def _xoauth2(mailboxes: Mailboxes, initial: bytes | None) -> Mechanism:
    response = (yield b"") if initial is None else initial
    pairs = _pairs(response)
    user = _text(pairs.get(b"user", b""))
    if mailboxes.accepts_token(user, _bearer(pairs)):
        return user
    yield json.dumps({"status": "401", "schemes": "bearer", "scope": "mail"}).encode()
    return None


def _oauthbearer(mailboxes: Mailboxes, initial: bytes | None) -> Mechanism:
    response = (yield b"") if initial is None else initial
    header, _, rest = response.partition(b"\x01")
    flags = header.split(b",")
    if len(flags) != 3 or flags[0] != b"n" or flags[2]:
        raise Malformed
    user = _text(flags[1].removeprefix(b"a=").replace(b"=2C", b",").replace(b"=3D", b"="))
    if mailboxes.accepts_token(user, _bearer(_pairs(rest))):
        return user
    yield json.dumps({"status": "invalid_token", "scope": "mail"}).encode()
    return None


def _pairs(octets: bytes) -> dict[bytes, bytes]:
    """The `key=value` pairs, each ended by ^A, the whole by one more."""
    if not octets.endswith(b"\x01\x01"):
        raise Malformed
    return {key: value for key, _, value in (pair.partition(b"=") for pair in octets[:-2].split(b"\x01"))}


def _bearer(pairs: dict[bytes, bytes]) -> str:
    scheme, _, token = pairs.get(b"auth", b"").partition(b" ")
    if scheme.lower() != b"bearer":
        raise Malformed
    return _text(token)


MECHANISMS: dict[bytes, Callable[[Mailboxes, bytes | None], Mechanism]] = {
    b"PLAIN": _plain,
    b"LOGIN": _login,
    b"XOAUTH2": _xoauth2,
    b"OAUTHBEARER": _oauthbearer,
}
