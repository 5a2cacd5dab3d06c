"""The header of the PROXY protocol: read strictly however it is cut, and written as others read it."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.errors import BadProxyHeader
from mailproxy.wire.crc32c import crc32c
from mailproxy.wire.proxyprotocol import (
    MAX_V1_OCTETS,
    MAX_V2_OCTETS,
    Addresses,
    Header,
    HeaderParser,
    Version,
    format_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = Addresses("203.0.113.7", 51234, "198.51.100.1", 587)
V6 = Addresses("2001:db8::7", 51234, "2001:db8::1", 587)
LINE4 = b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 587\r\n"
LINE6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 587\r\n"
LONGEST = b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n"
BLOCK4 = IPv4Address(V4.source).packed + IPv4Address(V4.destination).packed + struct.pack("!HH", 51234, 587)
BLOCK6 = IPv6Address(V6.source).packed + IPv6Address(V6.destination).packed + struct.pack("!HH", 51234, 587)


def v2(block=b"", *, verb=0x21, family=0x11, length=None):
    return SIGNATURE + struct.pack("!BBH", verb, family, len(block) if length is None else length) + block


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def summed(block, family=0x11):
    """A header with a checksum that is right."""
    header = v2(block + tlv(0x03, bytes(4)), family=family)
    return header[:-4] + struct.pack("!I", crc32c(header))


def read(chunks, versions=tuple(Version)):
    """The header, and what stands behind it; or why it was refused."""
    parser = HeaderParser(versions)
    found = None
    for chunk in chunks:
        parser.feed(chunk)
        if found is None:
            try:
                found = parser.next_header()
            except BadProxyHeader as error:
                return str(error), None
    return found, parser.take_all()


def octets(data):
    return [data[place : place + 1] for place in range(len(data))]


GOOD = [
    pytest.param(LINE4, V4, id="TCP4"),
    pytest.param(LINE6, V6, id="TCP6"),
    pytest.param(b"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:c633:6401 51234 587\r\n", V4, id="IPv4 in the guise of IPv6"),
    pytest.param(
        b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
        Addresses("0.0.0.0", 0, "255.255.255.255", 65535),
        id="ends of the ranges",
    ),
    pytest.param(LONGEST, Addresses("ffff:" * 7 + "ffff", 65535, "ffff:" * 7 + "ffff", 65535), id="longest TCP6"),
    pytest.param(b"PROXY UNKNOWN\r\n", None, id="UNKNOWN"),
    pytest.param(b"PROXY UNKNOWN ffff::1 what ever\0 \x1b[2J\r\n", None, id="UNKNOWN with what is to be ignored"),
    pytest.param(b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None, id="longest line"),
    pytest.param(v2(BLOCK4), V4, id="v2 TCP4"),
    pytest.param(v2(BLOCK6, family=0x21), V6, id="v2 TCP6"),
    pytest.param(v2(BLOCK4 + tlv(0x04, bytes(3)) + tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9")), V4, id="v2 with TLVs"),
    pytest.param(v2(BLOCK4 + tlv(0x02, b"")), V4, id="v2 with an empty TLV"),
    pytest.param(summed(BLOCK4 + tlv(0x01, b"smtp")), V4, id="v2 with a checksum"),
    pytest.param(summed(BLOCK6, family=0x21), V6, id="v2 TCP6 with a checksum"),
    pytest.param(v2(BLOCK4 + tlv(0x04, bytes(MAX_V2_OCTETS - 16 - 12 - 3))), V4, id="v2 as long as may be"),
    pytest.param(v2(BLOCK4, family=0x12), None, id="v2 UDP4"),
    pytest.param(v2(BLOCK6, family=0x22), None, id="v2 UDP6"),
    pytest.param(v2(bytes(216), family=0x31), None, id="v2 Unix stream"),
    pytest.param(v2(bytes(216) + tlv(1, b"x"), family=0x32), None, id="v2 Unix datagram"),
    pytest.param(v2(family=0x00), None, id="v2 UNSPEC"),
    pytest.param(v2(b"\x03what ever", family=0x00), None, id="v2 UNSPEC with what is to be ignored"),
    pytest.param(v2(verb=0x20, family=0x00), None, id="v2 LOCAL"),
    pytest.param(v2(BLOCK4, verb=0x20), None, id="v2 LOCAL with addresses"),
    pytest.param(v2(b"\xff\xff", verb=0x20, family=0x77), None, id="v2 LOCAL with what is to be ignored"),
]


@pytest.mark.parametrize(("header", "addresses"), GOOD)
def test_good_headers(header, addresses):
    version = Version.V2 if header.startswith(SIGNATURE) else Version.V1
    expected = Header(version, addresses)
    tail = b"EHLO x\r\nPROXY UNKNOWN\r\n"
    assert read([header]) == (expected, b"")
    assert read([header + tail]) == (expected, tail)
    assert read(octets(header + tail)) == (expected, tail)
    assert read([header], [version]) == (expected, b"")


@pytest.mark.parametrize(("header", "addresses"), GOOD)
def test_who_reads_no_more_than_is_wanted_reads_nothing_behind(header, addresses):
    stream, parser, turns = header + b"\x16\x03\x01 TLS", HeaderParser(tuple(Version)), 0
    while (found := parser.next_header()) is None:
        assert parser.wanted >= 1
        chunk, stream = stream[: parser.wanted], stream[parser.wanted :]
        parser.feed(chunk)
        turns += 1
    assert found.addresses == addresses
    assert (stream, parser.take_all()) == (b"\x16\x03\x01 TLS", b"")
    assert turns <= 100 if b"UNKNOWN" in header else turns <= 16


@pytest.mark.parametrize(("header", "addresses"), GOOD)
def test_a_header_of_the_other_version_is_refused(header, addresses):
    for other in set(Version) - {read([header])[0].version}:
        reason, _ = read(octets(header), [other])
        assert "is not allowed here" in reason


BAD = [
    pytest.param(b"EHLO me.test\r\n", "no PROXY header", id="a session without a header"),
    pytest.param(b"\x16\x03\x01\x02\x00", "no PROXY header came first, but TLS", id="TLS without a header"),
    pytest.param(b"proxy TCP4 203.0.113.7 198.51.100.1 51234 587\r\n", "no PROXY header", id="small letters"),
    pytest.param(b"PROXY\tTCP4", "no PROXY header", id="tab"),
    pytest.param(b"\r\n\r\n\0\r\nQUIT\r", "no PROXY header", id="another signature"),
    pytest.param(LINE4[:-2] + b"\n", "bare <LF>", id="lone LF"),
    pytest.param(b"PROXY \n", "bare <LF>", id="lone LF at once"),
    pytest.param(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "longer than 107", id="one octet too long"),
    pytest.param(b"PROXY UNKNOWN " + b"x" * 500, "longer than 107", id="without end"),
    pytest.param(b"PROXY \r\n", "family", id="nothing"),
    pytest.param(b"PROXY UNKNOWN2\r\n", "family", id="a word that begins as UNKNOWN"),
    pytest.param(b"PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n", "family", id="TCP5"),
    pytest.param(b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n", "family", id="UDP4"),
    pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "two addresses", id="one port"),
    pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n", "two addresses", id="three ports"),
    pytest.param(b"PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n", "two addresses", id="two spaces"),
    pytest.param(LINE4[:-2] + b" \r\n", "two addresses", id="a space at the end"),
    pytest.param(b"PROXY TCP4 not-an-ip\x1b[31m 1.2.3.4 1 1\r\n", "address", id="no address"),
    pytest.param(b"PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n", "address", id="three numbers"),
    pytest.param(b"PROXY TCP4 1.2.3.04 1.2.3.4 1 1\r\n", "address", id="leading zero"),
    pytest.param(b"PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n", "address", id="256"),
    pytest.param("PROXY TCP4 1.2.3.\u0664 1.2.3.4 1 1\r\n".encode(), "address", id="digits of others"),
    pytest.param(b"PROXY TCP4 ::1 ::1 1 1\r\n", "address", id="IPv6 in TCP4"),
    pytest.param(b"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n", "address", id="IPv4 in TCP6"),
    pytest.param(b"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n", "address", id="zone"),
    pytest.param(b"PROXY TCP4 1.2.3.4/32 1.2.3.4 1 1\r\n", "address", id="network"),
    *(
        pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3.4 %s 1\r\n" % port, "port", id=f"port {port}")
        for port in (b"65536", b"99999", b"+1", b"-1", b"01", b"00", b"0x1", b"1_0", b"smtp", b"1\0", b"123456789")
    ),
    pytest.param(SIGNATURE + b"\x11\x11\0\0", "version", id="v2 of version 1"),
    pytest.param(SIGNATURE + b"\x31\x11\0\0", "version", id="v2 of version 3"),
    pytest.param(SIGNATURE + b"\x22\x11\0\0", "command", id="v2 with another command"),
    *(
        pytest.param(v2(bytes(216), family=family), "family", id=f"v2 family {family:#x}")
        for family in (0x01, 0x02, 0x10, 0x13, 0x20, 0x30, 0x41, 0xFF)
    ),
    pytest.param(v2(BLOCK4[:-1]), "no room", id="v2 TCP4 too short"),
    pytest.param(v2(BLOCK4, family=0x21), "no room", id="v2 TCP6 too short"),
    pytest.param(v2(bytes(215), family=0x31), "no room", id="v2 Unix too short"),
    pytest.param(v2(bytes(MAX_V2_OCTETS - 15)), "longer than 536", id="v2 too long"),
    pytest.param(v2(length=0xFFFF), "longer than 536", id="v2 far too long"),
    pytest.param(v2(verb=0x20, length=0xFFFF), "longer than 536", id="v2 LOCAL far too long"),
    pytest.param(v2(BLOCK4 + b"\x04"), "inside a TLV", id="v2 with the beginning of a TLV"),
    pytest.param(v2(BLOCK4 + b"\x04\x00\x02x"), "inside a TLV", id="v2 with half a TLV"),
    pytest.param(v2(BLOCK4 + tlv(0x03, bytes(4))), "checksum", id="v2 with a wrong checksum"),
    pytest.param(summed(BLOCK4)[:-1] + b"\0", "checksum", id="v2 with one wrong octet in its checksum"),
    pytest.param(v2(BLOCK4 + tlv(0x03, bytes(3))), "checksum", id="v2 with a short checksum"),
    pytest.param(v2(BLOCK4 + tlv(0x03, bytes(4)) * 2), "more than one checksum", id="v2 with two checksums"),
]


@pytest.mark.parametrize(("header", "reason"), BAD)
def test_bad_headers(header, reason):
    assert reason in read([header])[0]
    assert reason in read([header + b"EHLO x\r\n"])[0]
    assert read(octets(header + b"EHLO x\r\n"))[0] == read([header])[0]


@pytest.mark.parametrize("place", [place for place in range(len(summed(BLOCK4))) if place != 16 + len(BLOCK4)])
def test_a_checksum_notices_every_octet(place):
    """Or the header is refused for something else, or is not whole any more; but for the one that says it is there."""
    header = bytearray(summed(BLOCK4))
    header[place] ^= 0x01
    found, _ = read([bytes(header)])
    assert isinstance(found, str) or found is None or found.addresses is None


def test_no_reason_repeats_a_word():
    for case in BAD:
        assert "\x1b" not in read([case.values[0]])[0]


def test_the_bounds_are_those_of_the_specification():
    assert (len(LONGEST), MAX_V1_OCTETS, MAX_V2_OCTETS) == (104, 107, 536)


# Whatever comes

PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"PROXY ",
                b"TCP4 ",
                b"TCP6 ",
                b"UNKNOWN",
                b"1.2.3.4 ",
                b"::1 ",
                b"25 ",
                b"587",
                b"\r\n",
                b"\r",
                b"\n",
                SIGNATURE,
            ]
        ),
        st.sampled_from(
            [b"\x21\x11\x00\x0c", b"\x20\x00\x00\x00", b"\x21\x21\x00\x24", BLOCK4, BLOCK6, tlv(3, bytes(4))]
        ),
        st.binary(max_size=40),
    ),
    max_size=14,
).map(b"".join)
CUTS = st.lists(st.integers(0, 700), max_size=10)


def cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@settings(max_examples=200)
@given(PIECES, CUTS)
def test_arbitrary_octets_mean_the_same_however_they_are_cut(data, places):
    assert read(cut(data, places)) == read([data]) == read(octets(data))


ADDRESSES = st.one_of(
    st.builds(
        Addresses,
        st.ip_addresses(v=4).map(str),
        st.integers(0, 65535),
        st.ip_addresses(v=4).map(str),
        st.integers(0, 65535),
    ),
    st.builds(
        Addresses,
        st.ip_addresses(v=6).filter(lambda each: not each.ipv4_mapped).map(str),
        st.integers(0, 65535),
        st.ip_addresses(v=6).filter(lambda each: not each.ipv4_mapped).map(str),
        st.integers(0, 65535),
    ),
    st.none(),
)


@settings(max_examples=200)
@given(st.sampled_from(Version), ADDRESSES, st.binary(max_size=30), CUTS)
def test_what_is_written_is_read(version, addresses, tail, places):
    raw = format_header(version, addresses)
    assert len(raw) <= (MAX_V1_OCTETS if version is Version.V1 else MAX_V2_OCTETS)
    assert read(cut(raw + tail, places)) == (Header(version, addresses), tail)


@pytest.mark.parametrize(
    ("version", "addresses", "raw"),
    [
        (Version.V1, V4, LINE4),
        (Version.V1, V6, LINE6),
        (Version.V1, None, b"PROXY UNKNOWN\r\n"),
        (Version.V2, V4, v2(BLOCK4)),
        (Version.V2, V6, v2(BLOCK6, family=0x21)),
        (Version.V2, None, v2(verb=0x20, family=0x00)),
        (
            Version.V1,
            Addresses("fe80::1%eth0", 1, "fe80::2%eth0", 25),
            b"PROXY TCP6 fe80::1 fe80::2 1 25\r\n",
        ),
        (
            Version.V1,
            Addresses("203.0.113.7", 1, "2001:db8::1", 25),
            b"PROXY TCP6 ::ffff:cb00:7107 2001:db8::1 1 25\r\n",
        ),
    ],
)
def test_headers_as_they_are_written(version, addresses, raw):
    assert format_header(version, addresses) == raw


def test_both_families_in_one_header_are_the_same_addresses():
    raw = format_header(Version.V2, Addresses("2001:db8::7", 1, "198.51.100.1", 25))
    assert read([raw])[0].addresses == Addresses("2001:db8::7", 1, "198.51.100.1", 25)
    assert ip_address(raw[32:48]).ipv4_mapped == IPv4Address("198.51.100.1")
