"""So many workers: each that dies is replaced, with growing pauses, and there is an end to trying."""

import signal

import pytest
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from mailproxy.workers.board import Board
from mailproxy.workers.crew import HURRY_SECONDS, KILLED_SECONDS, MAX_FAILED_STARTS, STEADY_SECONDS, Crew
from tests.support.crews import Reactor, Spawner, counts
from tests.support.proxies import Followed


@pytest.fixture
def clock():
    return Reactor()


@pytest.fixture
def spawner():
    return Spawner()


@pytest.fixture
def lock():
    return DeferredLock()


@pytest.fixture
def given_up():
    return []


@pytest.fixture
def lines():
    """Levels and texts of the log."""
    said = []

    def note(event):
        said.append((event["log_level"], formatEvent(event)))

    globalLogPublisher.addObserver(note)
    yield said
    globalLogPublisher.removeObserver(note)


@pytest.fixture
def crew(clock, spawner, lock, given_up):
    board = Board.new()
    crew = Crew(
        clock,
        3,
        spawn=spawner,
        brief=lambda mate: mate.ask({"do": "start"}),
        board=board,
        one_at_a_time=lock,
        random=lambda: 0.0,
        give_up=lambda: given_up.append(1),
    )
    yield crew
    over = Followed(Deferred.fromCoroutine(crew.stop(1)))
    clock.pump([0.5] * 40)
    assert over.called
    assert not spawner.alive
    assert not clock.getDelayedCalls()
    board.close()


def beat(clock, spawner, seconds, step=0.5):
    """Time passes, and the workers that live say so."""
    for _ in range(int(seconds / step)):
        for process in spawner.alive:
            process.say({"counts": []})
        clock.advance(step)


def test_all_start_and_are_complete(crew, spawner, lines):
    assert not crew.complete.called
    crew.start()
    assert [process.asked for process in spawner.processes] == [["start"]] * 3
    assert crew.complete.called
    assert [mate.number for mate in crew.serving] == [1, 2, 3]
    assert (LogLevel.info, "worker 2 serves: process 4001") in lines


def test_a_worker_that_dies_is_replaced_by_one_with_another_number(crew, clock, spawner, lines):
    crew.start()
    spawner.processes[1].say({"counts": counts(["d", None, "s", "smtp"], 3, 2, quit=1)})
    spawner.processes[1].end(signal=signal.SIGKILL)
    words = "worker 2 has ended: signal SIGKILL; sessions lost: 2; another one starts in 0.5 s"
    assert lines[-1] == (LogLevel.error, words)
    assert [mate.number for mate in crew.serving] == [1, 3]
    beat(clock, spawner, 1)
    assert [mate.number for mate in crew.serving] == [1, 4, 3]
    assert [mate.seat for mate in crew.serving] == [0, 1, 2]
    assert crew.ledger.total().outcomes == {"quit": 1, "worker_lost": 2}


def test_pauses_grow_up_to_a_minute_and_start_anew_behind_a_steady_worker(crew, clock, spawner):
    crew.start()
    pauses = []
    for _ in range(10):
        last = spawner.processes[-1]
        last.end(status=1)
        before = clock.seconds()
        while spawner.processes[-1] is last:
            beat(clock, spawner, 0.5)
        pauses.append(clock.seconds() - before)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    beat(clock, spawner, STEADY_SECONDS)
    spawner.processes[-1].end(status=1)
    before = len(spawner.processes)
    beat(clock, spawner, 0.5)
    assert len(spawner.processes) == before + 1


@pytest.mark.parametrize("broken", [OSError(11, "Resource temporarily unavailable"), None])
def test_when_none_starts_there_is_an_end_to_trying(crew, clock, spawner, given_up, broken, logged_failures):
    spawner.broken = broken
    spawner.answers["start"] = lambda process: process.end(status=1)
    crew.start()
    beat(clock, spawner, 20)
    assert given_up == [1]
    assert len(spawner.processes) in {0, 3 * MAX_FAILED_STARTS}
    assert logged_failures.pop()["count"] == MAX_FAILED_STARTS
    logged_failures.clear()


def test_while_not_all_have_started_one_that_never_does_is_enough_to_give_up(
    crew, clock, spawner, given_up, logged_failures
):
    spawner.answers["start"] = lambda process: (
        process.end(status=1) if process.mate.seat == 1 else process.say({"answer": []})
    )
    crew.start()
    beat(clock, spawner, 20)
    assert given_up == [1]
    assert len(crew.serving) == 2
    logged_failures.clear()


