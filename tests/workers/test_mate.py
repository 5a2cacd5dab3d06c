"""A worker as the supervisor knows it: every question has an answer or an end, and silence has a bound."""

import signal

import pytest
from twisted.internet.error import ProcessExitedAlready

from mailproxy.admin.values import Report
from mailproxy.destination.model import MailProtocol
from mailproxy.flight.recording import recording_of
from mailproxy.recipes import Identity
from mailproxy.workers.doings import Doing
from mailproxy.workers.joined import portions
from mailproxy.workers.mate import ANSWER_SECONDS, LOOK_SECONDS, SILENT_TURNS, Look, Mate
from mailproxy.workers.shelf import Telling
from mailproxy.workers.values import format_value
from tests.flight.stories import lost_in_data
from tests.support.crews import Reactor, Spawner
from tests.support.proxies import Followed


class Records:
    """Keeps what a worker tells, and its number."""

    def __init__(self, kept):
        self.report = self.note = self.tell = self.describe = self.shelve = lambda number, found: kept.append(
            (number, found)
        )


@pytest.fixture
def clock():
    clock = Reactor()
    yield clock
    assert not clock.getDelayedCalls()


@pytest.fixture
def counted():
    return []


@pytest.fixture
def spawner():
    return Spawner(prepare=["no"], leave=None)


@pytest.fixture
def mate(clock, counted, spawner):
    mate = Mate(clock, 7, 0, Records(counted))
    spawner(mate)
    yield mate
    spawner.processes[0].end()


def test_answers_come_in_order(mate):
    first, second = Followed(mate.ask({"do": "commit"})), Followed(mate.ask({"do": "prepare"}))
    assert (first.result, second.result) == ([], ["no"])


def test_what_it_says_of_problems_is_shown_safely(mate, spawner):
    spawner.answers["start"] = ["a\nb\x1b"]
    assert Followed(mate.ask({"do": "start"})).result == ["a\\x0ab\\x1b"]


def test_counts_are_handed_on_with_its_number(mate, counted, spawner):
    spawner.processes[0].say({"counts": []})
    spawner.processes[0].say({"states": []})
    assert counted == [(7, {}), (7, {})]


def test_a_worker_that_does_not_answer_is_killed(clock, mate, spawner):
    answer = Followed(mate.ask({"do": "leave"}))
    for _ in range(int(ANSWER_SECONDS)):
        assert not answer.called
        spawner.processes[0].say({"counts": []})
        clock.advance(1)
    assert (answer.called, answer.result) == (True, None)
    assert spawner.processes[0].signals == [signal.SIGKILL]


def test_at_its_end_everybody_who_waits_hears_of_it(mate, spawner):
    answers = [Followed(mate.ask({"do": "leave"})) for _ in range(3)]
    over = Followed(mate.over)
    spawner.processes[0].end(signal=signal.SIGSEGV)
    assert [answer.result for answer in answers] == [None] * 3
    assert over.result == "signal SIGSEGV"
    assert Followed(mate.ask({"do": "leave"})).result is None
    mate.kill("for fun")
    assert spawner.processes[0].signals == []


def test_a_process_that_is_gone_before_its_last_lines_have_come_is_not_killed(mate, spawner):
    def signal_process(_):
        raise ProcessExitedAlready

    spawner.processes[0].signalProcess = signal_process
    mate.kill("for fun")
    assert not mate.over.called


@pytest.mark.parametrize(
    ("how", "words"),
    [({}, "status 0"), ({"status": 3}, "status 3"), ({"signal": 9}, "signal SIGKILL"), ({"signal": 50}, "signal 50")],
)
def test_how_it_ended_is_told(mate, spawner, how, words):
    over = Followed(mate.over)
    spawner.processes[0].end(**how)
    assert over.result == words


def test_a_worker_that_says_nothing_is_killed(clock, mate, spawner):
    for _ in range(SILENT_TURNS):
        clock.advance(1)
    assert mate.pid == 4000
    assert spawner.processes[0].signals == []
    clock.advance(1)
    assert spawner.processes[0].signals == [signal.SIGKILL]


