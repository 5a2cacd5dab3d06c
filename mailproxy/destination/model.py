"""
What a destination is, once its properties were understood: where to connect, how, and as whom.

The keys of SAP and JavaMail (`mail.smtp.host`) end in `destination/properties.py`; nobody to the right of it
knows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from attrs import field, frozen


class MailProtocol(Enum):
    """What a listener and its destination speak."""

    SMTP = "smtp"
    POP3 = "pop3"


class TLSMode(Enum):
    """How a connection to the mail server comes to be encrypted."""

    IMPLICIT = "implicit"
    """TLS from the first octet (RFC 8314)."""
    REQUIRED = "required"
    """STARTTLS or STLS; without it there is no session."""
    OPPORTUNISTIC = "opportunistic"
    """STARTTLS or STLS when offered; only by the destination's explicit word."""
    NONE = "none"
    """Plaintext; only by the destination's explicit word."""


@frozen
class ClientIdentity:
    """A certificate chain and private key, both PEM, that we show as a TLS client."""

    certificate: bytes
    key: bytes = field(repr=False)


@frozen
class TLSSettings:
    """
    How the mail server's TLS is entered and judged.

    `minimum` and `maximum` are "TLSv1.2" or "TLSv1.3"; `maximum` None means the newest.  `check_name` False skips
    the host name, never the chain.
    """

    mode: TLSMode
    minimum: str = "TLSv1.2"
    maximum: str | None = None
    check_name: bool = True


@frozen
class Timeouts:
    """Seconds, as the destination says; None where it says nothing."""

    connect: float | None = None
    read: float | None = None
    write: float | None = None


@frozen
class Destination:
    """
    A mail server and the way to log in there.

    `mechanisms` is None for "the strongest common one", else the allowed ones, in order, upper case.  `disabled`
    mechanisms are never used.  `login` False means that no login is wanted.  `ignored` names the properties
    without effect, for the log.
    """

    name: str
    protocol: MailProtocol
    host: str
    port: int
    tls: TLSSettings
    login: bool
    mechanisms: tuple[str, ...] | None = None
    disabled: frozenset[str] = frozenset()
    ehlo_name: str | None = None
    ask_capabilities: bool = True
    timeouts: Timeouts = Timeouts()
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@frozen
class Password:
    """A user and a password."""

    user: str
    password: str = field(repr=False)

    @property
    def secret(self) -> str:
        """What must appear in no output."""
        return self.password


@frozen
class Token:
    """A user and an OAuth2 access token; `expires_at` is in seconds of the clock that fetched it."""

    user: str
    token: str = field(repr=False)
    expires_at: float

    @property
    def secret(self) -> str:
        """What must appear in no output."""
        return self.token


Credentials = Password | Token


@frozen
class Login:
    """Where to log in, and as whom; `credentials` is None where the destination wants no login."""

    destination: Destination
    credentials: Credentials | None


class LoginSource(Protocol):
    """
    Hands out logins for one destination of one tenant.

    Both methods raise a `DestinationError`.
    """

    async def login(self) -> Login:
        """The current destination with credentials that are valid now."""

    async def replace(self, refused: Login) -> Login | None:
        """
        A login to try once after the mail server refused this one; None when there is nothing new to try.

        A token is dropped from the cache only if the cache still holds this very one.  A password is never
        replaced: each try counts towards locking the account.
        """


Properties = Mapping[str, str]
