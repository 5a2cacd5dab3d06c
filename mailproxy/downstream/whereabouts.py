"""
Where a client is: as its connection says, or a header in front of it.
"""

from __future__ import annotations

from ipaddress import IPv6Address as IPv6
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address

from mailproxy.wire.proxyprotocol import Addresses


def place_of(address: Any) -> str:
    """An address for the log."""
    host = host_of(address)
    if host is None:
        return "a local socket"
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def host_of(address: Any) -> str | None:
    """An address without its port; None for that of a local socket."""
    return plain(address.host) if hasattr(address, "port") else None


def ends_of(transport: Any) -> Addresses | None:
    """Both ends of a connection, as it says itself; None where they have no addresses."""
    peer, own = transport.getPeer(), transport.getHost()
    if not (hasattr(peer, "port") and hasattr(own, "port")):
        return None
    return Addresses(plain(peer.host), peer.port, plain(own.host), own.port)


def source_of(addresses: Addresses) -> IPv4Address | IPv6Address:
    """Where the client is, in the shape that a connection would give it."""
    kind = IPv6Address if ":" in addresses.source else IPv4Address
    return kind("TCP", addresses.source, addresses.source_port)


def plain(host: str) -> str:
    """An address; one of IPv4 that came to a socket of IPv6 as what it is."""
    mapped = IPv6(host).ipv4_mapped if ":" in host else None
    return host if mapped is None else str(mapped)
