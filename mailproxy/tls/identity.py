"""
What a server shows of itself: a certificate with its chain, the key that fits, and the names it is good for.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from attrs import field, frozen
from cryptography import x509
from OpenSSL import SSL
from twisted.logger import Logger

from mailproxy.config.values import CertificateConfig
from mailproxy.destination.files import read_small
from mailproxy.errors import ConfigError
from mailproxy.observe.text import printable
from mailproxy.tls.pem import PrivateKey, load_certificates, load_key
from mailproxy.tls.words import openssl_reason

T = TypeVar("T")

_log = Logger(namespace="mailproxy.tls")

_NAME = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


@frozen
class ServerIdentity:
    """
    A certificate and its key.

    `names` are what a client may ask for, in lower case; `*.` stands for one label.
    """

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)
    names: frozenset[bytes]

    @property
    def expires_at(self) -> float:
        """When it ends, in seconds since 1970."""
        return self.certificate.not_valid_after_utc.timestamp()

    def load_into(self, context: SSL.Context) -> None:
        """
        The context shows this certificate with its chain.

        Raises:
            ValueError: OpenSSL will not have it, for a key too weak, say.
        """
        try:
            context.use_certificate(self.certificate)
            context.use_privatekey(self.key)
        except SSL.Error as error:
            raise ValueError(f"OpenSSL does not take it: {openssl_reason(error)}") from None
        for certificate in self.chain:
            context.add_extra_chain_cert(certificate)


def read_identity(files: CertificateConfig, where: str, *, is_default: bool) -> ServerIdentity:
    """
    The identity in these files.

    Args:
        files: where its parts are.
        where: what each problem begins with.
        is_default: whether it is shown to clients that ask for no name.

    Raises:
        ConfigError: it cannot be used; all problems, each as `WHERE.KEY: PATH: REASON`.
    """
    problems: list[str] = []

    def attempt(key: str, path: Path, read: Callable[[bytes], T]) -> T | None:
        try:
            return read(read_small(path))
        except ValueError as error:
            problems.append(f"{where}.{key}: {path}: {error}")
            return None

    found = attempt("certificate", files.certificate, load_certificates)
    more = attempt("chain", files.chain, load_certificates) if files.chain is not None else []
    key = attempt("key", files.key, load_key)
    if found is None or more is None or key is None:
        raise ConfigError(problems)
    if not _fits(found[0], key):
        raise ConfigError([f"{where}.key: {files.key}: does not fit the certificate in {files.certificate}"])
    try:
        names = _names(found[0], is_default=is_default)
        identity = ServerIdentity(found[0], (*found[1:], *more), key, names)
        identity.load_into(SSL.Context(SSL.TLS_SERVER_METHOD))
    except ValueError as error:
        raise ConfigError([f"{where}.certificate: {files.certificate}: {error}"]) from None
    _warn_of_dates(found[0], f"{where}.certificate: {files.certificate}")
    return identity


def _warn_of_dates(certificate: x509.Certificate, where: str) -> None:
    """The log says what clients will say today; it is no reason not to start, clients may think otherwise tomorrow."""
    now = dt.datetime.now(dt.UTC)
    if certificate.not_valid_after_utc < now:
        _log.warn("{where}: has expired on {date:%Y-%m-%d}", where=where, date=certificate.not_valid_after_utc)
    elif certificate.not_valid_before_utc > now:
        _log.warn("{where}: is not valid before {date:%Y-%m-%d}", where=where, date=certificate.not_valid_before_utc)


def _fits(certificate: x509.Certificate, key: PrivateKey) -> bool:
    try:
        return certificate.public_key() == key.public_key()
    except Exception:  # noqa: BLE001 - cryptography, about a key of a kind or a form that it does not know
        return False


def _names(certificate: x509.Certificate, *, is_default: bool) -> frozenset[bytes]:
    try:
        entries = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("has no subjectAltName, so that no client takes it for any host") from None
    except Exception as error:  # cryptography has many kinds
        raise ValueError(f"its extensions cannot be read: {printable(str(error))}") from error
    names = frozenset(_askable(entries.get_values_for_type(x509.DNSName)))
    if not names and not (is_default and entries.get_values_for_type(x509.IPAddress)):
        raise ValueError("names no host that a client could ask for")
    return names


def _askable(names: list[str]) -> Iterator[bytes]:
    """Those that SNI can name: an address in the place of a name is of no use, and does no harm (RFC 6066 §3)."""
    for name in map(str.lower, names):
        try:
            ipaddress.ip_address(name)
        except ValueError:
            if _NAME.fullmatch(name):
                yield name.encode("ascii")
