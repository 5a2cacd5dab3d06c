"""
What the certificates of a peer say.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from OpenSSL import crypto
from service_identity.hazmat import DNSPattern, IPAddressPattern

from mailproxy.doctor.steps import Fact
from mailproxy.observe.text import printable
from mailproxy.tls.names import host_patterns

SOON_DAYS = 14
"""A certificate that ends within so many days is worth a note."""

MAX_NAMES = 50


class Seen:
    """The certificates of one handshake, as they were judged; a `tls.Witness`."""

    def __init__(self) -> None:
        self._by_depth: dict[int, x509.Certificate] = {}

    def __call__(self, certificate: crypto.X509, depth: int) -> None:  # noqa: D102 - `tls.Witness`
        self._by_depth[depth] = certificate.to_cryptography()

    def facts(self) -> dict[str, Fact]:
        """The peer's own certificate, or else the one that was refused, and the chain above it."""
        if not self._by_depth:
            return {}
        chain = [self._by_depth[depth] for depth in sorted(self._by_depth)]
        names = _names(chain[0])
        facts: dict[str, Fact] = {"names": names} if names else {}
        return {**facts, **_about(chain[0]), "chain": [_subject(each) for each in chain]}

    def days_left(self, now: datetime) -> int | None:
        """How long all of them hold; None where none was seen."""
        ends = [each.not_valid_after_utc for each in self._by_depth.values()]
        return (min(ends) - now).days if ends else None


def _about(certificate: x509.Certificate) -> dict[str, Fact]:
    return {
        "issuer": printable(certificate.issuer.rfc4514_string(), 200),
        "valid_from": f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S UTC}",
        "valid_until": f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S UTC}",
    }


def _names(certificate: x509.Certificate) -> list[str]:
    """The hosts that it is for; none where that cannot be read."""
    try:
        patterns = host_patterns(certificate)[:MAX_NAMES]
    except Exception:  # noqa: BLE001 - several kinds; the judge has said in words what is wrong
        return []
    texts = (
        each.pattern.decode("ascii", "replace") if isinstance(each, DNSPattern) else str(each.pattern)
        for each in patterns
        if isinstance(each, (DNSPattern, IPAddressPattern))
    )
    return [printable(text, 200) for text in texts]


def _subject(certificate: x509.Certificate) -> str:
    return printable(certificate.subject.rfc4514_string(), 200)
