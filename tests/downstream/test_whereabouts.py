"""Where a client is, for the log and for the mail server."""

from types import SimpleNamespace

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from mailproxy.downstream.whereabouts import ends_of, host_of, place_of, source_of
from mailproxy.wire.proxyprotocol import Addresses


def connection(peer, own):
    return SimpleNamespace(getPeer=lambda: peer, getHost=lambda: own)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (IPv4Address("TCP", "192.0.2.1", 25), "192.0.2.1:25"),
        (IPv6Address("TCP", "2001:db8::1", 25), "[2001:db8::1]:25"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 25), "192.0.2.1:25"),
        (IPv6Address("TCP", "fe80::1%eth0", 25), "[fe80::1%eth0]:25"),
        (UNIXAddress("/x"), "a local socket"),
        (None, "a local socket"),
    ],
)
def test_places(address, place):
    assert place_of(address) == place


def test_hosts():
    """As auditors look for them: one of IPv4 that came to a socket of IPv6 is what it is."""
    assert host_of(IPv6Address("TCP", "::ffff:192.0.2.1", 25)) == "192.0.2.1"
    assert host_of(IPv6Address("TCP", "2001:db8::1", 25)) == "2001:db8::1"
    assert host_of(UNIXAddress(None)) is None


@pytest.mark.parametrize(
    ("peer", "own", "ends"),
    [
        (
            IPv4Address("TCP", "192.0.2.1", 4711),
            IPv4Address("TCP", "192.0.2.2", 25),
            Addresses("192.0.2.1", 4711, "192.0.2.2", 25),
        ),
        (
            IPv6Address("TCP", "::ffff:192.0.2.1", 4711),
            IPv6Address("TCP", "::ffff:192.0.2.2", 25),
            Addresses("192.0.2.1", 4711, "192.0.2.2", 25),
        ),
        (
            IPv6Address("TCP", "fe80::1%eth0", 4711),
            IPv6Address("TCP", "fe80::2%eth0", 25),
            Addresses("fe80::1%eth0", 4711, "fe80::2%eth0", 25),
        ),
        (UNIXAddress(None), UNIXAddress("/x"), None),
    ],
)
def test_ends(peer, own, ends):
    assert ends_of(connection(peer, own)) == ends


def test_sources():
    assert source_of(Addresses("192.0.2.1", 4711, "192.0.2.2", 25)) == IPv4Address("TCP", "192.0.2.1", 4711)
    assert source_of(Addresses("2001:db8::1", 4711, "::1", 25)) == IPv6Address("TCP", "2001:db8::1", 4711)
