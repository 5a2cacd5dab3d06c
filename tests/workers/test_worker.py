"""A worker does what it is told, in that order, answers, and ends in good order whatever becomes of its supervisor."""

import os
import socket
from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool

from mailproxy.admin.values import Report
from mailproxy.errors import ConfigError
from mailproxy.observe.condition import Condition
from mailproxy.observe.counters import Counters
from mailproxy.observe.failures import Failures
from mailproxy.observe.observation import LedgerFigures, PoolFigures, State
from mailproxy.recipes import OwnNames, orders
from mailproxy.workers.board import Board
from mailproxy.workers.doings import MAX_REASONS, Doing
from mailproxy.workers.frames import Frames, format_frame
from mailproxy.workers.joined import parse_reports
from mailproxy.workers.places import place_of
from mailproxy.workers.shelf import parse_recording
from mailproxy.workers.states import parse_states
from mailproxy.workers.values import parse_value
from mailproxy.workers.worker import GOODBYE_SECONDS, REPORT_SECONDS, Worker
from tests.flight.stories import lost_in_data
from tests.support.crews import counts
from tests.support.proxies import Site


class Reactor(Clock):
    def __init__(self):
        super().__init__()
        self.stops = 0
        self.pool = ThreadPool(0, 2)

    def getThreadPool(self):
        return self.pool

    def stop(self):
        self.stops += 1


class Transport:
    """The supervisor's side."""

    def __init__(self):
        self.connected = True
        self.closing = False
        self.frames = Frames()

    def registerProducer(self, producer, streaming):
        pass

    def unregisterProducer(self):
        pass

    def write(self, data):
        self.frames.feed(data)

    def loseConnection(self):
        self.closing = True

    def abortConnection(self):
        self.closing = True


class Listener:
    def __init__(self, order, problem=None):
        self.order = order
        self.problem = problem
        self.is_open = False
        log = SimpleNamespace(counters=Counters(), failures=Failures())
        self.factory = SimpleNamespace(log=log, flights=[])
        self.state = State()
        self.condition = Condition()
        self.gate = SimpleNamespace(keeper=SimpleNamespace(state=lambda: self.state, condition=self.condition))

    def listen(self):
        self.is_open = self.problem is None
        return self.problem

    def close_port(self):
        self.is_open = False
        return succeed(None)


class Proxy:
    def __init__(self, config, endpoints):
        self.config = config
        self.endpoints = endpoints
        self.done = []
        self.listeners = [Listener(order) for order in orders(config, OwnNames("localhost"))]
        self.over = Deferred()
        self.prepared = succeed([])
        self.sessions, self.max_sessions = 0, 5
        self.unrecorded = self.recording = None

    def startService(self):
        self.done.append("start")

    def prepare(self, config):
        self.done.append(("prepare", config.server_name))
        return self.prepared

    def commit(self):
        self.done.append("commit")

    def undo(self):
        self.done.append("undo")
        return succeed(None)

    def stopService(self):
        self.done.append("stop")
        return self.over

    def hurry(self):
        self.done.append("hurry")


@pytest.fixture
def reactor():
    reactor = Reactor()
    yield reactor
    for call in reactor.getDelayedCalls():
        call.cancel()  # what it does every second


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    site.write("workers = 2\nlimits.max_sessions = 10", one='"tcp:1587"', two='"tcp:1588"')
    return site


@pytest.fixture
def proxies():
    return []


@pytest.fixture
def transport():
    return Transport()


@pytest.fixture
def worker(reactor, proxies, transport):
    def make(config, _, endpoints):
        proxies.append(Proxy(config, endpoints))
        return proxies[-1]

    board = Board.new()
    worker = Worker(reactor, board, 0, make)
    worker.channel.makeConnection(transport)
    yield worker
    board.close()


@pytest.fixture
def tell(worker):
    def tell(what, **more):
        worker.channel.dataReceived(format_frame({"do": what, **more}))

    return tell


@pytest.fixture
def hear(transport):
    """What the supervisor hears, but for what it does as a whole, which is told every second."""

    def hear():
        found = []
        while (message := transport.frames.next_message()) is not None:
            found.append(message)
        return [message for message in found if message.keys() != {"doing"}]

    return hear


@pytest.fixture
def started(tell, hear, site, proxies):
    """It serves; what was said until then is forgotten."""
    path = site.folder / "mailproxy.toml"
    tell("start", path=str(path), source=path.read_text())
    hear()
    return proxies[0]


def test_it_starts_with_its_share_of_what_the_supervisor_has_read(tell, hear, site, proxies):
    path = site.folder / "mailproxy.toml"
    source = path.read_text()
    path.unlink()
    tell("start", path=str(path), source=source)
    (proxy,) = proxies
    assert (proxy.config.path, proxy.config.limits.max_sessions) == (path, 5)
    assert proxy.done == ["start"]
    assert all(listener.is_open for listener in proxy.listeners)
    counts, states, answer = hear()
    assert [name for (name, *_), _ in counts["counts"]] == ["one", "two"]
    assert [name for (name, *_), _ in states["states"]] == ["one", "two"]
    assert answer == {"answer": []}


