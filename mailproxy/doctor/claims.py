"""
What an access token says about itself; never the token.

A token that is a JWT can be read by anybody who holds it.  What it claims is only shown: nobody here believes it, and
nothing is decided by it (RFC 7519 §4; RFC 9068 §2.2).
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode
from datetime import UTC, datetime

from mailproxy.doctor.steps import Fact
from mailproxy.observe.text import printable

MAX_ENTRIES = 50
MAX_CHARACTERS = 200

_NAMES = {
    "audience": ("aud",),
    "scope": ("scp", "scope"),
    "roles": ("roles", "authorities"),
    "issuer": ("iss",),
}


def facts_of_token(token: str, lifetime: float) -> dict[str, Fact]:
    """
    Kind, audience, scope, roles, issuer and end of a token, as far as it says them.

    `lifetime` is how many seconds it is good for by what the token service said.
    """
    facts: dict[str, Fact] = {"seconds_left": round(lifetime)}
    claims = _claims(token)
    if claims is None:
        return {"kind": "opaque", **facts}
    facts["kind"] = "JWT"
    for fact, names in _NAMES.items():
        value = next((claims[name] for name in names if claims.get(name)), None)
        words = _words(value)
        if words:
            facts[fact] = words
    ends = claims.get("exp")
    if isinstance(ends, (int, float)) and not isinstance(ends, bool) and 0 < ends < 2**40:
        facts["expires"] = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return facts


def _claims(token: str) -> dict[str, object] | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        octets = urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        value = json.loads(octets)
    except (ValueError, binascii.Error, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _words(value: object) -> list[str]:
    """A claim as a list of texts: some are one text with blanks, some are lists."""
    entries = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [printable(entry, MAX_CHARACTERS) for entry in entries[:MAX_ENTRIES] if isinstance(entry, str)]