def test_later_it_is_tried_again_and_again_as_long_as_somebody_serves(crew, clock, spawner, given_up, logged_failures):
    crew.start()
    spawner.answers["start"] = lambda process: process.end(status=1)
    spawner.processes[0].end(status=1)
    beat(clock, spawner, 300)
    assert len(spawner.processes) > 3 + MAX_FAILED_STARTS
    assert given_up == []
    for process in spawner.alive:
        process.end(status=1)
    beat(clock, spawner, 60)
    assert given_up
    logged_failures.clear()


def test_a_mistake_of_ours_costs_one_attempt(crew, clock, spawner, logged_failures):
    spawner.broken = ZeroDivisionError()
    crew.start()
    spawner.broken = None
    crew._brief = lambda mate: 1 / 0
    beat(clock, spawner, 1)
    del crew._brief
    crew._brief = lambda mate: mate.ask({"do": "start"})
    beat(clock, spawner, 2)
    assert len(crew.serving) == 3
    assert [process.signals for process in spawner.processes] == [[signal.SIGKILL]] * 3 + [[]] * 3
    assert {event["log_failure"].type for event in logged_failures} == {ZeroDivisionError}
    logged_failures.clear()


def test_what_a_worker_lacks_is_told(crew, spawner, lines):
    spawner.answers["start"] = lambda process: [process.say({"answer": ["no such file"]}), process.end(status=1)]
    crew.start()
    assert (LogLevel.error, "worker 1 cannot start: no such file") in lines
    assert crew.serving == []


def test_nobody_starts_while_somebody_relies_on_that(crew, clock, spawner, lock):
    crew.start()
    held = Deferred()
    lock.run(lambda: held)
    spawner.processes[0].end(status=1)
    beat(clock, spawner, 10)
    assert len(spawner.processes) == 3
    held.callback(None)
    assert len(spawner.processes) == 4


def test_all_are_asked_and_each_problem_is_told_once(crew, spawner):
    crew.start()
    spawner.answers["prepare"] = ["a", "b"]
    spawner.processes[1].end()
    assert Followed(Deferred.fromCoroutine(crew.ask({"do": "prepare"}))).result == ["a", "b"]
    assert [process.asked for process in spawner.alive] == [["start", "prepare"]] * 2


def test_a_worker_that_dies_while_it_is_asked_has_no_problem(crew, spawner):
    crew.start()
    spawner.answers["prepare"] = lambda process: process.end(signal=signal.SIGKILL)
    assert Followed(Deferred.fromCoroutine(crew.ask({"do": "prepare"}))).result == []


def stopping(crew, seconds=100):
    return Followed(Deferred.fromCoroutine(crew.stop(seconds)))


def test_at_the_end_each_ends_by_itself(crew, clock, spawner, lines):
    crew.start()
    over = stopping(crew)
    assert [process.asked for process in spawner.processes] == [["start", "drain"]] * 3
    beat(clock, spawner, 20)
    assert not over.called
    for process in spawner.processes:
        assert not over.called
        process.end()
    assert over.called
    assert lines[-1] == (LogLevel.info, "worker 3 has ended: status 0; sessions lost: 0")
    beat(clock, spawner, 100)
    assert len(spawner.processes) == 3


def test_who_is_not_done_in_time_is_killed(crew, clock, spawner, lines):
    crew.start()
    over = stopping(crew, 10)
    beat(clock, spawner, 9.5)
    assert len(spawner.alive) == 3
    beat(clock, spawner, 1)
    assert [process.signals for process in spawner.processes] == [[signal.SIGKILL]] * 3
    assert over.called
    assert (LogLevel.error, "worker 1 is killed: it was not done in time") in lines


def test_who_cannot_even_be_killed_is_not_waited_for(crew, clock, spawner):
    crew.start()
    spawner.processes[0].signalProcess = lambda number: None
    over = stopping(crew, 10)
    beat(clock, spawner, 10 + KILLED_SECONDS)
    assert over.called
    spawner.processes[0].end()


@pytest.mark.parametrize("before", [True, False])
def test_a_hurry_reaches_all_whenever_it_comes(crew, clock, spawner, before):
    crew.start()
    if before:
        crew.hurry()
    over = stopping(crew)
    if not before:
        crew.hurry()
    assert all(process.asked[-1] == "hurry" for process in spawner.processes)
    beat(clock, spawner, HURRY_SECONDS - 0.5)
    assert not over.called
    beat(clock, spawner, 1)
    assert over.called
    assert [process.signals for process in spawner.processes] == [[signal.SIGKILL]] * 3


def test_a_worker_whose_pause_is_over_after_the_end_has_begun_does_not_start(crew, clock, spawner):
    crew.start()
    for process in spawner.processes:
        process.end(status=1)
    over = stopping(crew)
    assert over.called
    beat(clock, spawner, 10)
    assert len(spawner.processes) == 3
