r"""
The PROXY protocol: a header in front of everything else that says where a client really comes from.

Theory of operation
-------------------

Version 1 is a line, version 2 is binary.  Both say who speaks to whom, or that there is nothing to say about it:

    PROXY TCP4 203.0.113.7 198.51.100.1 51234 587<CRLF>
    PROXY UNKNOWN<CRLF>

    signature (12 octets)  version and command  family  length (2)  addresses and ports  TLVs

Who believes a header believes every word of it, so that one octet out of place is not mended, and the header refused.
What it says may be left aside in the cases that the specification names: the command LOCAL, the families UNKNOWN,
UNSPEC and those that are not TCP over IP.  Then the addresses of the connection itself count.

Source: the PROXY protocol, versions 1 and 2, as HAProxy publishes it (`proxy-protocol.txt`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import frozen

from mailproxy.errors import BadProxyHeader
from mailproxy.wire.crc32c import crc32c

MAX_V1_OCTETS = 107
"""The longest line of version 1, CRLF included (§2.1)."""

MAX_V2_OCTETS = 536
"""The longest header of version 2 that is read; what is longer may not arrive in one piece (§2.2)."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_OCTETS = 16
_SHORTEST_V1_OCTETS = len(b"PROXY UNKNOWN\r\n")
_LOCAL, _PROXY = 0, 1
_TLS_HANDSHAKE = 0x16
_CHECKSUM = 0x03
_V1_FIELDS = 6


class Version(Enum):
    """Of the header; the value is what a configuration calls it."""

    V1 = "v1"
    V2 = "v2"


