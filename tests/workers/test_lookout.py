"""What the admin endpoint shows of several workers: all of them taken together, whatever becomes of one."""

import pytest
from twisted.internet.defer import Deferred, DeferredLock

from mailproxy.admin.status import readiness
from mailproxy.admin.values import Report, Work
from mailproxy.destination.model import MailProtocol
from mailproxy.flight.latest import MAX_SHOWN
from mailproxy.flight.recording import recording_of
from mailproxy.observe.condition import Mishap, State
from mailproxy.observe.failures import Failed
from mailproxy.observe.histogram import Histogram
from mailproxy.observe.observation import LedgerFigures, Observation
from mailproxy.recipes import Identity, OwnNames, orders
from mailproxy.workers.board import Board
from mailproxy.workers.crew import Crew
from mailproxy.workers.doings import Doing
from mailproxy.workers.joined import portions
from mailproxy.workers.lookout import Lookout
from mailproxy.workers.mate import LOOK_SECONDS
from mailproxy.workers.shelf import Telling
from mailproxy.workers.values import format_value
from tests.flight.stories import lost_in_data
from tests.support.crews import Reactor, Spawner, counts
from tests.support.proxies import Followed, Site

ONE = Identity("one", "acme", "local", MailProtocol.SMTP)
WHO = ["one", "acme", "local", "smtp"]


class Held:
    is_open = True

    def __init__(self, order):
        self.order = order


class Supervisor:
    """What is wanted, and what has come of it."""

    config_since = 50.0
    bound, stopping = True, False
    complaints = ("nonsense = 1",)

    def __init__(self, config, crew):
        self.config = config
        self.crew = crew
        self.listeners = [Held(order) for order in orders(config, OwnNames("localhost"))]

    def observations(self):
        totals = self.crew.ledger.totals()
        return [Observation("smtp", "one", "acme", "one-acme", totals[ONE])] if ONE in totals else []


class House:
    """Two workers and who looks after them."""

    def __init__(self, folder):
        self.clock = Reactor()
        self.clock.advance(100)
        self.spawner = Spawner(drain=lambda process: process.end())
        self.board = Board.new()
        self.crew = Crew(
            self.clock,
            2,
            spawn=self.spawner,
            brief=lambda mate: mate.ask({"do": "start"}),
            board=self.board,
            one_at_a_time=DeferredLock(),
            random=lambda: 0.0,
            give_up=lambda: None,
        )
        config = Site(folder).write("workers = 2", one='{ acme = "tcp:1587" }')
        self.supervisor = Supervisor(config, self.crew)
        self.lookout = Lookout(self.supervisor, self.crew, self.clock)
        self.pages = self.lookout.pages()
        self.crew.start()
        self.telling = [Telling(), Telling()]

    def ask(self, question, *what):
        return Followed(Deferred.fromCoroutine(question(*what)))

    def tell(self, worker, sessions, active, doing=None, report=None, recordings=(), **outcomes):
        """What that worker says when somebody looks."""

        def told(process):
            process.say({"doing": format_value(doing or Doing(active, 10))})
            process.say({"counts": counts(WHO, sessions, active, **outcomes)})
            for portion in portions({ONE: report or Report()}):
                process.say({"reports": portion})
            for message in self.telling[worker].news(recordings):
                process.say(message)
            process.say({"looked": process.channel.said[-1]["at"]})

        process = self.spawner.processes[worker]
        process.answers = {**self.spawner.answers, "look": told}

    def close(self):
        over = Followed(Deferred.fromCoroutine(self.crew.stop(1)))
        self.lookout.history.stop()
        assert over.called
        assert not self.clock.getDelayedCalls()
        self.board.close()


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.close()


def lag(seconds):
    histogram = Histogram()
    histogram.observe(seconds)
    return histogram


def test_the_process_is_the_supervisor_and_its_sessions_are_those_of_all(house):
    house.tell(0, 5, 2, quit=3)
    house.tell(1, 7, 1, quit=6)
    process = house.ask(house.pages.glance).result.process
    assert (process.sessions, process.max_sessions, process.started) == (3, 20, 100.0)
    assert (process.complaints, process.config_since) == (("nonsense = 1",), 50.0)
    assert [(hand.work, hand.number, hand.pid, hand.sessions) for hand in process.crew] == [
        (Work.SERVING, 1, 4000, 2),
        (Work.SERVING, 2, 4001, 1),
    ]


def test_a_row_is_what_all_have_seen(house):
    refused = Mishap(90.0, "upstream_refused_login", "no")
    house.tell(0, 5, 2, report=Report(80.0, failures=(Failed(70.0, 75.0, 2, "1-1", "lost", "gone"),)), quit=3)
    house.tell(1, 7, 1, report=Report(60.0, refused, failures=(Failed(60.0, 90.0, 1, "2-1", "lost", "gone"),)), quit=6)
    (row,) = house.ask(house.pages.picture).result.rows
    assert (row.label, row.active, row.total, row.listening) == ("acme/one", 3, 12, True)
    assert (row.report.last_success, row.report.last_failure, row.verdict.state) == (80.0, refused, State.FAILING)
    assert [(each.count, each.first, each.last) for each in row.report.failures] == [(3, 60.0, 90.0)]


def ended(session, second):
    return recording_of(lost_in_data().flight(session=session, ended=1_795_000_000 + second), "acme/one")


