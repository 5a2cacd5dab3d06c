"""
Endpoint strings of listeners, as far as a configuration can be judged without a reactor.

The syntax is Twisted's: `kind:value:key=value`, a backslash before a colon, equals sign or backslash that is meant
literally.  The kinds are a closed list: one that a plugin brings, or that reads a header in front of the session,
would greet before it knows whom.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache

from attrs import frozen

KINDS: Mapping[str, tuple[str, ...]] = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "interface", "backlog"),
    "ssl": ("port", "privateKey", "certKey", "extraCertChain", "interface", "backlog"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "name", "index"),
}
"""What may be said for each kind; the first may also stand without its name."""

_REQUIRED = {
    "tcp": ("port", "interface"),
    "tcp6": ("port", "interface"),
    "ssl": ("port", "privateKey", "interface"),
    "unix": ("address",),
    "systemd": ("domain",),
}
_PATH = (r"/[^\0]*", "an absolute path")
_WANTED = {
    "port": (r"[0-9]{1,5}", "a number from 0 to 65535"),
    "backlog": (r"[1-9][0-9]{0,4}", "a number from 1 to 99999"),
    "interface": (r"[0-9A-Fa-f:.]+(%.+)?", "an IP address"),
    "address": _PATH,
    "privateKey": _PATH,
    "certKey": _PATH,
    "extraCertChain": _PATH,
    "mode": (r"[0-7]{3,4}", "an octal file mode"),
    "lockfile": (r"[01]", "0 or 1"),
    "domain": (r"INET6?|UNIX", "INET, INET6 or UNIX"),
    "name": (r"[^\0]+", "the name of a file descriptor"),
    "index": (r"[0-9]{1,4}", "a number"),
}
BACKLOG = 1024
"""Connections that may wait to be accepted where the endpoint does not say; the kernel knows a bound of its own."""

SOCKET_MODE = "660"
"""Who may connect to a local socket where the endpoint does not say: our own user and group, not everybody."""

_LOOPBACK = {"tcp": "127.0.0.1", "tcp6": "\\:\\:1", "ssl": "127.0.0.1"}


@frozen
class Endpoint:
    """An endpoint string taken apart."""

    kind: str
    settings: Mapping[str, str]

    @property
    def place(self) -> str:
        """Equal for all that can collide at all: the port (empty for "any"), the path, or all that is said."""
        if self.kind in _LOOPBACK:
            return self.settings["port"].lstrip("0")
        return self.settings["address"] if self.kind == "unix" else str(sorted(self.settings.items()))

    @property
    def local(self) -> bool:
        """Whether nobody but this machine can reach it, as far as the text tells."""
        if self.kind in _LOOPBACK:
            return self._interface().is_loopback
        return self.kind == "unix"

    def collides(self, other: Endpoint) -> bool:
        """Whether both cannot listen at the same time; port 0 is another port each time."""
        if self.place != other.place or not self.place:
            return False
        if self.kind not in _LOOPBACK or other.kind not in _LOOPBACK:
            return self.kind == other.kind
        return self._interface() == other._interface() or self._covers(other) or other._covers(self)

    def _interface(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        return ipaddress.ip_address(self.settings["interface"])

    def _covers(self, other: Endpoint) -> bool:
        """Whether it takes its port on every address, the other's among them; `::` takes IPv4 as well."""
        mine, theirs = self._interface(), other._interface()
        return mine.is_unspecified and (mine.version == 6 or theirs.version == 4)


def with_loopback_default(text: str) -> str:
    """
    The endpoint string with a loopback address as its interface, unless it names another.

    Raises:
        ValueError: it is no endpoint string.
    """
    kind, settings = _split(text)
    if kind in _LOOPBACK and "interface" not in settings:
        return f"{text}:interface={_LOOPBACK[kind]}"
    return text


