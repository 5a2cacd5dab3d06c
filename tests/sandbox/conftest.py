"""A running sandbox, and clients for it that trust its CA."""

import socket
import ssl

import pytest
import pytest_twisted
from twisted.internet import reactor

from mailproxy.sandbox.layout import CA_FILE
from mailproxy.sandbox.world import World


@pytest_twisted.async_yield_fixture
async def world(tmp_path):
    world = World.open(reactor, tmp_path)
    yield world
    await world.close()


@pytest.fixture
def acme(world):
    return world.tenants[0]


@pytest.fixture
def globex(world):
    return world.tenants[1]


@pytest.fixture
def trust(world):
    return ssl.create_default_context(cafile=world.directory / CA_FILE)


@pytest.fixture(autouse=True)
def localhost_names(monkeypatch):
    """Names below localhost lead to loopback for the standard library's clients as well, as RFC 6761 wants it."""
    lookup = socket.getaddrinfo

    def resolve(host, *arguments, **options):
        return lookup("127.0.0.1" if str(host).endswith(".localhost") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
