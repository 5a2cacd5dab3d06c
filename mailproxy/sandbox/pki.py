"""
Throw-away certificates: an authority, its subordinates, and what they issue.

Everything is EC P-256 and lives for a month; keys are written unencrypted.  Certificates that no sane authority would
issue can be made too: tests need them.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_BACKDATED = dt.timedelta(hours=1)
_LIFETIME = dt.timedelta(days=30)


@frozen
class Issued:
    """A certificate for a server or a client, its private key (PKCS #8), and the chain above it."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    chain_pem: bytes
    """The certificate first, then every subordinate authority; the root is left out."""

    def write(self, directory: Path, stem: str) -> tuple[Path, Path]:
        """`STEM.pem` (with the chain) and `STEM.key` stand in the directory; their paths."""
        certificate, key = directory / f"{stem}.pem", directory / f"{stem}.key"
        certificate.write_bytes(self.chain_pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)
        return certificate, key


@frozen
class Authority:
    """A certificate authority with its private key in memory."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    above: bytes = b""
    """PEM of this authority and those above it but for the root: what an issued chain carries."""

    @classmethod
    def create(
        cls,
        common_name: str = "mailproxy throw-away CA",
        *,
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> Self:
        """A new self-signed authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        builder = _as_authority(_begin(name, name, key, not_before, not_after), path_length=None)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @property
    def certificate_pem(self) -> bytes:
        """What clients have to trust."""
        return self.certificate.public_bytes(Encoding.PEM)

    def write(self, path: Path) -> Path:
        """The certificate, without the key, stands at `path`."""
        path.write_bytes(self.certificate_pem)
        return path

    def subordinate(self, common_name: str = "mailproxy throw-away intermediate CA") -> Authority:
        """An authority that this one vouches for; its certificate comes along in `Issued.chain_pem`."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _begin(_name(common_name), self.certificate.subject, key, None, None)
        certificate = self._sign(_as_authority(builder, path_length=0))
        return Authority(certificate, key, certificate.public_bytes(Encoding.PEM) + self.above)

    def issue(
        self,
        *names: str,
        sans: Sequence[x509.GeneralName] | None = None,
        common_name: str | None = None,
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
        client: bool = False,
    ) -> Issued:
        """
        A certificate for a server, or for a client only.

        Args:
            names: DNS names and IP literals for subjectAltName.
            sans: entries to use as they are instead of `names`; empty means no subjectAltName at all.
            common_name: the subject; by default the first name.
            not_before: by default an hour ago.
            not_after: by default in 30 days.
            client: the certificate is good for clients, and for nothing else.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(common_name or (names[0] if names else "mailproxy throw-away"))
        builder = _begin(subject, self.certificate.subject, key, not_before, not_after)
        entries = [_general_name(name) for name in names] if sans is None else list(sans)
        if entries:
            builder = builder.add_extension(x509.SubjectAlternativeName(entries), False)
        certificate = self._sign(_as_leaf(builder, client=client)).public_bytes(Encoding.PEM)
        return Issued(certificate, _key_pem(key), certificate + self.above)

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return builder.add_extension(issuer, False).sign(self.key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    not_before: dt.datetime | None,
    not_after: dt.datetime | None,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before or now - _BACKDATED)
        .not_valid_after(not_after or now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _as_authority(builder: x509.CertificateBuilder, *, path_length: int | None) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), True).add_extension(
        _usage(signs_certificates=True), True
    )


def _as_leaf(builder: x509.CertificateBuilder, *, client: bool) -> x509.CertificateBuilder:
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(_usage(signs_certificates=False), True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