def test_a_pause_of_our_own_is_no_silence_of_its(clock, mate, spawner):
    clock.advance(3600)
    spawner.processes[0].say({"counts": []})
    for _ in range(SILENT_TURNS):
        clock.advance(1)
    assert spawner.processes[0].signals == []


def test_a_worker_that_has_closed_its_channel_has_to_end(clock, mate, spawner):
    mate.channel.connectionLost()
    clock.advance(SILENT_TURNS)
    assert spawner.processes[0].signals == [signal.SIGKILL]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"answer": []},
        {"answer": "x"},
        {"answer": [1]},
        {"answer": ["x"] * 10_001},
        {"counts": 1},
        {"other": 1},
        {"doing": 1},
        {"reports": 1},
        {"looked": "away"},
        {"recording": 1},
        {"recording": [1, "{}"]},
        {"shelf": 1},
        {"shelf": [1]},
    ],
)
def test_nonsense_ends_the_connection(mate, spawner, message, logged_failures):
    if message.get("answer"):
        mate.ask({"do": "leave"})
    spawner.processes[0].say(message)
    assert not spawner.processes[0].channel.connected
    logged_failures.clear()


# Looking


def test_recordings_are_written_down_when_it_has_said_which_ones_count(mate, counted, spawner):
    recording = recording_of(lost_in_data().flight(), "acme/one")
    for message in Telling().news([recording]):
        assert counted == []
        spawner.processes[0].say(message)
    assert counted == [(7, (recording,))]


def test_what_it_tells_when_somebody_looks_is_written_down(mate, counted, spawner):
    spawner.answers["look"] = None
    done = Followed(mate.look(Look.REPORTS))
    (worker,) = spawner.processes
    assert worker.channel.said[-1] == {"do": "look", "at": "reports"}
    doing = Doing(sessions=3, reasons=("ledger: full",))
    worker.say({"doing": format_value(doing)})
    reports = {Identity("one", "acme", "local", MailProtocol.SMTP): Report(last_success=5.0)}
    for portion in portions(reports):
        worker.say({"reports": portion})
    assert counted == [(7, doing)]
    assert not done.called
    worker.say({"looked": "reports"})
    assert counted[1:] == [(7, reports)]
    assert (done.called, mate.answers) == (True, True)


def test_one_that_does_not_tell_in_time_is_not_waited_for_and_not_asked_again(clock, mate, spawner):
    spawner.answers["look"] = None
    (worker,) = spawner.processes
    for _ in range(3):
        done = Followed(mate.look(Look.DOING))
        clock.advance(LOOK_SECONDS - 0.01)
        assert not done.called
        clock.advance(0.02)
        assert (done.called, mate.answers) == (True, False)
    assert worker.channel.said == [{"do": "look", "at": "doing"}]
    worker.say({"looked": "doing"})
    assert mate.answers
    assert not Followed(mate.look(Look.DOING)).called
    assert len(worker.channel.said) == 2
    clock.advance(LOOK_SECONDS)


def test_who_looks_at_the_same_time_is_told_at_the_same_time(mate, spawner):
    spawner.answers["look"] = None
    (worker,) = spawner.processes
    first, second = Followed(mate.look(Look.FIGURES)), Followed(mate.look(Look.FIGURES))
    other = Followed(mate.look(Look.DOING))
    assert [message["at"] for message in worker.channel.said] == ["figures", "doing"]
    worker.say({"looked": "figures"})
    assert (first.called, second.called, other.called) == (True, True, False)
    worker.end()
    assert other.called
    assert Followed(mate.look(Look.DOING)).called


def test_of_more_listeners_than_there_may_be_nothing_is_heard(mate, spawner, counted, monkeypatch, logged_failures):
    monkeypatch.setattr("mailproxy.workers.mate.MAX_REPORTED", 2)
    for number in range(3):
        (portion,) = portions({Identity(f"{number}", None, "local", MailProtocol.SMTP): Report()})
        spawner.processes[0].say({"reports": portion})
    assert not spawner.processes[0].channel.connected
    assert counted == []
    logged_failures.clear()