@pytest.mark.parametrize("wrong", ["source", "files", "socket"])
def test_what_keeps_it_from_starting_is_told_and_it_ends(worker, reactor, tell, hear, site, transport, wrong):
    path = site.folder / "mailproxy.toml"
    source = path.read_text() if wrong != "source" else "nonsense = 1"

    def make(config, _, endpoints):
        if wrong == "files":
            raise ConfigError(["no such file"])
        proxy = Proxy(config, endpoints)
        proxy.listeners[0].problem = "no such socket"
        return proxy

    worker._make = make
    tell("start", path=str(path), source=source)
    (answer,) = hear()
    assert answer["answer"]
    assert transport.closing
    assert (worker.status, reactor.stops) == (1, 0)
    worker.channel.connectionLost()
    assert reactor.stops == 1


def test_it_goes_over_to_another_configuration_in_two_steps(started, tell, hear, site):
    tell("prepare", source=f'server_name = "new.test"\n{(site.folder / "mailproxy.toml").read_text()}')
    assert started.done[1:] == [("prepare", "new.test")]
    assert hear() == [{"answer": []}]
    tell("commit")
    assert started.done[2:] == ["commit"]
    assert hear() == [{"answer": []}]


def test_one_thing_after_the_other(started, tell, hear, site):
    waiting = started.prepared = Deferred()
    tell("prepare", source=(site.folder / "mailproxy.toml").read_text())
    tell("undo")
    tell("drain")
    assert started.done[1:] == [("prepare", None)]
    tell("hurry")
    assert started.done[2:] == ["hurry"]
    waiting.callback(["no"])
    assert started.done[3:] == ["undo", "undo", "stop"]
    assert hear() == [{"answer": ["no"]}, {"answer": []}]


def test_a_mistake_of_ours_ends_no_session(started, worker, tell, hear, transport, logged_failures):
    started.commit = lambda: 1 / 0
    tell("commit")
    assert hear() == [{"answer": ["internal error in a worker"]}]
    assert not transport.closing
    assert worker.status == 0
    assert logged_failures.pop()["log_failure"].type is ZeroDivisionError
    assert logged_failures == []


def test_a_socket_that_is_in_the_way_is_left_and_taken_again(started, tell, hear):
    first, second = started.listeners
    tell("leave", places=[place_of(first.order)])
    assert (first.is_open, second.is_open) == (False, True)
    tell("undo")
    assert (first.is_open, second.is_open) == (True, True)
    first.is_open, first.problem = False, "lost"
    tell("undo")
    assert hear() == [{"answer": []}, {"answer": []}, {"answer": ["lost"]}]


def test_sockets_are_kept_for_their_listeners_and_closed_when_nobody_wants_them(started, worker, tell):
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            worker.channel.fileDescriptorReceived(os.dup(ours.fileno()))
        tell("socket", place="somewhere", outlives=True)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        tell("commit")
        assert theirs.recv(1) == b""


def test_counts_are_told_every_second_and_life_is_shown(started, reactor, transport, hear):
    counters = started.listeners[1].factory.log.counters
    counters.began()
    reactor.advance(REPORT_SECONDS)
    (said,) = hear()
    assert said == {"counts": counts(["two", None, "local", "smtp"], 1, 1)}
    reactor.advance(REPORT_SECONDS)
    assert transport.frames.next_message().keys() == {"doing"}
    assert hear() == []


def test_how_listeners_are_is_told_when_it_has_changed(started, reactor, hear):
    started.listeners[1].state = State(PoolFigures(resting=1))
    reactor.advance(REPORT_SECONDS)
    (stated,) = hear()
    assert parse_states(stated["states"], 2)[started.listeners[1].order.recipe.identity].pool.resting == 1
    reactor.advance(REPORT_SECONDS)
    assert hear() == []


def test_to_a_supervisor_that_does_not_listen_nothing_is_told(started, worker, reactor, transport):
    worker.channel.pauseProducing()
    reactor.pump([REPORT_SECONDS] * 10)
    assert transport.frames.next_message() is None
    worker.channel.resumeProducing()
    reactor.advance(REPORT_SECONDS)
    assert transport.frames.next_message().keys() == {"doing"}


def test_at_the_end_the_last_counts_are_told_before_the_process_ends(started, worker, reactor, tell, hear, transport):
    tell("drain")
    assert started.done[-1] == "stop"
    started.listeners[0].factory.log.counters.began()
    started.listeners[0].factory.log.counters.ended("shutdown")
    assert not transport.closing
    started.over.callback(None)
    assert hear() == [{"counts": counts(["one", None, "local", "smtp"], 1, 0, shutdown=1)}]
    assert transport.closing
    assert reactor.stops == 0
    worker.channel.connectionLost()
    assert (reactor.stops, worker.status) == (1, 0)


