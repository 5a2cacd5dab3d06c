"""
Whose certificates we believe as a client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from attrs import field, frozen
from cryptography import x509
from OpenSSL import SSL, crypto

from mailproxy.destination.files import read_small
from mailproxy.errors import ConfigError
from mailproxy.tls.files import MadeOfFiles
from mailproxy.tls.pem import load_certificates

MAX_BUNDLE_OCTETS = 4 << 20
"""Ten times what all public authorities take."""


class TrustSource(Protocol):
    """Knows whom to believe now; the same object as long as nothing has changed."""

    def current(self) -> Trust:
        """Whom to believe now."""


@frozen
class Trust:
    """
    The authorities we believe: the platform's, and those of extra PEM bundles beside them.

    The platform's are OpenSSL's default paths, `SSL_CERT_FILE` and `SSL_CERT_DIR` included.

    Raises:
        ValueError: nobody is trusted, or a bundle holds no certificate.
    """

    platform: bool = True
    bundles: tuple[bytes, ...] = ()
    _extra: tuple[x509.Certificate, ...] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not (self.platform or self.bundles):
            raise ValueError("neither the platform's certificate authorities nor others are trusted")
        extra = tuple(certificate for bundle in self.bundles for certificate in load_certificates(bundle))
        object.__setattr__(self, "_extra", extra)

    def current(self) -> Trust:
        """Itself: it never changes."""
        return self

    def load_into(self, context: SSL.Context) -> None:
        """The context believes these authorities."""
        if self.platform:
            context.set_default_verify_paths()
        store = context.get_cert_store()
        assert store is not None
        for certificate in self._extra:
            store.add_cert(crypto.X509.from_cryptography(certificate))


def read_trust(
    ca_files: Sequence[Path], *, platform: bool, where: str, seconds: Callable[[], float]
) -> tuple[TrustSource, list[str]]:
    """
    Whom to believe, and what is wrong with the files; they are looked at again on use.

    Where something is wrong the platform's authorities have to do, to look at the rest of a configuration.

    Args:
        ca_files: PEM bundles.
        platform: whether the platform's authorities are believed, too.
        where: what a problem begins with, `FILE: trust.`.
        seconds: the time.
    """

    def read() -> Trust:
        return Trust(platform, read_bundles(ca_files, f"{where}ca_files"))

    try:
        return (MadeOfFiles(ca_files, read, seconds) if ca_files else Trust(platform)), []
    except ConfigError as error:
        return Trust(), list(error.problems)


def read_bundles(paths: Sequence[Path], where: str) -> tuple[bytes, ...]:
    """
    The content of PEM files with authorities.

    Raises:
        ConfigError: a file cannot be used; all problems, each as `WHERE[NUMBER]: PATH: REASON`.
    """
    bundles: list[bytes] = []
    problems: list[str] = []
    for number, path in enumerate(paths):
        try:
            bundles.append(read_small(path, MAX_BUNDLE_OCTETS))
            load_certificates(bundles[-1])
        except ValueError as error:
            problems.append(f"{where}[{number}]: {path}: {error}")
    if problems:
        raise ConfigError(problems)
    return tuple(bundles)
