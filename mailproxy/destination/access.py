"""
As whom a destination wants us to log in, as far as its properties say.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from mailproxy.destination.jsontext import peer_words
from mailproxy.destination.model import Password
from mailproxy.destination.reader import PropertyReader
from mailproxy.errors import DestinationUnusable


class Authentication(Enum):
    """The kinds of `Authentication` that lead to a login, or to none."""

    NONE = "NoAuthentication"
    PASSWORD = "BasicAuthentication"  # noqa: S105 - the name of a kind, no password
    TOKEN = "OAuth2ClientCredentials"  # noqa: S105 - the name of a kind, no token


@frozen
class TokenLogin:
    """Log in as this user with an access token, which has to be fetched."""

    user: str


Access = Password | TokenLogin | None
"""None where no login is wanted."""

_NOT_YET = ("OAuth2RefreshToken", "OAuth2AuthorizationCode")


def read_authentication(reader: PropertyReader) -> Authentication:
    """
    What the property `Authentication` says.

    Raises:
        DestinationUnusable: it is missing, or a kind that does not work here.
    """
    value = reader.required("Authentication")
    try:
        return Authentication(value)
    except ValueError:
        when = "not supported yet" if value in _NOT_YET else "not supported for mail"
        raise DestinationUnusable("Authentication", f"'{peer_words(value, limit=60)}' is {when}") from None


def read_access(reader: PropertyReader, prefix: str) -> Access:
    """
    As whom to log in.

    Args:
        reader: of the destination's properties.
        prefix: of the properties of its protocol, as `mail.smtp`.

    Raises:
        DestinationUnusable: user or password is missing, or holds what cannot be sent.
    """
    kind = read_authentication(reader)
    wanted = reader.flag(f"{prefix}.auth")
    user = reader.secret("mail.user") or reader.secret(f"{prefix}.user")
    reader.touch("mail.user", "mail.password", f"{prefix}.user")
    if kind is Authentication.NONE or wanted is False:
        return None
    if user is None:
        raise DestinationUnusable("mail.user", "is missing")
    if kind is Authentication.TOKEN:
        return TokenLogin(user)
    password = reader.secret("mail.password")
    if password is None:
        raise DestinationUnusable("mail.password", "is missing")
    return Password(user, password)
