"""A worker as the supervisor knows it: every question has an answer or an end, and silence has a bound."""

import signal

import pytest
from twisted.internet.error import ProcessExitedAlready

from mailproxy.workers.mate import ANSWER_SECONDS, SILENT_TURNS, Mate
from tests.support.crews import Reactor, Spawner
from tests.support.proxies import Followed


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
    mate = Mate(clock, 7, 0, *[lambda number, found: counted.append((number, found))] * 2)
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
    [{}, {"answer": []}, {"answer": "x"}, {"answer": [1]}, {"answer": ["x"] * 10_001}, {"counts": 1}, {"other": 1}],
)
def test_nonsense_ends_the_connection(mate, spawner, message, logged_failures):
    if message.get("answer"):
        mate.ask({"do": "leave"})
    spawner.processes[0].say(message)
    assert not spawner.processes[0].channel.connected
    logged_failures.clear()
