"""
CRC-32C, the checksum of Castagnoli, which the PROXY protocol borrows from SCTP.

Source: RFC 9260 Appendix A.
"""

from __future__ import annotations

from functools import cache

_POLYNOMIAL = 0x82F63B78
"""0x1EDC6F41 with its bits in the other order."""


def crc32c(octets: bytes) -> int:
    """The checksum of these octets; meant for a few hundred of them."""
    table, crc = _table(), 0xFFFFFFFF
    for octet in octets:
        crc = crc >> 8 ^ table[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    return tuple(_shifted(octet) for octet in range(256))


def _shifted(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc
