"""
Certificates and private keys out of PEM; no complaint holds anything of a key.
"""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_KEY = re.compile(rb"-----BEGIN ((?:[A-Z0-9]+ )?PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """
    Every certificate; other blocks are passed over.

    Raises:
        ValueError: there is none, or one is broken.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ValueError("no certificate in PEM form, or a broken one") from error


def load_key(pem: bytes) -> PrivateKey:
    """
    The first private key; other blocks are passed over.

    Raises:
        ValueError: there is none, it is encrypted, broken, or of a kind that we do not use.
    """
    found = _KEY.search(pem)
    if found is None:
        raise ValueError("no private key in PEM form")
    if b"ENCRYPTED" in found[0]:
        raise ValueError("the private key is encrypted, and nobody is here to type its password")
    try:
        key = load_pem_private_key(found[0], password=None)
    except Exception:  # noqa: BLE001 - cryptography has many kinds
        # The cause is dropped on purpose: nobody promises that it does not quote the key.
        raise ValueError("the private key is broken") from None
    if not isinstance(key, PrivateKey):
        raise ValueError("the private key is neither RSA, ECDSA nor Ed25519")  # noqa: TRY004 - the file's fault
    return key
