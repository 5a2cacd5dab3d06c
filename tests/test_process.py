"""The proxy as a process: it says when it is ready, hears signals, and keeps to its configuration file."""

import gc
import signal
import socket
from threading import Event
from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool

from mailproxy.config import load
from mailproxy.process import Process, spare_the_collector
from mailproxy.watch import fingerprint
from tests.support.proxies import HEAD, LISTENER


class Reactor(Clock):
    """Runs when it is told to."""

    def __init__(self):
        super().__init__()
        self.stops = 0
        self.pool = ThreadPool(0, 2)
        self._first = []

    def callWhenRunning(self, function):
        self._first.append(function)

    def callFromThread(self, function, *args):
        self.callLater(0, function, *args)

    def getThreadPool(self):
        return self.pool

    def stop(self):
        self.stops += 1

    def run(self):
        for function in self._first:
            function()


class Proxy:
    def __init__(self, config, events):
        self.config = config
        self.listeners = [SimpleNamespace()] * 3
        self.up = succeed(None)
        self.over = Deferred()
        self.problems = []
        self._events = events

    def privilegedStartService(self):
        self._events.append("bound")

    def startService(self):
        self._events.append("started")

    def serving(self):
        return self.up

    def stopService(self):
        self._events.append("stopping")
        return self.over

    def hurry(self):
        self._events.append("hurried")

    def reload(self, config):
        self._events.append("reloaded")
        return succeed(self.problems)


@pytest.fixture
def events():
    return []


@pytest.fixture
def manager(tmp_path):
    """The service manager's ear."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(0)
        yield listening


def heard(manager):
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode().splitlines()[0])
        except BlockingIOError:
            return messages


@pytest.fixture
def handlers():
    return {}


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def proxy(tmp_path, events):
    path = tmp_path / "mailproxy.toml"
    path.write_text(HEAD + LISTENER.format(name="dest", listen='"tcp:1587"'))
    return Proxy(load(path), events)


@pytest.fixture
def process(proxy, reactor, manager, handlers):
    """It is up to the test to start it; the service manager has a watchdog."""
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "2000000"}
    process = Process(proxy, reactor, fingerprint(proxy.config.path), environ, install=handlers.__setitem__)
    yield process
    if process.running:
        process.stopService()
    if not proxy.over.called:
        proxy.over.callback(None)
    assert not reactor.getDelayedCalls()


@pytest.fixture
def running(process, reactor, manager):
    """It runs; what was said until then is forgotten."""
    process.privilegedStartService()
    process.startService()
    reactor.run()
    heard(manager)
    return process


def send(reactor, handlers, number):
    handlers[number](number, None)
    reactor.advance(0)


def test_it_is_ready_when_the_ports_are_bound_and_the_reactor_runs(process, reactor, manager, events, handlers):
    process.privilegedStartService()
    process.startService()
    assert events == ["bound", "started"]
    assert heard(manager) == []
    handlers.clear()  # the reactor takes them when it starts
    reactor.run()
    assert heard(manager) == ["WATCHDOG=1", "READY=1"]
    assert handlers.keys() == {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def test_it_is_ready_only_when_clients_are_served(process, reactor, proxy, manager, handlers, events):
    proxy.up = Deferred()
    process.privilegedStartService()
    process.startService()
    reactor.run()
    send(reactor, handlers, signal.SIGHUP)
    assert heard(manager) == []
    proxy.up.callback(None)
    assert heard(manager) == ["WATCHDOG=1", "READY=1"]
    assert "reloaded" not in events


def test_it_is_never_ready_once_the_end_has_begun(process, reactor, proxy, manager):
    proxy.up = Deferred()
    process.privilegedStartService()
    process.startService()
    reactor.run()
    process.stopService()
    proxy.up.callback(None)
    assert heard(manager) == ["STOPPING=1"]


def test_signals_are_heard_before_the_first_port_is_bound(process, handlers, monkeypatch):
    seen = []
    monkeypatch.setattr(process._proxy, "privilegedStartService", lambda: seen.extend(handlers))
    process.privilegedStartService()
    assert signal.SIGTERM in seen


@pytest.mark.usefixtures("running")
def test_a_signal_stops_the_reactor_and_the_next_one_hurries(reactor, handlers, events):
    send(reactor, handlers, signal.SIGTERM)
    assert (reactor.stops, events[2:]) == (1, [])
    send(reactor, handlers, signal.SIGTERM)
    assert (reactor.stops, events[2:]) == (1, ["hurried"])


def test_at_the_end_the_service_manager_is_told_and_the_watchdog_fed(running, reactor, proxy, manager, events):
    over = running.stopService()
    assert events[2:] == ["stopping"]
    assert heard(manager) == ["STOPPING=1"]
    reactor.pump([1] * 3)
    assert heard(manager) == ["WATCHDOG=1"] * 3
    assert not over.called
    proxy.over.callback(None)
    assert over.called
    assert not reactor.getDelayedCalls()


@pytest.mark.usefixtures("running")
def test_hup_loads_the_file_and_the_service_manager_is_told(reactor, handlers, manager, events):
    send(reactor, handlers, signal.SIGHUP)
    assert events[2:] == ["reloaded"]
    assert heard(manager) == ["RELOADING=1", "READY=1"]


@pytest.mark.usefixtures("running")
def test_a_changed_file_is_loaded_by_itself(reactor, proxy, manager, events):
    path = proxy.config.path
    path.write_text(f"# other\n{path.read_text()}")
    reactor.advance(5)
    assert events[2:] == ["reloaded"]
    assert [word for word in heard(manager) if word != "WATCHDOG=1"] == ["RELOADING=1", "READY=1"]


@pytest.mark.usefixtures("running")
def test_the_status_says_so_when_a_configuration_is_not_in_use(reactor, proxy, manager, handlers):
    proxy.problems = ["no"]
    manager.settimeout(0)
    send(reactor, handlers, signal.SIGHUP)
    manager.recv(4096)
    status = manager.recv(4096).decode().splitlines()[1]
    assert status == "STATUS=listeners: 3; a changed configuration is not in use, see the log"


@pytest.mark.usefixtures("running")
def test_after_the_end_has_begun_nothing_is_loaded(running, reactor, proxy, handlers, events):
    running.stopService()
    path = proxy.config.path
    path.write_text(f"# other\n{path.read_text()}")
    send(reactor, handlers, signal.SIGHUP)
    reactor.advance(5)
    assert "reloaded" not in events


def test_a_thread_that_waits_for_a_name_service_does_not_hold_up_the_end(running, reactor, proxy):
    busy, release = Event(), Event()
    reactor.pool.start()

    def look_up():
        busy.set()
        release.wait(30)

    reactor.pool.callInThread(look_up)
    assert busy.wait(30)
    (thread,) = reactor.pool.threads
    assert thread.daemon
    running.stopService()
    proxy.over.callback(None)
    reactor.pool.stop()
    assert thread.is_alive()
    release.set()
    thread.join(30)


def test_what_was_made_at_the_start_is_not_looked_at_again():
    gc.unfreeze()
    spare_the_collector()
    assert gc.get_freeze_count() > 1000
    assert gc.collect() == 0