@lru_cache(maxsize=4096)  # everybody asks, and a reload asks for each listener ten times
def parse_endpoint(text: str) -> Endpoint:
    """
    Take an endpoint string apart; without an interface it is on loopback.

    Raises:
        ValueError: it cannot be listened on; the text says why.
    """
    endpoint = Endpoint(*_split(with_loopback_default(text)))
    for key in _REQUIRED[endpoint.kind]:
        if key not in endpoint.settings:
            raise ValueError(f"{endpoint.kind} needs {key}=")
    for key, value in endpoint.settings.items():
        pattern, wanted = _WANTED[key]
        if not re.fullmatch(pattern, value) or not _plausible(endpoint.kind, key, value):
            raise ValueError(f"{key} must be {wanted}")
    if endpoint.kind == "systemd" and len({"name", "index"} & endpoint.settings.keys()) != 1:
        raise ValueError("systemd needs either name= or index=")
    return endpoint


def bound_endpoint(text: str) -> str:
    """
    What is bound for an endpoint of the configuration: without TLS, which is ours to do, and with all it leaves unsaid.

    Raises:
        ValueError: it cannot be listened on.
    """
    endpoint = parse_endpoint(text)
    if endpoint.kind == "ssl":
        text = _without_tls(endpoint.settings)
    unsaid = {"mode": SOCKET_MODE, "backlog": BACKLOG}
    wanted = [key for key in unsaid if key in KINDS[endpoint.kind] and key not in endpoint.settings]
    return text + "".join(f":{key}={unsaid[key]}" for key in wanted)


def opened_endpoint(text: str, port: int | None) -> str:
    """The same once it is bound: where any free port would do, it names the one that was free."""
    endpoint = parse_endpoint(text)
    if endpoint.kind not in _LOOPBACK or endpoint.place:
        return text
    return re.sub(r"(?<!\\)(:(?:port=)?)0+(?=:|$)", rf"\g<1>{port}", text, count=1)


def _without_tls(settings: Mapping[str, str]) -> str:
    kind = "tcp6" if ":" in settings["interface"] else "tcp"
    kept = [f"{key}={settings[key]}".replace(":", "\\:") for key in KINDS[kind] if key in settings]
    return ":".join([kind, *kept])


def _plausible(kind: str, key: str, value: str) -> bool:
    """Whether a port is in range and an interface an address of the right family."""
    if key == "port":
        return int(value) <= 65535
    if key != "interface":
        return True
    try:
        version = ipaddress.ip_address(value).version
    except ValueError:
        return False
    return kind != "tcp6" or version == 6


def _split(text: str) -> tuple[str, dict[str, str]]:
    """Kind and settings; whatever stands twice, unnamed or unknown is an error."""
    (kind, value), *parts = _tokens(text)
    if kind == "haproxy":
        raise ValueError("haproxy: greets before it knows whom; write what stands behind it, and proxy_protocol")
    if value is not None or kind not in KINDS:
        raise ValueError(f"must begin with {', '.join(f'{kind}:' for kind in KINDS)}")
    settings: dict[str, str] = {}
    for number, (first, second) in enumerate(parts):
        if second is None and number:
            raise ValueError(f"must be {kind}:{KINDS[kind][0].upper()} and then KEY=VALUE")
        key, value = (KINDS[kind][0], first) if second is None else (first, second)
        if key not in KINDS[kind]:
            raise ValueError(f"{kind} knows {', '.join(KINDS[kind])} and nothing else")
        if key in settings:
            raise ValueError(f"{key} is given twice")
        settings[key] = value
    return kind, settings


def _tokens(text: str) -> list[tuple[str, str | None]]:
    """The parts between colons, each as (text, None) or (key, value), with backslashes resolved."""
    parts: list[list[str]] = [[""]]
    characters = iter(text)
    for character in characters:
        if character == ":":
            parts.append([""])
        elif character == "=" and len(parts[-1]) == 1:
            parts[-1].append("")
        elif character == "\\":
            parts[-1][-1] += _escaped(next(characters, ""))
        else:
            parts[-1][-1] += character
    return [(part[0], part[1] if len(part) == 2 else None) for part in parts]


def _escaped(character: str) -> str:
    if not character:
        raise ValueError("ends in a backslash")
    return character
