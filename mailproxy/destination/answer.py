"""
What the Destination service says about a destination.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from attrs import field, frozen

from mailproxy.destination.http import Answer
from mailproxy.destination.jsontext import peer_words
from mailproxy.destination.source import AccessToken, Reference, Tenant
from mailproxy.destination.tokens import is_token, parse_lifetime
from mailproxy.errors import DestinationError, DestinationUnavailable, TokenRefused

# Words by which a token service says that trying again changes nothing (RFC 6749 §5.2), as they are quoted.
_REFUSED = re.compile(
    r"invalid_client|invalid_grant|invalid_scope|unauthorized|unsupported_grant_type|access_denied|bad credentials",
    re.IGNORECASE,
)


@frozen
class DestinationAnswer:
    """
    The parts of an answer.

    `token_error` says why there is no token although the destination wants one.
    """

    properties: Mapping[str, object] = field(repr=False)
    token: AccessToken | None = None
    token_error: DestinationError | None = None

    @property
    def wants_token(self) -> bool:
        """Whether the login is one by token."""
        return self.properties.get("Authentication") == "OAuth2ClientCredentials"

    @property
    def token_for_tenant(self) -> bool:
        """Whether the token depends on the tenant, who has to be named for it."""
        return self.wants_token and self.properties.get("tokenServiceURLType") == "Common"


def parse_destination_answer(
    answer: Answer, asked_at: float, reference: Reference, tenant: Tenant
) -> DestinationAnswer:
    """
    The destination and its token.

    Args:
        answer: with status 200.
        asked_at: when the service was asked, in seconds of the clock.
        reference: what it was asked for.
        tenant: for whom.

    Raises:
        DestinationUnavailable: it is no such answer, or one about something else.
    """
    fields = answer.json_object()
    properties = fields.get("destinationConfiguration")
    if not isinstance(properties, dict):
        raise DestinationUnavailable(f"{answer.place} answered without a destination")
    name = properties.setdefault("Name", reference.name)
    if not isinstance(name, str) or name.casefold() != reference.name.casefold():
        raise DestinationUnavailable(f"{answer.place} answered about '{peer_words(name)}', not about {reference.name}")
    _check_owner(answer.place, fields.get("owner"), reference, tenant)
    found = DestinationAnswer(properties)
    if not found.wants_token:
        return found
    token, error = _parse_tokens(answer.place, fields.get("authTokens"), asked_at, _secrets(properties))
    return DestinationAnswer(properties, token, error)


def _check_owner(place: str, owner: object, reference: Reference, tenant: Tenant) -> None:
    """
    The answer is about this tenant's destination, as far as both sides say whose it is.

    Raises:
        DestinationUnavailable: it is another's.
    """
    if not isinstance(owner, dict) or tenant.id is None or (reference.level or "").startswith("provider_"):
        return
    subaccount = owner.get("SubaccountId")
    if subaccount is not None and subaccount != tenant.id:
        words = peer_words(subaccount, limit=60)
        raise DestinationUnavailable(f"{place} answered with a destination of {words}, not of tenant {tenant.id}")


def _parse_tokens(
    place: str, entries: object, asked_at: float, secrets: Collection[str]
) -> tuple[AccessToken | None, DestinationError | None]:
    """The token, or why there is none: a failure to get one comes with status 200."""
    entry = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], dict) else {}
    if entry.get("error"):
        words = peer_words(entry["error"], secrets=secrets)
        refused = _REFUSED.search(str(entry["error"])) is not None
        return None, (TokenRefused if refused else DestinationUnavailable)(f"{place} got no token: {words}")
    value = _find_token(entry)
    if value is None:
        return None, TokenRefused(f"{place} answered without a Bearer token")
    return AccessToken(value, asked_at + parse_lifetime(entry.get("expires_in"))), None


def _find_token(entry: Mapping[str, object]) -> str | None:
    """
    The token itself: what the ready-made header holds, else the value.

    The header comes first, since it is what the service means to be sent; one description of the interface calls
    the value an encoded form of the token.
    """
    kind = entry.get("type")
    if kind and (not isinstance(kind, str) or kind.lower() != "bearer"):
        return None
    header = entry.get("http_header")
    text = header.get("value") if isinstance(header, dict) else None
    scheme, _, sent = text.partition(" ") if isinstance(text, str) else ("", "", "")
    if scheme.lower() == "bearer" and is_token(sent.strip()):
        return sent.strip()
    value = entry.get("value")
    return value if kind and is_token(value) else None


def _secrets(properties: Mapping[str, object]) -> tuple[str, ...]:
    keys = ("clientSecret", "mail.password", "tokenServicePassword", "tokenService.KeyStorePassword")
    return tuple(value for key in keys if isinstance(value := properties.get(key), str))
