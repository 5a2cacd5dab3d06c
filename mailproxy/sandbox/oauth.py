"""
Token endpoints for the client-credentials grant: requests in, status and JSON out.

Source: RFC 6749 §2.3.1, §4.4, §5.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from attrs import field, frozen

from mailproxy.sandbox.tokens import TokenBook

Answer = tuple[int, dict[str, Any]]
"""HTTP status and JSON object."""

LIFETIME_SECONDS = 43199
"""What the real service tokens have."""


@frozen
class Client:
    """Who may ask for tokens, and whose they are."""

    client_id: str
    secret: str = field(repr=False)
    subject: str = ""


@frozen
class Request:
    """A token request: the form, and what an `Authorization: Basic` header said."""

    form: Mapping[str, str] = field(repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def read(cls, form: Mapping[str, str], authorization: str | None) -> Request:
        """From the form and the Authorization header as they came."""
        scheme, _, encoded = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return cls(form)
        try:
            name, _, secret = b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return cls(form, ("", ""))
        return cls(form, (unquote_plus(name), unquote_plus(secret)))

    @property
    def credentials(self) -> tuple[str, str]:
        """Client id and secret, wherever they stood; the header wins."""
        return self.basic or (self.form.get("client_id", ""), self.form.get("client_secret", ""))


@frozen
class TokenEndpoint:
    """
    Gives each client tokens of its subject.

    `claims` go into every token; `lifetime_seconds` is what `expires_in` says.
    """

    tokens: TokenBook
    clients: Mapping[str, Client]
    lifetime_seconds: int = LIFETIME_SECONDS

    def client(self, client_id: str, secret: str) -> Client | None:
        """The client with these credentials."""
        client = self.clients.get(client_id)
        if client is None or not hmac.compare_digest(client.secret.encode(), secret.encode()):
            return None
        return client

    def answer(self, request: Request, subject: str | None = None, **claims: object) -> Answer:
        """A token for the client's subject, or for the one given; or why not."""
        grant = request.form.get("grant_type")
        if grant is None:
            return _error(400, "invalid_request", "Missing grant type")
        if grant != "client_credentials":
            return _error(400, "unsupported_grant_type", f"Unsupported grant type: {grant[:40]}")
        client = self.client(*request.credentials)
        if client is None:
            return _error(401, "invalid_client", "Bad credentials")
        token = self.tokens.issue(subject or client.subject, self.lifetime_seconds, cid=client.client_id, **claims)
        answer: dict[str, Any] = {"access_token": token, "token_type": "bearer", "expires_in": self.lifetime_seconds}
        return 200, answer | ({"scope": scope} if (scope := request.form.get("scope")) else {})


def _error(status: int, code: str, description: str) -> Answer:
    return status, {"error": code, "error_description": description}
