"""Who is believed: whoever is listed, and nobody else."""

from ipaddress import ip_network

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from mailproxy.downstream.balancers import Balancers
from mailproxy.wire.proxyprotocol import Version


def balancers(*networks, local=False):
    return Balancers([Version.V1], tuple(map(ip_network, networks)), local=local, inside_tls=False, seconds=5.0, most=1)


@pytest.mark.parametrize(
    ("address", "networks", "included"),
    [
        (IPv4Address("TCP", "10.1.2.3", 1), ["10.0.0.0/8"], True),
        (IPv4Address("TCP", "11.1.2.3", 1), ["10.0.0.0/8"], False),
        (IPv4Address("TCP", "11.1.2.3", 1), ["10.0.0.0/8", "11.1.2.3"], True),
        (IPv6Address("TCP", "::ffff:10.1.2.3", 1), ["10.0.0.0/8"], True),
        (IPv6Address("TCP", "2001:db8::5", 1), ["10.0.0.0/8", "2001:db8::/32"], True),
        (IPv6Address("TCP", "2001:db9::5", 1), ["10.0.0.0/8", "2001:db8::/32"], False),
        (IPv6Address("TCP", "fe80::5%eth0", 1), ["fe80::/10"], True),
        (IPv4Address("TCP", "10.1.2.3", 1), [], False),
    ],
)
def test_networks(address, networks, included):
    assert balancers(*networks).include(address) is included


@pytest.mark.parametrize("address", [UNIXAddress("/x"), UNIXAddress(None), None])
def test_who_comes_through_a_local_socket_has_to_be_listed_as_well(address):
    assert balancers("10.0.0.0/8", local=True).include(address)
    assert not balancers("10.0.0.0/8").include(address)
