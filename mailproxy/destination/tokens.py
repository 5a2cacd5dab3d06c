"""
OAuth2 access tokens by client credentials.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TypeGuard

from mailproxy.destination.http import Answer, Web
from mailproxy.destination.jsontext import peer_words
from mailproxy.destination.source import AccessToken
from mailproxy.destination.tokenrequest import TokenRequest
from mailproxy.errors import DestinationError, DestinationUnavailable, DestinationUnusable, TokenRefused

LEAD_SECONDS = 60.0
"""A token is renewed at the latest so long before it ends."""

_UNKNOWN_LIFETIME_SECONDS = 300.0
_LONGEST_LIFETIME_SECONDS = 24 * 3600.0
_MAX_TOKEN_OCTETS = 16 * 1024  # longer ones no mail server takes in one line

# RFC 6750 §2.1 b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_NUMBER = re.compile(r"\s*-?[0-9]{1,12}(?:\.[0-9]+)?\s*")
# Error codes that pass (RFC 6749 §4.1.2.1, RFC 8628 §3.5); all others need somebody to change something.
_PASSING_ERRORS = ("temporarily_unavailable", "server_error", "slow_down")


async def fetch_token(web: Web, request: TokenRequest) -> AccessToken:
    """
    A new token.

    Raises:
        TokenRefused: the service will not give one until somebody changes something.
        DestinationUnavailable: it gave none this time.
        DestinationUnusable: there is no token service at this URL.
    """
    # The life of a token counts from before the question, so that a slow answer prolongs none.
    asked_at = web.clock.seconds()
    answer = await web.ask_for_token(request.question)
    if answer.status in (404, 405, 410):
        raise DestinationUnusable("tokenServiceURL", f"{answer.place} answered with status {answer.status}")
    return parse_token_answer(answer, asked_at, request.secrets)


def parse_token_answer(answer: Answer, asked_at: float, secrets: Collection[str]) -> AccessToken:
    """
    The token in an answer.

    Args:
        answer: of a token service.
        asked_at: when it was asked, in seconds of the clock.
        secrets: what must not be quoted out of the answer.

    Raises:
        TokenRefused: it is a refusal, or no token.
        DestinationUnavailable: it is something else.

    Source: RFC 6749 §5.1 (a token), §5.2 (an error).
    """
    if answer.status in (400, 401, 403):
        raise _refusal(answer, secrets)
    if answer.status != 200:
        raise answer.unavailable()
    fields = answer.json_object()
    if not fields.get("access_token"):
        raise _refusal(answer, secrets)
    kind = fields.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        words = peer_words(kind, secrets=secrets, limit=40)
        raise TokenRefused(f"{answer.place} gave a token of type '{words}' instead of Bearer")
    value = fields["access_token"]
    if not is_token(value):
        raise TokenRefused(f"{answer.place} gave something that is no token")
    return AccessToken(value, asked_at + parse_lifetime(fields.get("expires_in")))


def usable_seconds(lifetime: float) -> float:
    """How long a token may be handed out: its life, less what a login may take."""
    return lifetime - min(30.0, lifetime / 10)


def is_token(value: object) -> TypeGuard[str]:
    """
    Whether it can be sent to a mail server as a token: nothing in it ends a field or a line.
    """
    return isinstance(value, str) and len(value) <= _MAX_TOKEN_OCTETS and _B64TOKEN.fullmatch(value) is not None


def parse_lifetime(value: object) -> float:
    """
    What `expires_in` says in seconds, be it a number or a text; nothing, or nonsense, means a short life.

    0: the token may be used by those who wait for it, and not kept.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _UNKNOWN_LIFETIME_SECONDS
    return float(min(max(value, 0), _LONGEST_LIFETIME_SECONDS))


def _refusal(answer: Answer, secrets: Collection[str]) -> DestinationError:
    """The error for an answer without a token, with what it says about why."""
    try:
        fields = answer.json_object()
    except DestinationUnavailable:
        fields = {}
    said = [fields.get("error"), fields.get("error_description")]
    words = ": ".join(peer_words(text, secrets=secrets) for text in said if isinstance(text, str) and text)
    how = "answered without a token" if answer.status == 200 else f"refused a token with status {answer.status}"
    sentence = f"{answer.place} {how}" + (f": {words}" if words else "")
    if fields.get("error") in _PASSING_ERRORS:
        return DestinationUnavailable(sentence, retry_after=answer.retry_after)
    return TokenRefused(sentence)
