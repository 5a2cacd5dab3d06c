"""
Secrets, in every form in which they might get out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from tests.support.accounts import ACCOUNTS
from tests.support.cloud import SERVICE_SECRET, MailClient

SECRETS = (
    SERVICE_SECRET,
    *(account.password for account in ACCOUNTS),
    *(MailClient.of(account).secret for account in ACCOUNTS),
)

_TOKEN_BEGINNING = base64.urlsafe_b64encode(b'{"alg"')[:8].decode()
"""Of every JSON Web Token."""


def leaked(text: str, secrets: Iterable[str] = SECRETS) -> list[str]:
    """The forms of the secrets, and the beginnings of tokens, that are in the text."""
    forms = {form for secret in secrets for form in _forms(secret)} | {_TOKEN_BEGINNING}
    return sorted(form for form in forms if form in text)


def _forms(secret: str) -> Iterable[str]:
    yield from (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], secret.encode().hex())
    for before in range(3):
        # In base64 a secret looks in three ways, as it begins at one, two or no octets behind a multiple of three.
        encoded = base64.b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        yield encoded[-(-before * 4 // 3) : -1]
