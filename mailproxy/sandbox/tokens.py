"""
Bearer tokens that look like the real ones (a signed JWT) and are checked by looking them up.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable

from attrs import define, field


@define
class TokenBook:
    """
    Which tokens are good, whose they are, and until when.

    `now` is a clock in seconds since the epoch.
    """

    now: Callable[[], float]
    _good: dict[str, tuple[str, float]] = field(factory=dict, repr=False)
    _key: bytes = field(factory=lambda: secrets.token_bytes(32), repr=False)

    def issue(self, subject: str, lifetime_seconds: float, **claims: object) -> str:
        """A new token that is the subject's for so long; the claims are for the curious, nobody here reads them."""
        now = self.now()
        times = {"iat": int(now), "exp": int(now + lifetime_seconds), "jti": secrets.token_hex(16)}
        token = self._signed({"sub": subject, **claims, **times})
        self.accept(token, subject, now + lifetime_seconds)
        return token

    def accept(self, token: str, subject: str, expires_at: float) -> None:
        """This token, whatever it looks like, is the subject's from now on; expired ones are forgotten."""
        now = self.now()
        self._good = {known: entry for known, entry in self._good.items() if entry[1] > now}
        self._good[token] = (subject, expires_at)

    def revoke_all(self) -> None:
        """No token issued so far is good any more."""
        self._good.clear()

    def subject(self, token: str) -> str | None:
        """Whose token it is; None when it is unknown, revoked or expired."""
        subject, expires_at = self._good.get(token, ("", 0.0))
        return subject if expires_at > self.now() else None

    def _signed(self, claims: dict[str, object]) -> str:
        parts = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return f"{parts}.{_base64(hmac.digest(self._key, parts.encode(), hashlib.sha256))}"


def _base64(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
