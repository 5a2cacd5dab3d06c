"""
Names of hosts, tenants and destinations, as they come from settings that others wrote.
"""

from __future__ import annotations

import ipaddress
import re

import idna

# RFC 1123 §2.1 label = let-dig [ *61( let-dig / "-" ) let-dig ]
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# The same with the underscore, which is no host name's but occurs in private networks.
_LOOSE_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# What resolvers would take for the shorthand of an address (`127.1`, `0x7f.1`).
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_DESTINATION = re.compile(r"[A-Za-z0-9_-]{1,200}")


def is_dns_label(text: str) -> bool:
    """Whether the text is one label of a host name: a tenant's subdomain has to be one."""
    return _LABEL.fullmatch(text) is not None


def is_destination_name(text: str) -> bool:
    """Whether a destination may have this name; it is then harmless in a path, too."""
    return _DESTINATION.fullmatch(text) is not None


def is_address(host: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_host(text: str) -> str:
    """
    A host name in lower case and ASCII without a trailing dot, or an IP address without brackets.

    Raises:
        ValueError: it is neither.
    """
    host = text.strip()
    literal = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if is_address(literal) and "%" not in literal:
        return str(ipaddress.ip_address(literal))
    host = _ascii(host.removesuffix(".")).lower()
    labels = host.split(".")
    if len(host) > 253 or not all(map(_LOOSE_LABEL.fullmatch, labels)) or _NUMBER.fullmatch(labels[-1]):
        raise ValueError("is no host name")
    return host


def _ascii(host: str) -> str:
    """The host with its international labels as A-labels (RFC 5890)."""
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError("is no host name") from error