_BEGINNINGS = {Version.V1: b"PROXY ", Version.V2: _SIGNATURE}
_V1_FAMILIES: dict[bytes, type[IPv4Address | IPv6Address]] = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}
_TCP4, _TCP6 = 0x11, 0x21
_V2_ADDRESS_OCTETS = {0x00: 0, _TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""How long the addresses of each family are: UNSPEC, TCP and UDP over IPv4 and over IPv6, Unix sockets."""


@frozen
class Addresses:
    """The ends of a client's connection, as whoever accepted it saw them; an IPv4 address is written as one."""

    source: str
    source_port: int
    destination: str
    destination_port: int


@frozen
class Header:
    """What a header says; None where the addresses of the connection itself count."""

    version: Version
    addresses: Addresses | None


class HeaderParser:
    """
    Collects chunks until they hold a header; what stands behind it is handed out with `take_all`.

    Args:
        versions: those that may be used.
    """

    def __init__(self, versions: Collection[Version]) -> None:
        self._versions = versions
        self._data = b""

    def feed(self, chunk: bytes) -> None:
        """Store a chunk."""
        self._data += chunk

    def next_header(self) -> Header | None:
        """
        Take the header, once; None when more octets are needed.

        Raises:
            BadProxyHeader: what has come is not the beginning of a header that may stand here.  The text repeats
                nothing of it.
        """
        version = self._version()
        found = _PARSERS[version](self._data) if version is not None else None
        if found is None:
            return None
        header, octets = found
        self._data = self._data[octets:]
        return header

    @property
    def beginning(self) -> bytes:
        """What has come and was not taken."""
        return self._data

    @property
    def wanted(self) -> int:
        """How many octets more belong to the header for certain; whoever reads no more never reads what is behind."""
        known = len(self._data)
        if known >= _FIXED_OCTETS and self._data.startswith(_SIGNATURE):
            return max(1, _FIXED_OCTETS + _length(self._data) - known)
        if known and _SIGNATURE.startswith(self._data[: len(_SIGNATURE)]):
            return _FIXED_OCTETS - known
        return _SHORTEST_V1_OCTETS - known if known < _SHORTEST_V1_OCTETS else _missing(self._data)

    def take_all(self) -> bytes:
        """Take every octet that is left."""
        rest, self._data = self._data, b""
        return rest

    def _version(self) -> Version | None:
        """Of which version the header is; None while that cannot be told."""
        if not self._data:
            return None
        for version, beginning in _BEGINNINGS.items():
            if self._data[: len(beginning)] == beginning[: len(self._data)]:
                if len(self._data) < len(beginning):
                    return None
                if version not in self._versions:
                    raise BadProxyHeader(f"a header of version {version.value[1:]} is not allowed here")
                return version
        other = ", but TLS" if self._data[0] == _TLS_HANDSHAKE else ""
        raise BadProxyHeader(f"no PROXY header came first{other}")


# Version 1


def _parse_v1(data: bytes) -> tuple[Header, int] | None:
    end = data.find(b"\n", 0, MAX_V1_OCTETS)
    if end < 0:
        if len(data) >= MAX_V1_OCTETS:
            raise BadProxyHeader(f"a header of version 1 is longer than {MAX_V1_OCTETS} octets")
        return None
    if data[end - 1 : end] != b"\r":
        raise BadProxyHeader("a header of version 1 ends in a bare <LF>")
    return Header(Version.V1, _v1_addresses(data[: end - 1].split(b" "))), end + 1


def _v1_addresses(fields: list[bytes]) -> Addresses | None:
    if fields[1] == b"UNKNOWN":
        return None
    family = _V1_FAMILIES.get(fields[1])
    if family is None:
        raise BadProxyHeader("a header of version 1 names no family that there is")
    if len(fields) != _V1_FIELDS:
        raise BadProxyHeader("a header of version 1 needs two addresses and two ports, with one space between them")
    source, destination = (_v1_address(text, family) for text in fields[2:4])
    source_port, destination_port = (_v1_port(text) for text in fields[4:])
    return Addresses(source, source_port, destination, destination_port)


def _v1_address(text: bytes, family: type[IPv4Address | IPv6Address]) -> str:
    with suppress(ValueError):
        if b"%" not in text:  # a zone means nothing to others
            return _written(family(text.decode("ascii")))
    raise BadProxyHeader("a header of version 1 has something else where an address of its family stands")


def _v1_port(text: bytes) -> int:
    if not re.fullmatch(rb"0|[1-9][0-9]{0,4}", text) or int(text) > 0xFFFF:
        raise BadProxyHeader("a header of version 1 has something else where a port from 0 to 65535 stands")
    return int(text)


def _missing(data: bytes) -> int:
    """How many octets a line of version 1, complete but for its end, lacks at least."""
    if data.endswith(b"\r"):
        return 1
    if b" UNKNOWN" in data[:_SHORTEST_V1_OCTETS]:
        return 2
    fields = data.count(b" ") + 1
    return max(1, 2 * (_V1_FIELDS - fields) + 2 + data.endswith(b" "))


# Version 2


def _parse_v2(data: bytes) -> tuple[Header, int] | None:
    if len(data) < _FIXED_OCTETS:
        return None
    version, command = divmod(data[12], 16)
    if version != 2 or command not in (_LOCAL, _PROXY):
        raise BadProxyHeader("a binary header has another version than 2, or a command that there is not")
    family, end = data[13], _FIXED_OCTETS + _length(data)
    if end > MAX_V2_OCTETS:
        raise BadProxyHeader(f"a header of version 2 is longer than {MAX_V2_OCTETS} octets")
    if command == _PROXY and end - _FIXED_OCTETS < _address_octets(family):
        raise BadProxyHeader("a header of version 2 has no room for the addresses of its family")
    if len(data) < end:
        return None
    # The block of a LOCAL or UNSPEC header is not to be looked at, whatever is in it.
    addresses = _v2_addresses(family, data[:end]) if command == _PROXY and family else None
    return Header(Version.V2, addresses), end


def _length(data: bytes) -> int:
    return int.from_bytes(data[14:16], "big")


def _address_octets(family: int) -> int:
    octets = _V2_ADDRESS_OCTETS.get(family)
    if octets is None:
        raise BadProxyHeader("a header of version 2 names no family that there is")
    return octets


def _v2_addresses(family: int, header: bytes) -> Addresses | None:
    start = _FIXED_OCTETS + _address_octets(family)
    _check_sum(header, start)
    block = header[_FIXED_OCTETS:start]
    if family == _TCP4:
        source, destination, *ports = struct.unpack("!4s4sHH", block)
        return Addresses(_written(IPv4Address(source)), ports[0], _written(IPv4Address(destination)), ports[1])
    if family == _TCP6:
        source, destination, *ports = struct.unpack("!16s16sHH", block)
        return Addresses(_written(IPv6Address(source)), ports[0], _written(IPv6Address(destination)), ports[1])
    return None


def _check_sum(header: bytes, start: int) -> None:
    """Whether the checksum, where there is one, is that of the header with zeros in its place (§2.2.3)."""
    sums = [place for kind, place, octets in _tlvs(header, start) if kind == _CHECKSUM and _is_sum(octets)]
    if len(sums) > 1:
        raise BadProxyHeader("a header of version 2 has more than one checksum")
    for place in sums:
        blank = header[:place] + bytes(4) + header[place + 4 :]
        if crc32c(blank) != int.from_bytes(header[place : place + 4], "big"):
            raise BadProxyHeader("the checksum of a header of version 2 is wrong")


def _is_sum(octets: int) -> bool:
    if octets != 4:
        raise BadProxyHeader("a header of version 2 has a checksum that is not 4 octets long")
    return True


def _tlvs(header: bytes, place: int) -> Iterator[tuple[int, int, int]]:
    """Type, place and length of each value behind the addresses."""
    while place < len(header):
        if place + 3 > len(header):
            raise BadProxyHeader("a header of version 2 ends inside a TLV")
        kind, octets = struct.unpack_from("!BH", header, place)
        place += 3
        if place + octets > len(header):
            raise BadProxyHeader("a header of version 2 ends inside a TLV")
        yield kind, place, octets
        place += octets


_PARSERS = {Version.V1: _parse_v1, Version.V2: _parse_v2}


# The other direction


def format_header(version: Version, addresses: Addresses | None) -> bytes:
    """The header that says this; None: that there is nothing to say about the client's address."""
    if addresses is None:
        return b"PROXY UNKNOWN\r\n" if version is Version.V1 else _SIGNATURE + struct.pack("!BBH", 0x20, 0, 0)
    source, destination = _of_one_family(addresses.source, addresses.destination)
    ports = addresses.source_port, addresses.destination_port
    if version is Version.V1:
        return b"PROXY TCP%d %s %s %d %d\r\n" % (source.version, _ascii(source), _ascii(destination), *ports)
    block = source.packed + destination.packed + struct.pack("!HH", *ports)
    return _SIGNATURE + struct.pack("!BBH", 0x21, _TCP4 if source.version == 4 else _TCP6, len(block)) + block


def _of_one_family(first: str, second: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """Both addresses, without their zones; one of IPv4 beside one of IPv6 is written as RFC 4291 §2.5.5.2 has it."""
    both = [ip_address(text.partition("%")[0]) for text in (first, second)]
    if both[0].version == both[1].version:
        return tuple(both)
    return tuple(IPv6Address(f"::ffff:{each}") if each.version == 4 else each for each in both)


def _written(address: IPv4Address | IPv6Address) -> str:
    """The address as text; one of IPv4 in the guise of IPv6 as what it is."""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(address if mapped is None else mapped)


def _ascii(address: IPv4Address | IPv6Address) -> bytes:
    return str(address).encode("ascii")