def test_the_last_sessions_that_ended_badly_are_the_last_ones_of_all(house):
    house.tell(0, 5, 2, recordings=[ended(f"1-{second:06x}", second) for second in range(60, 0, -3)])
    house.tell(1, 7, 1, recordings=[ended(f"2-{second:06x}", second) for second in range(61, 1, -3)])
    first = house.ask(house.pages.picture).result.recordings
    last = [f"{2 - (second % 3 == 0)}-{second:06x}" for second in range(61, 0, -1) if second % 3 != 2]
    assert [each.session for each in first] == last[:MAX_SHOWN]
    again = house.ask(house.pages.picture).result.recordings
    assert all(one is other for one, other in zip(first, again, strict=True)), "each was told once"
    house.spawner.processes[0].end(signal=9)
    left = house.ask(house.pages.picture).result.recordings
    assert {each.session[0] for each in left} == {"2"}, "what a worker had kept goes with it"


def test_before_anybody_has_told_there_is_a_row_all_the_same(house):
    (row,) = house.ask(house.pages.picture).result.rows
    assert (row.total, row.verdict.state) == (0, State.UNUSED)


def test_statistics_are_sums_and_add_up(house):
    house.tell(0, 5, 2, quit=3)
    house.tell(1, 7, 1, quit=5, upstream_lost=1)
    lines = house.ask(house.pages.stats).result.splitlines()
    assert "smtp.one-acme.sessions: 12" in lines
    assert "smtp.one-acme.sessions_active: 3" in lines
    assert "smtp.one-acme.outcomes.quit: 8" in lines


def test_metrics_are_sums_too_those_of_processes_included(house):
    house.tell(0, 5, 2, Doing(lag=lag(0.5), ledger=LedgerFigures(records=3)), quit=3)
    house.tell(1, 7, 1, Doing(lag=lag(2.0), ledger=LedgerFigures(records=4, failing=1)), quit=6)
    _, text = house.ask(house.pages.metrics, "").result
    lines = text.decode().splitlines()
    labels = 'destination="one",protocol="smtp",tenant="acme"'
    for line in (
        f"mailproxy_sessions_active{{{labels}}} 3.0",
        'mailproxy_sessions_total{destination="one",outcome="quit",protocol="smtp",tenant="acme"} 9.0',
        "mailproxy_reactor_lag_seconds_count 2.0",
        "mailproxy_reactor_lag_seconds_sum 2.5",
        "mailproxy_ledger_records_total 7.0",
        "mailproxy_ledger_failing 1.0",
        'mailproxy_workers{state="serving"} 2.0',
        'mailproxy_workers{state="absent"} 0.0',
        "mailproxy_workers_ended_total 0.0",
    ):
        assert line in lines


def test_one_that_does_not_answer_holds_up_nobody_and_is_told(house):
    house.tell(0, 5, 2, quit=3)
    house.tell(1, 7, 1, quit=6)
    house.ask(house.pages.stats)
    house.spawner.processes[1].answers = {**house.spawner.answers, "look": None}
    house.tell(0, 6, 2, quit=4)
    asked = house.ask(house.pages.stats)
    assert not asked.called
    house.clock.advance(LOOK_SECONDS)
    assert "smtp.one-acme.sessions: 13" in asked.result.splitlines(), "what it told last counts"
    glance = house.ask(house.pages.glance)
    house.clock.advance(LOOK_SECONDS)
    said = readiness(glance.result)
    assert said["ready"] is True
    assert [each["state"] for each in said["crew"]] == ["serving", "silent"]
    assert said["crew"][1]["reasons"] == [f"has not answered within {LOOK_SECONDS:g} s"]


def test_one_that_is_killed_leaves_what_it_has_counted(house):
    house.tell(0, 5, 2, quit=3)
    house.tell(1, 7, 1, quit=6)
    house.ask(house.pages.stats)
    house.spawner.processes[0].end(signal=9)
    lines = house.ask(house.pages.stats).result.splitlines()
    assert "smtp.one-acme.sessions: 12" in lines
    assert "smtp.one-acme.sessions_active: 1" in lines
    assert "smtp.one-acme.outcomes.worker_lost: 2" in lines
    said = readiness(house.ask(house.pages.glance).result)
    assert [each["state"] for each in said["crew"]] == ["absent", "serving"]
    assert said["ready"] is True
    _, text = house.ask(house.pages.metrics, "").result
    assert b"\nmailproxy_workers_ended_total 1.0\n" in text


def test_when_nobody_serves_the_reasons_say_why(house):
    house.tell(0, 0, 0, Doing(reasons=("ledger: No space left on device",)))
    house.spawner.processes[1].end(signal=9)
    said = readiness(house.ask(house.pages.glance).result)
    assert said["ready"] is False
    assert said["reasons"] == ["worker 1: ledger: No space left on device", "seat 2: not running"]
    house.spawner.answers["start"] = None
    house.clock.advance(0.5)
    said = readiness(house.ask(house.pages.glance).result)
    assert said["reasons"][1] == "worker 3: starting"
    house.spawner.processes[2].end()


def test_the_hour_is_that_of_all(house):
    house.tell(0, 5, 2, quit=3)
    house.tell(1, 7, 1, quit=6)
    house.ask(house.pages.stats)
    house.lookout.history.start()
    house.tell(0, 9, 2, quit=7)
    house.ask(house.pages.stats)
    house.lookout.history.start()
    assert house.ask(house.pages.history).result["listeners"] == {
        "acme/one": {"sessions": [4], "failures": [0], "active": [3]}
    }
