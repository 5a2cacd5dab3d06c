"""
Who may say where a client comes from, and how it has to be said.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from attrs import frozen

from mailproxy.downstream.whereabouts import plain
from mailproxy.wire.proxyprotocol import Version


@frozen
class Balancers:
    """
    What stands in front of a listener and begins each connection with a PROXY header.

    Args:
        versions: of the header, that are understood.
        networks: where they are.
        local: whoever reaches a local socket is one of them.
        inside_tls: the header comes behind the handshake of implicit TLS, not before it.
        seconds: from the connection, or the end of that handshake, to the end of the header.
        most: connections at a time that may still owe theirs.
    """

    versions: Collection[Version]
    networks: tuple[IPv4Network | IPv6Network, ...]
    local: bool
    inside_tls: bool
    seconds: float
    most: int

    def include(self, address: Any) -> bool:
        """Whether a connection from there is one of theirs."""
        host = getattr(address, "host", None)
        if host is None:
            return self.local
        peer = ip_address(plain(host).partition("%")[0])
        return any(peer in network for network in self.networks)
