"""The checksum of the PROXY protocol, against values that others have published."""

import pytest

from mailproxy.wire.crc32c import crc32c


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_known_values(octets, expected):
    """The first is the check value of the polynomial, the others are those of RFC 3720 §B.4."""
    assert crc32c(octets) == expected