def test_a_supervisor_that_does_not_take_the_last_words_is_not_waited_for(started, reactor, tell):
    tell("drain")
    started.over.callback(None)
    reactor.advance(GOODBYE_SECONDS)
    assert reactor.stops == 1


def test_to_be_told_twice_to_end_is_to_be_told_once(started, tell):
    tell("drain")
    tell("drain")
    assert started.done.count("stop") == 1


def test_without_a_supervisor_it_ends_in_good_order(started, worker, reactor, transport):
    transport.connected = False
    worker.channel.connectionLost()
    assert started.done[1:] == ["undo", "stop"]
    assert reactor.stops == 0
    started.over.callback(None)
    assert reactor.stops == 1


def test_without_a_supervisor_before_it_has_started_it_ends_at_once(worker, reactor, transport, tell):
    tell("hurry")
    transport.connected = False
    worker.channel.connectionLost()
    assert reactor.stops == 1


def test_an_end_that_goes_wrong_is_an_end_all_the_same(started, worker, reactor, tell, logged_failures):
    tell("drain")
    started.over.errback(ZeroDivisionError())
    worker.channel.connectionLost()
    assert (reactor.stops, worker.status) == (1, 1)
    logged_failures.clear()


def test_how_many_sessions_it_has_is_seen_by_the_others(started, worker, reactor):
    started.sessions = 5
    reactor.advance(REPORT_SECONDS)
    assert worker._board.is_ahead(1, 7)
    assert not worker._board.is_ahead(1, 6)


# When somebody looks


@pytest.fixture
def look(tell, transport):
    """All that is said then."""

    def look(what):
        tell("look", at=what)
        found = []
        while (message := transport.frames.next_message()) is not None:
            found.append(message)
        assert found.pop() == {"looked": what}
        return found

    return look


def test_it_tells_what_it_is_doing(started, look):
    started.sessions, started.unrecorded, started.recording = 3, "ledger: full", LedgerFigures(records=7)
    started.listeners[1].is_open = False
    (said,) = look("doing")
    doing = parse_value(Doing, said["doing"])
    assert (doing.sessions, doing.max_sessions, doing.ledger) == (3, 5, LedgerFigures(records=7))
    assert doing.reasons == ("ledger: full", "two: not listening")
    started.listeners *= MAX_REASONS
    (said,) = look("doing")
    assert len(parse_value(Doing, said["doing"]).reasons) == MAX_REASONS


def test_it_tells_what_it_has_counted_at_that_moment(started, look):
    assert [[*message] for message in look("figures")] == [["doing"]]
    started.listeners[0].factory.log.counters.began()
    _, said = look("figures")
    assert said == {"counts": counts(["one", None, "local", "smtp"], 1, 1)}


def test_it_tells_how_every_listener_is_doing(started, look):
    one, two = started.listeners
    one.condition.last_success = 5.0
    one.factory.log.failures.note(7.0, "1-000001", "upstream_lost", "gone")
    *_, said = look("reports")
    reports = parse_reports(said["reports"])
    told = reports[one.order.recipe.identity]
    assert (told.last_success, told.failures[0].text) == (5.0, "gone")
    assert reports[two.order.recipe.identity] == Report()


def test_it_tells_of_a_session_that_ended_badly_once_and_then_that_it_counts(started, look):
    started.listeners[0].factory.flights.append(lost_in_data().flight(session="1-00000a"))
    *_, told, counts = look("reports")
    number, text = told["recording"]
    recording = parse_recording(text)
    assert (recording.listener, recording.session) == (started.listeners[0].order.label, "1-00000a")
    assert counts == {"shelf": [number]}
    assert [[*message] for message in look("reports")] == [["doing"], ["reports"]]
    started.listeners[0].factory.flights.clear()
    assert [[*message] for message in look("figures")] == [["doing"]]
    assert look("reports")[-1] == {"shelf": []}


def test_it_tells_so_while_something_else_is_under_way(started, tell, look, hear):
    started.prepared = Deferred()
    tell("prepare", source="nonsense = 1")
    hear()
    tell("drain")
    assert look("doing")
    started.over.callback(None)


def test_before_it_has_started_there_is_little_to_tell(look):
    assert [[*message] for message in look("reports")] == [["doing"]]


def test_how_late_it_is_is_measured_as_long_as_it_runs(started, worker, reactor, tell, look):
    before = sum(parse_value(Doing, look("doing")[0]["doing"]).lag.counts)
    reactor.advance(1.0)
    assert sum(parse_value(Doing, look("doing")[0]["doing"]).lag.counts) == before + 1
    tell("drain")
    started.over.callback(None)
    worker.channel.connectionLost()
    assert worker._lag._call is None
