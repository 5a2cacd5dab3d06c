"""Signals: the first stops, the second hurries, SIGHUP reloads; each in the reactor's turn."""

import signal

import pytest
from twisted.logger import globalLogPublisher

from mailproxy.signals import Signals


class Reactor:
    def __init__(self):
        self.queue = []

    def callFromThread(self, function, *args):
        self.queue.append((function, args))

    def turn(self):
        queue, self.queue = self.queue, []
        for function, args in queue:
            function(*args)


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def done():
    return []


@pytest.fixture
def handlers():
    return {}


@pytest.fixture
def signals(reactor, done, handlers):
    return Signals(
        reactor,
        stop=lambda: done.append("stop"),
        hurry=lambda: done.append("hurry"),
        reload=lambda: done.append("reload"),
        install=handlers.__setitem__,
    )


@pytest.fixture
def send(reactor, handlers):
    """Sends a signal; what it leads to happens in the reactor's turn."""

    def send(number):
        handlers[number](number, None)
        reactor.turn()

    return send


def test_three_signals_are_ours(signals, handlers):
    signals.install()
    assert handlers.keys() == {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_first_one_stops_and_every_further_one_hurries(signals, send, done, first, second):
    signals.install()
    send(first)
    assert done == ["stop"]
    send(second)
    send(second)
    assert done == ["stop", "hurry", "hurry"]


def test_hup_reloads_as_often_as_it_comes(signals, send, done):
    signals.install()
    send(signal.SIGHUP)
    send(signal.SIGHUP)
    assert done == ["reload", "reload"]


def test_nothing_happens_in_the_middle_of_something(signals, reactor, handlers, done):
    signals.install()
    handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert done == []
    reactor.turn()
    assert done == ["stop"]


def test_to_be_installed_twice_forgets_nothing(signals, send, done):
    signals.install()
    send(signal.SIGTERM)
    signals.install()
    send(signal.SIGTERM)
    assert done == ["stop", "hurry"]


def test_an_interrupt_that_was_ignored_when_we_were_started_stays_ignored(signals, handlers):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signals.install()
    finally:
        signal.signal(signal.SIGINT, before)
    assert handlers.keys() == {signal.SIGTERM, signal.SIGHUP}


def test_the_log_names_the_signal(signals, send):
    said = []
    globalLogPublisher.addObserver(said.append)
    try:
        signals.install()
        send(signal.SIGHUP)
    finally:
        globalLogPublisher.removeObserver(said.append)
    assert [event["signal"] for event in said] == ["SIGHUP"]
