"""A clock that stands still, services in memory, and what is logged."""

import json

import pytest
from attrs import frozen
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from mailproxy.destination.http import Web
from tests.support.services import SERVICE_CLIENT, SERVICE_SECRET, MemoryClients, Services


@frozen
class World:
    """One clock, the services, and the means to ask them."""

    clock: Clock
    services: Services
    clients: MemoryClients
    web: Web
    events: list


@pytest.fixture
def clock():
    clock = Clock()
    clock.advance(1_000_000)
    yield clock
    assert not clock.getDelayedCalls(), "a timer was left behind"


@pytest.fixture
def events():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


@pytest.fixture
def ours(events):
    """The events of the package under test, formatted."""

    def formatted():
        namespace = "mailproxy.destination"
        return [event["log_format"].format(**event) for event in events if event["log_namespace"] == namespace]

    return formatted


@pytest.fixture
def world(clock, events):
    services = Services()
    clients = MemoryClients(services)
    return World(clock, services, clients, Web(clients, clock), events)


@pytest.fixture
def write_key(tmp_path):
    """Writes a service key for the services and gives its path."""

    def write(**more):
        key = {
            "clientid": SERVICE_CLIENT,
            "clientsecret": SERVICE_SECRET,
            "url": "https://provider.authentication.example.com",
            "uri": "https://destinations.example.com",
            **more,
        }
        path = tmp_path / "key.json"
        path.write_text(json.dumps({name: value for name, value in key.items() if value is not None}))
        return path

    return write
