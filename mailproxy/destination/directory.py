"""
Destinations in a directory: one file each, in the format that the Destination service exports.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import evolve, field, frozen

from mailproxy.destination.access import TokenLogin
from mailproxy.destination.cache import Cache, Fetched
from mailproxy.destination.files import Stamp, read_small, stamp_if_settled
from mailproxy.destination.http import Web
from mailproxy.destination.jsontext import load_object, peer_words
from mailproxy.destination.model import MailProtocol
from mailproxy.destination.names import is_dns_label
from mailproxy.destination.properties import parse_login
from mailproxy.destination.report import Reporter
from mailproxy.destination.source import AccessToken, Found, Reference, Tenant
from mailproxy.destination.tokenrequest import KEY_STORE, TokenRequest, parse_token_request
from mailproxy.destination.tokens import LEAD_SECONDS, fetch_token, usable_seconds
from mailproxy.errors import DestinationUnknown, DestinationUnusable, LimitReached, MailProxyError
from mailproxy.names import OUT_OF_RESOURCES
from mailproxy.observe.observation import CacheFigures

_TokenKey = tuple[Tenant, str, TokenRequest]


class DestinationDirectory:
    """
    Finds destinations as `<Name>.json`; `<tenant>/<Name>.json` wins for that tenant.  Tokens are fetched by us.

    A file is read again when it has changed.  One that cannot be used fails the next login, rather than let an old
    version go on unseen.

    Args:
        path: the directory.
        tenant: whose destinations.
        web: asks token services.
        random: gives numbers from 0 to 1.
        reporter: tells the operator when a token service fails and when it works again.
        timeout: for one question, in seconds, where the destination says nothing.
    """

    def __init__(
        self,
        path: Path,
        tenant: Tenant,
        *,
        web: Web,
        random: Callable[[], float],
        reporter: Reporter,
        timeout: float = 10.0,
    ) -> None:
        self._path = path
        self._tenant = tenant
        self._web = web
        self._timeout = timeout
        folder = tenant.subdomain or (tenant.name if tenant.is_subscriber and is_dns_label(tenant.name) else None)
        self._folders = ([path / folder] if folder else []) + [path]
        self._files: dict[Path, _File] = {}
        self._paths: dict[str, list[Path]] = {}
        self._requests: dict[str, _Prepared] = {}
        self._cache: Cache[_TokenKey, AccessToken] = Cache(
            web.clock, random, observe=lambda key, error: reporter.fetched(key[1], error), lead_seconds=LEAD_SECONDS
        )

    async def find(self, reference: Reference) -> Found:
        """As `read`."""
        return self.read(reference)

    def read(self, reference: Reference) -> Found:
        """
        The destination as its file says now.

        Raises:
            DestinationUnknown: there is no such file.
            DestinationUnusable: the file cannot be read, or is about something else.
            LimitReached: there is no descriptor left to read it with.
        """
        if reference.level or reference.fragment:
            key = "level" if reference.level else "fragment"
            raise DestinationUnusable(key, "works with a destination service only, not with a directory")
        found = self._unchanged(reference.name)
        if found is not None:
            return found
        path = self._find_file(f"{reference.name}.json")
        if path is None:
            raise DestinationUnknown(
                f"there is no {reference.name}.json for tenant {self._tenant.name} in {self._path}"
            )
        return self._read_file(path, reference.name)

    def check(self, reference: Reference, listener_protocol: MailProtocol) -> None:
        """
        The destination can be used by a listener that speaks this protocol, as far as can be told without asking.

        Raises:
            DestinationError: it cannot.
        """
        found = self.read(reference)
        _, access = parse_login(found.properties, listener_protocol=listener_protocol)
        if isinstance(access, TokenLogin):
            self._token_request(reference, found)

    async def token(self, reference: Reference, found: Found) -> AccessToken:
        """
        An access token for the destination.

        Raises:
            DestinationError: there is none, or it cannot be asked for.
        """
        key = self._token_key(reference, found)
        return await self._cache.get(key, lambda: self._fetch_token(key[2]))

    def drop(self, reference: Reference, found: Found, token: str) -> None:
        """This token is not handed out again."""
        self._cache.drop(self._token_key(reference, found), lambda held: held.value == token)

    def forget(self, reference: Reference) -> None:
        """There is nothing to forget: a file is read again as soon as it has changed."""

    def figures(self) -> CacheFigures:
        """What is kept of tokens."""
        return self._cache.figures()

    def close(self) -> None:
        """Nothing is in flight any more."""
        self._cache.close()

    async def _fetch_token(self, request: TokenRequest) -> Fetched[AccessToken]:
        token = await fetch_token(self._web, request)
        return Fetched(token, usable_seconds(token.expires_at - self._web.clock.seconds()))

    def _unchanged(self, name: str) -> Found | None:
        """What was read last, if that is still the file that counts, and it has not been touched since."""
        paths = self._paths.get(name)
        if paths is None:
            paths = self._paths[name] = [folder / f"{name}.json" for folder in self._folders]
        for path in paths:
            held = self._files.get(path)
            if held is not None:
                return held.found if held.stamp is not None and held.stamp == stamp_if_settled(path) else None
            try:
                path.lstat()
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                return None
            return None
        return None

    def _find_file(self, name: str) -> Path | None:
        """
        The file of this name, the tenant's own first.

        A link that leads nowhere counts: the other file would be a login under another identity.
        """
        for folder in self._folders:
            path = folder / name
            try:
                path.lstat()
            except (FileNotFoundError, NotADirectoryError, ValueError):
                continue
            except OSError as error:
                raise DestinationUnusable(self._relative(path), f"cannot be read: {error.strerror}") from None
            return path
        return None

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._path))

    def _read_file(self, path: Path, name: str) -> Found:
        """
        What the file says; it is read when it may have changed, and understood only when its octets have.
        """
        held = self._files.get(path)
        try:
            now = stamp_if_settled(path)
            if held is not None and now is not None and held.stamp == now:
                return held.found
            content = read_small(path)
            if held is None or held.content != content:
                held = _File(content, now, _parse_file(content, name))
            self._files[path] = evolve(held, stamp=now)
        except ValueError as error:
            raise self._unreadable(path, error) from None
        return held.found

    def _unreadable(self, path: Path, error: ValueError) -> MailProxyError:
        """Whose fault it is: a process that has no descriptor left can read nothing, and the file may be good."""
        cause, name = error.__cause__, self._relative(path)
        if isinstance(cause, OSError) and cause.errno in OUT_OF_RESOURCES:
            return LimitReached(f"{name}: {error}")
        return DestinationUnusable(name, str(error))

    def _token_key(self, reference: Reference, found: Found) -> _TokenKey:
        return self._tenant, reference.name, self._token_request(reference, found)

    def _token_request(self, reference: Reference, found: Found) -> TokenRequest:
        """The question for the token, made anew only when the destination or its key store has changed."""
        store = self._read_store(found)
        prepared = self._requests.get(reference.name)
        if prepared is None or prepared.found is not found or prepared.store != store:
            request = parse_token_request(
                found.properties, tenant=self._tenant, store=store, default_timeout=self._timeout
            )
            prepared = self._requests[reference.name] = _Prepared(found, store, request)
        return prepared.request

    def _read_store(self, found: Found) -> bytes | None:
        """
        The key store that the destination names, out of its own certificates or the directory.

        Raises:
            DestinationUnusable: there is none, or the name would lead out of the directory.
        """
        name = found.properties.get(KEY_STORE)
        if not isinstance(name, str) or not name:
            return None
        if name in found.stores:
            return found.stores[name]
        path = None if name.startswith(".") or "/" in name or "\0" in name else self._find_file(name)
        if path is None:
            raise DestinationUnusable(KEY_STORE, f"'{peer_words(name, limit=100)}' is no file in the directory")
        try:
            return read_small(path)
        except ValueError as error:
            raise self._unreadable(path, error) from None


@frozen
class _File:
    """A file as it was read."""

    content: bytes = field(repr=False)
    stamp: Stamp | None
    found: Found


@frozen
class _Prepared:
    """A question for a token, and what it was made of."""

    found: Found
    store: bytes | None = field(repr=False)
    request: TokenRequest


def _parse_file(content: bytes, name: str) -> Found:
    """
    The properties of a destination, bare or as the Destination service answers.

    Raises:
        ValueError: it is something else.
    """
    outer = load_object(content, unique_keys=True)
    inner = outer.get("destinationConfiguration")
    properties = inner if isinstance(inner, dict) else outer
    if properties.setdefault("Name", name) != name:
        raise ValueError(f"has another Name than the file: it must be {name}")
    return Found(properties, stores=_read_stores(outer.get("certificates")) if properties is inner else {})


def _read_stores(certificates: object) -> Mapping[str, bytes]:
    stores: dict[str, bytes] = {}
    for entry in certificates if isinstance(certificates, list) else []:
        name, content = (entry.get("Name"), entry.get("Content")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(content, str):
            raise ValueError("holds a certificate without Name and Content")  # noqa: TRY004 - the file's fault
        try:
            stores[name] = b64decode(content, validate=True)
        except binascii.Error:
            raise ValueError("holds a certificate that is no base64") from None
    return stores
