"""
SASL as a client: which mechanism, and what it says.

A mechanism lives for one login.  It speaks raw octets; base64 and the lines around it belong to the caller, who
sends `initial()` with the command or, when that is too long or secret for a command line, as the answer to an empty
first challenge; every other challenge goes to `respond`.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar, Final, Literal

from attrs import Attribute, define, field

from mailproxy.errors import MalformedChallenge

SecretKind = Literal["password", "token"]
_PASSWORD: Final = "password"  # noqa: S105 - names a kind, is no secret
_TOKEN: Final = "token"  # noqa: S105 - names the other kind, is no secret

CHALLENGE_OCTETS = 16384
UNEXPECTED_CHALLENGES = 2
REFUSAL_CHARACTERS = 64

# NUL separates in PLAIN, ^A in the token mechanisms, CR and LF everywhere; lone surrogates have no UTF-8.
_UNSENDABLE = re.compile("[\0\1\r\n\ud800-\udfff]")
_UNPRINTABLE = re.compile(r"[^ -~]")


def _sendable(_owner: object, attribute: Attribute[str], value: str) -> None:
    """A validator whose message never quotes the value."""
    if not value:
        raise ValueError(f"{attribute.name} is empty")
    if _UNSENDABLE.search(value):
        raise ValueError(f"{attribute.name} holds CR, LF, NUL, ^A or half a character, which cannot be sent")


@define
class Mechanism(ABC):
    """
    One login by one mechanism.

    `refusal` is what the server said about a refused token, in a challenge before its reply; None without one.

    Raises:
        ValueError: user or secret is empty or cannot be sent; the text names which, never the value.
    """

    name: ClassVar[str]
    secret_kind: ClassVar[SecretKind]

    user: str = field(validator=_sendable)
    secret: str = field(validator=_sendable, repr=False)
    refusal: str | None = field(default=None, init=False)
    _unexpected: int = field(default=0, init=False)

    @abstractmethod
    def initial(self) -> bytes | None:
        """What we say first; None when the server speaks first."""

    def respond(self, challenge: bytes) -> bytes:  # noqa: ARG002 - for those who have a use for it
        """
        The answer to a challenge: by default an empty one to one nobody expected.

        Raises:
            MalformedChallenge: there were too many of those.
        """
        self._unexpected += 1
        if self._unexpected > UNEXPECTED_CHALLENGES:
            raise MalformedChallenge(f"more than {UNEXPECTED_CHALLENGES} challenges that {self.name} does not know")
        return b""


class Plain(Mechanism):
    """RFC 4616; the authorization identity is left to the server."""

    name = "PLAIN"
    secret_kind = _PASSWORD

    def initial(self) -> bytes:
        """Everything at once."""
        return b"\0" + self.user.encode() + b"\0" + self.secret.encode()


@define
class LoginMechanism(Mechanism):
    """
    Two prompts, whose words vary and mean nothing.  No initial response: some servers misread one.

    Source: draft-murchison-sasl-login.
    """

    name = "LOGIN"
    secret_kind = _PASSWORD

    _prompts: int = field(default=0, init=False)

    def initial(self) -> None:
        """The server prompts."""

    def respond(self, challenge: bytes) -> bytes:
        """User, then password."""
        self._prompts += 1
        if self._prompts == 1:
            return self.user.encode()
        if self._prompts == 2:
            return self.secret.encode()
        return super().respond(challenge)


@define
class CramMD5(Mechanism):
    """RFC 2195; for servers that have nothing better, hence only by the destination's explicit word."""

    name = "CRAM-MD5"
    secret_kind = _PASSWORD

    _answered: bool = field(default=False, init=False)

    def initial(self) -> None:
        """The server sends a challenge."""

    def respond(self, challenge: bytes) -> bytes:
        """The challenge, keyed with the password."""
        if self._answered:
            return super().respond(challenge)
        self._answered = True
        digest = hmac.new(self.secret.encode(), challenge, hashlib.md5).hexdigest()
        return self.user.encode() + b" " + digest.encode()


