"""The name of a socket is the same for both sides, and for no other socket."""

import itertools

import attrs
import pytest

from mailproxy.recipes import OwnNames, orders
from mailproxy.workers.places import place_of
from tests.support.proxies import Site

ENDPOINTS = [
    "tcp:1587",
    "tcp:1587:backlog=5",
    "tcp:01587",
    "tcp:0",
    "tcp6:1587",
    "tcp:1587:interface=0.0.0.0",
    "unix:/tmp/x",
    "unix:/tmp/x:mode=600",
    "systemd:INET:name=x",
    "systemd:INET:index=0",
]


@pytest.fixture
def made(tmp_path):
    """One order for each endpoint, for each of two destinations."""
    config = Site(tmp_path).write(one='"tcp:1"', two='"tcp:2"')
    return [
        attrs.evolve(order, endpoint=text)
        for order, text in itertools.product(orders(config, OwnNames("localhost")), ENDPOINTS)
    ]


def test_names_are_equal_exactly_where_orders_stand_in_for_each_other(made):
    for one, other in itertools.product(made, made):
        assert (place_of(one) == place_of(other)) is (one.place == other.place), (one.endpoint, other.endpoint)
