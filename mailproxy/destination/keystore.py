"""
Client certificates out of key stores, as a destination or its service hands them over.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from mailproxy.destination.model import ClientIdentity

_PKCS12 = (".p12", ".pfx")
_PEM = (".pem", ".crt", ".cer")


def load_identity(name: str, content: bytes, password: str | None) -> ClientIdentity:
    """
    The certificate, its chain and its private key.

    Args:
        name: of the store; its ending tells the form.
        content: the store itself.
        password: what it is encrypted with, if it is.

    Raises:
        ValueError: the form is not supported, the password is wrong, or something is missing.  The text holds
            nothing out of the store.
    """
    ending = name[name.rfind(".") :].lower()
    if ending not in (*_PKCS12, *_PEM):
        raise ValueError(f"must end in {', '.join((*_PKCS12, *_PEM))}")
    octets = password.encode() if password else None
    try:
        key, certificates = _load_pkcs12(content, octets) if ending in _PKCS12 else _load_pem(content, octets)
        fits = bool(certificates) and key is not None and certificates[0].public_key() == key.public_key()
    except Exception:  # noqa: BLE001 - cryptography has many kinds
        # The cause is dropped on purpose: nobody promises that it does not quote the store.
        raise ValueError("cannot be read: it is damaged, or its password is missing or wrong") from None
    if key is None or not certificates:
        raise ValueError("holds no private key" if certificates else "holds no certificate")
    if not fits:
        raise ValueError("holds a private key that does not fit its first certificate")
    return ClientIdentity(
        b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


_Store = tuple[PrivateKeyTypes | None, Sequence[x509.Certificate]]


def _load_pkcs12(content: bytes, password: bytes | None) -> _Store:
    key, certificate, others = pkcs12.load_key_and_certificates(content, password)
    return key, [certificate, *others] if certificate is not None else []


def _load_pem(content: bytes, password: bytes | None) -> _Store:
    certificates = x509.load_pem_x509_certificates(content) if b"BEGIN CERTIFICATE" in content else []
    start = content.find(b"-----BEGIN ")
    while start >= 0 and b"PRIVATE KEY-----" not in content[start : content.find(b"\n", start)]:
        start = content.find(b"-----BEGIN ", start + 1)
    if start < 0:
        return None, certificates
    encrypted = b"ENCRYPTED" in content[start : start + 200]
    return load_pem_private_key(content[start:], password if encrypted else None), certificates
