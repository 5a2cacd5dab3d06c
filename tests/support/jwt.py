"""
Access tokens as a mail server checks them: JSON Web Tokens signed with HS256 (RFC 7519, RFC 7515).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time


def issue_token(key: bytes, subject: str, *, lifetime: float = 3600, scope: str = "mail") -> str:
    """
    A token for `subject` that begins to be valid a minute ago and ends in `lifetime` seconds.

    A negative lifetime makes a token that has ended.
    """
    now = int(time.time())
    claims = {
        "sub": subject,
        "scope": scope,
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + int(lifetime),
    }
    signed = b".".join(_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = _encode(hmac.new(key, signed, hashlib.sha256).digest())
    return (signed + b"." + signature).decode()


def _encode(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
