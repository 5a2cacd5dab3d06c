"""
The addresses of token services and destination services.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

from attrs import evolve, field, frozen

from mailproxy.destination.names import is_address, parse_host
from mailproxy.errors import DestinationUnusable
from mailproxy.names import is_loopback_host

# RFC 3986 §2: unreserved, reserved and "%"; everything else has to be percent-encoded
_ALLOWED = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


@frozen
class ServiceURL:
    """
    An address that may be asked: https, or http to this very machine.

    The query may hold secrets: only `full` shows it.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    query: str = field(default="", repr=False)

    @property
    def full(self) -> str:
        """The address as it is asked."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{host}{port}{self.path}{query}"

    def below(self, path: str) -> ServiceURL:
        """The address of a resource under this one; `path` starts with a slash."""
        return evolve(self, path=self.path.rstrip("/") + path)

    def with_first_label(self, label: str) -> ServiceURL:
        """
        The same address on the host whose first label is another one; `localhost` gets it in front.

        Raises:
            ValueError: the host is an IP address, which has no labels.
        """
        _, dot, rest = self.host.partition(".")
        without_first = evolve(self, host=rest) if dot and not is_address(self.host) else self
        return without_first.with_label_in_front(label)

    def with_label_in_front(self, label: str) -> ServiceURL:
        """
        The same address on the host with one label more.

        Raises:
            ValueError: the host is an IP address, which has no labels.
        """
        if is_address(self.host):
            raise ValueError("has an IP address for a host, where no subdomain can stand")
        return evolve(self, host=f"{label.lower()}.{self.host}")

    def with_query(self, pairs: Iterable[tuple[str, str]]) -> ServiceURL:
        """The same address with more parameters."""
        more = urlencode(list(pairs))
        return evolve(self, query="&".join(part for part in (self.query, more) if part))


def parse_url(key: str, text: str) -> ServiceURL:
    """
    An address out of a setting; `key` names the setting.

    Raises:
        DestinationUnusable: it is no URL, holds a user or a fragment, or would send secrets in the clear to
            another machine.  What the URL is, is not quoted: there may be secrets in it.
    """
    if not _ALLOWED.fullmatch(text):
        raise DestinationUnusable(key, "is no URL")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parse_host(parts.hostname or "")
    except ValueError:
        raise DestinationUnusable(key, "is a URL without a usable host and port") from None
    if parts.scheme not in ("https", "http"):
        raise DestinationUnusable(key, "is a URL that does not begin with https://")
    if parts.scheme == "http" and not is_loopback_host(host):
        raise DestinationUnusable(key, f"is http:// to {host}: secrets go over https:// or stay on this machine")
    if "@" in parts.netloc or "#" in text or port == 0:
        raise DestinationUnusable(key, "is a URL with a user, a fragment or port 0 in it")
    return ServiceURL(parts.scheme, host, port, parts.path or "/", parts.query)
