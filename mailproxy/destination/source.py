"""
What a place that knows destinations has to offer: the Destination service and a directory of files alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from attrs import field, frozen

from mailproxy.destination.names import is_destination_name, is_dns_label
from mailproxy.errors import ConfigError
from mailproxy.observe.observation import CacheFigures
from mailproxy.observe.text import printable

_LEVELS = ("subaccount", "instance", "provider_subaccount", "provider_instance")
_FRAGMENT = rf"[A-Za-z0-9_-]{{1,200}}(?:@(?:{'|'.join(_LEVELS)}))?"
_FRAGMENTS = re.compile(rf"{_FRAGMENT}(?: *, *{_FRAGMENT})*")


@frozen
class Tenant:
    """
    A tenant, as the services know it; without subdomain and id it is the provider itself.

    Raises:
        ConfigError: the subdomain is no DNS label, or the id cannot stand in a header.
    """

    name: str
    subdomain: str | None = None
    id: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.subdomain is not None and not is_dns_label(self.subdomain):
            raise ConfigError([f"tenants.{self.name}.subdomain: is no DNS label"])
        if self.id is not None and not (self.id.isascii() and self.id.isprintable() and " " not in self.id):
            raise ConfigError([f"tenants.{self.name}.id: holds what no id holds"])

    @property
    def is_subscriber(self) -> bool:
        """Whether it is a tenant, and not the provider itself."""
        return self.subdomain is not None or self.id is not None


PROVIDER = Tenant("provider")
"""Whom listeners without a tenant work for: the owner of the services themselves."""


@frozen
class Reference:
    """
    Which destination: its name, at which level, and which fragments lie over it.

    Raises:
        ConfigError: one of them is nothing that a service knows.
    """

    name: str
    level: str | None = None
    fragment: str | None = None
    fragment_optional: bool = False

    def __attrs_post_init__(self) -> None:
        where = f"destinations: {printable(self.name)}"
        if not is_destination_name(self.name):
            raise ConfigError([f"{where}: is not 1 to 200 letters, digits, '_' or '-'"])
        if self.level is not None and self.level not in _LEVELS:
            raise ConfigError([f"{where}: level: is none of {', '.join(_LEVELS)}"])
        if self.fragment is not None and not _FRAGMENTS.fullmatch(self.fragment):
            raise ConfigError([f"{where}: fragment: is not NAME or NAME@LEVEL, several with commas"])

    def __str__(self) -> str:
        level = f"@{self.level}" if self.level else ""
        fragment = f" with fragment {self.fragment}" if self.fragment else ""
        return f"{self.name}{level}{fragment}"


@frozen
class AccessToken:
    """An OAuth2 access token; `expires_at` is in seconds of the clock that fetched it."""

    value: str = field(repr=False)
    expires_at: float


@frozen
class Found:
    """A destination as its place knows it, with the token and the key stores that came along, if any."""

    properties: Mapping[str, object] = field(repr=False)
    token: AccessToken | None = None
    stores: Mapping[str, bytes] = field(factory=dict, repr=False)


class Source(Protocol):
    """
    A place that knows the destinations of one tenant.

    The methods that wait raise a `DestinationError`.
    """

    async def find(self, reference: Reference) -> Found:
        """The destination as it is now, or was a short while ago."""

    async def token(self, reference: Reference, found: Found) -> AccessToken:
        """An access token for the destination that was found."""

    def drop(self, reference: Reference, found: Found, token: str) -> None:
        """This token is not handed out again, unless it is fetched again."""

    def forget(self, reference: Reference) -> None:
        """The destination is asked for anew: what was known of it may have changed."""

    def close(self) -> None:
        """Nothing is in flight any more."""

    def figures(self) -> CacheFigures:
        """What is kept of destinations, or of tokens where the destinations are files."""