@define
class _TokenMechanism(Mechanism):
    """After the token, a challenge is the server's refusal; it waits for one fixed answer before its reply."""

    secret_kind = _TOKEN
    acknowledgement: ClassVar[bytes]

    def respond(self, challenge: bytes) -> bytes:
        """Note why the token was refused, and let the server say so in its reply."""
        if self.refusal is not None:
            return super().respond(challenge)
        self.refusal = _status(challenge, self.secret)
        return self.acknowledgement


@define
class XOAuth2(_TokenMechanism):
    """
    Google's and Microsoft's token mechanism.

    Source: developers.google.com/gmail/imap/xoauth2-protocol (an error challenge is answered with an empty line).
    """

    name = "XOAUTH2"
    acknowledgement = b""

    def initial(self) -> bytes:
        """User and token."""
        return f"user={self.user}\1auth=Bearer {self.secret}\1\1".encode()


@define
class OAuthBearer(_TokenMechanism):
    """RFC 7628; an error challenge is answered with a single ^A (§3.2.3)."""

    name = "OAUTHBEARER"
    acknowledgement = b"\1"

    host: str = field(kw_only=True, validator=_sendable)
    port: int = field(kw_only=True)

    def initial(self) -> bytes:
        """User (as a GS2 header, RFC 5801 §4), server and token."""
        user = self.user.replace("=", "=3D").replace(",", "=2C")
        return f"n,a={user},\1host={self.host}\1port={self.port}\1auth=Bearer {self.secret}\1\1".encode()


# Within a kind in the order of preference.  A token goes by the mechanism that more servers know.
_MECHANISMS: dict[str, type[Mechanism]] = {
    mechanism.name: mechanism for mechanism in (XOAuth2, OAuthBearer, Plain, LoginMechanism, CramMD5)
}
_ONLY_WHEN_NAMED = frozenset({CramMD5.name})


def choose(
    offered: Iterable[str],
    *,
    secret_kind: SecretKind,
    allowed: Sequence[str] | None,
    disabled: Collection[str] = frozenset(),
) -> str | None:
    """
    The mechanism to log in with, or None when there is none in common.

    Args:
        offered: by the server, over TLS where that is required.
        secret_kind: a mechanism carries a password or a token, never the other.
        allowed: those the destination names, in its order; None for any but CRAM-MD5, the strongest first.
        disabled: never used.
    """
    common = {name.upper() for name in offered} - {name.upper() for name in disabled}
    if allowed is None:
        wanted = [name for name in _MECHANISMS if name not in _ONLY_WHEN_NAMED]
    else:
        wanted = [name.upper() for name in allowed if name.upper() in _MECHANISMS]
    fitting = (name for name in wanted if name in common and _MECHANISMS[name].secret_kind == secret_kind)
    return next(fitting, None)


def client(mechanism: str, user: str, secret: str, host: str, port: int) -> Mechanism:
    """
    A fresh mechanism for one login, by the name that `choose` gave.

    Raises:
        ValueError: user or secret is empty or cannot be sent; the text names which, never the value.
    """
    kind = _MECHANISMS[mechanism]
    more: dict[str, Any] = {"host": host, "port": port} if kind is OAuthBearer else {}
    return kind(user, secret, **more)


def decode_challenge(text: bytes, limit: int = CHALLENGE_OCTETS) -> bytes:
    """
    A challenge out of the text behind `334 ` or `+ `.

    Raises:
        MalformedChallenge: it is longer than `limit` octets, or no base64.
    """
    if len(text) > limit:
        raise MalformedChallenge(f"a challenge is longer than {limit} octets")
    try:
        return binascii.a2b_base64(text.strip(b" \t"), strict_mode=True)
    except binascii.Error:
        raise MalformedChallenge("a challenge is no base64") from None


def _status(challenge: bytes, secret: str) -> str:
    """Why a token was refused (RFC 7628 §3.2.2), fit for a log; "unspecified" without a usable word."""
    try:
        status = json.loads(challenge)["status"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "unspecified"
    if not isinstance(status, (str, int)) or not str(status) or secret in str(status):
        return "unspecified"
    return _UNPRINTABLE.sub("?", str(status))[:REFUSAL_CHARACTERS]
