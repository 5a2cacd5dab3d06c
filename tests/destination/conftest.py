"""A clock that stands still, services in memory, and what is logged."""

import pytest
from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from mailproxy.destination.http import Web
from tests.support.services import MemoryClients, Services


@define
class Outcome:
    """What a coroutine has come to by now: `running`, `value` or `error`."""

    deferred: Deferred
    results: list = field(factory=list)

    @classmethod
    def of(cls, coroutine):
        outcome = cls(Deferred.fromCoroutine(coroutine))
        outcome.deferred.addBoth(outcome.results.append)
        return outcome

    @property
    def running(self):
        return not self.results

    @property
    def value(self):
        (result,) = self.results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    @property
    def error(self):
        (result,) = self.results
        assert isinstance(result, Failure), result
        return result.value


def start(coroutine):
    """The coroutine runs as far as it can."""
    return Outcome.of(coroutine)


def run(coroutine):
    """The coroutine ends at once: its value, or its error."""
    return Outcome.of(coroutine).value


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
