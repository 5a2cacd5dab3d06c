"""
The service key that opens the Destination service, kept up to date while we run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from attrs import field, frozen
from twisted.logger import Logger

from mailproxy.destination.bindinglayout import Fields, layout_stamp, read_fields
from mailproxy.destination.files import Stamp
from mailproxy.destination.keystore import load_identity
from mailproxy.destination.model import ClientIdentity
from mailproxy.destination.reader import PropertyReader
from mailproxy.destination.url import ServiceURL, parse_url
from mailproxy.errors import ConfigError, DestinationUnusable

T = TypeVar("T")

_log = Logger(namespace="mailproxy.destination")


@frozen
class Binding:
    """
    A service key.

    `token_base` is where tokens come from: the key's `url`, or its `certurl` when `identity` proves who we are and
    there is no secret.
    """

    clientid: str
    uri: ServiceURL
    token_base: ServiceURL
    clientsecret: str | None = field(default=None, repr=False)
    identity: ClientIdentity | None = None


def read_binding(path: Path) -> Binding:
    """
    The service key in a file or directory.

    Raises:
        ConfigError: it cannot be used; all problems are named, with path and field.
    """
    try:
        fields = read_fields(path)
    except ValueError as error:
        raise ConfigError([f"{path}: {error}"]) from error
    return _parse_binding(path, fields)


def _parse_binding(path: Path, fields: Fields) -> Binding:
    problems: list[str] = []

    def attempt(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except DestinationUnusable as error:
            problems.append(f"{path}: {error}")
            return None

    # PEM has line ends, which no property of a destination may have.
    pem = {key: fields.get(key) for key in ("certificate", "key")}
    reader = PropertyReader({key: value for key, value in fields.items() if key not in pem})
    kind = attempt(lambda: reader.text("credential-type"))
    secret = attempt(lambda: reader.secret("clientsecret"))
    x509 = kind == "x509" or (secret is None and any(pem.values()))
    base = "certurl" if x509 else "url"
    clientid = attempt(lambda: reader.required("clientid"))
    uri = attempt(lambda: parse_url("uri", reader.required("uri")))
    token_base = attempt(lambda: parse_url(base, reader.required(base)))
    identity = attempt(lambda: _read_identity(pem)) if x509 else None
    if not x509:
        attempt(lambda: reader.required("clientsecret"))
    if problems or clientid is None or uri is None or token_base is None:
        raise ConfigError(problems)
    return Binding(clientid, uri, token_base, None if x509 else secret, identity)


def _read_identity(pem: dict[str, object]) -> ClientIdentity:
    for key, value in pem.items():
        if not isinstance(value, str) or not value:
            raise DestinationUnusable(key, "is missing")
    try:
        return load_identity("key.pem", "\n".join(map(str, pem.values())).encode(), None)
    except ValueError as error:
        raise DestinationUnusable("certificate and key", str(error)) from None


class BindingFile:
    """
    The service key at a path, read again when it changes.

    Raises:
        ConfigError: it cannot be used at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._look()
        self._binding = read_binding(path)

    def current(self) -> Binding:
        """The key as it is now; the last good one if it cannot be used now, which is logged once."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            self._read_again()
        return self._binding

    def _look(self) -> tuple[Stamp, ...] | None:
        try:
            return layout_stamp(self._path)
        except (OSError, ValueError):
            return None

    def _read_again(self) -> None:
        try:
            binding = read_binding(self._path)
        except ConfigError as error:
            _log.warn(
                "service key {path} cannot be used as it is now, the one before stays in use: {reason}",
                path=str(self._path),
                reason="; ".join(error.problems),
            )
            return
        if binding != self._binding:
            self._binding = binding
            _log.info("service key {path} has changed", path=str(self._path))
