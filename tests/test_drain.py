"""The end of sessions comes in steps, each with its bound, and it comes."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailproxy.drain import Drain, DrainSeconds, Pause

SECONDS = DrainSeconds(finish=90, final_reply=10, close=5)


class Log:
    label = "acme/dest"


class Factory:
    """Remembers the steps, with their times; `fails` at one of them."""

    log = Log()

    def __init__(self, clock, fails=""):
        self.sessions = ["one"]
        self.steps = []
        self.gone = Deferred()
        self._clock = clock
        self._fails = fails

    def _step(self, name):
        self.steps.append((self._clock.seconds(), name))
        if name == self._fails:
            raise RuntimeError(name)

    def drain(self):
        self._step("drain")
        return self.gone

    def cut(self, *, last):
        self._step("cut all" if last else "cut most")

    def stop(self):
        self._step("stop")
        return self.gone


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def begin(clock):
    """Begins to drain some factories."""

    def begin(*factories):
        drain = Drain(clock, factories, SECONDS)
        return drain, Deferred.fromCoroutine(drain.run())

    return begin


def test_the_steps_come_one_after_another(clock, begin):
    factory = Factory(clock)
    drain, over = begin(factory)
    clock.pump([45] * 2 + [5] * 2 + [2.5] * 2)
    assert factory.steps == [(0, "drain"), (90, "cut most"), (100, "cut all"), (105, "stop")]
    assert not over.called
    factory.gone.callback(None)
    assert over.called
    assert drain.over.called
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize(("seconds", "steps"), [(0, 1), (89, 1), (90, 2), (99, 2), (100, 3), (104, 3), (105, 4)])
def test_it_is_over_as_soon_as_all_are_gone(clock, begin, seconds, steps):
    factory = Factory(clock)
    _, over = begin(factory)
    for _ in range(seconds):
        clock.advance(1)
    factory.gone.callback(None)
    assert over.called
    assert len(factory.steps) == steps
    assert not clock.getDelayedCalls()


def test_the_slowest_factory_counts(clock, begin):
    one, other = Factory(clock), Factory(clock)
    _, over = begin(one, other)
    one.gone.callback(None)
    assert not over.called
    other.gone.callback(None)
    assert over.called


def test_nobody_to_drain_is_the_end_at_once(clock, begin):
    _, over = begin()
    assert over.called
    assert not clock.getDelayedCalls()


def test_connections_that_will_not_go_do_not_keep_it_from_ending(clock, begin):
    factory = Factory(clock)
    _, over = begin(factory)
    clock.pump([90, 10, 5])
    assert not over.called
    clock.advance(1)
    assert over.called
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("step", ["drain", "cut most", "cut all", "stop"])
def test_a_factory_that_fails_keeps_nobody_from_ending(clock, begin, step, logged_failures):
    failing, other = Factory(clock, step), Factory(clock)
    _, over = begin(failing, other)
    clock.pump([90, 10, 5, 1])
    assert over.called
    assert [name for _, name in other.steps] == ["drain", "cut most", "cut all", "stop"]
    (event,) = logged_failures
    assert event["label"] == "acme/dest"
    logged_failures.clear()


@pytest.mark.parametrize("before", [0, 50, 95, 103])
def test_in_a_hurry_the_rest_comes_at_once(clock, begin, before):
    factory = Factory(clock)
    drain, over = begin(factory)
    for _ in range(before):
        clock.advance(1)
    drain.hurry()
    assert [name for _, name in factory.steps] == ["drain", "cut most", "cut all", "stop"]
    assert not over.called
    clock.advance(1)
    assert over.called


def test_it_can_be_in_a_hurry_from_the_beginning(clock):
    factory = Factory(clock)
    drain = Drain(clock, [factory], SECONDS)
    drain.hurry()
    over = Deferred.fromCoroutine(drain.run())
    assert [name for _, name in factory.steps] == ["drain", "cut most", "cut all", "stop"]
    factory.gone.callback(None)
    assert over.called


# A pause


def test_a_pause_ends_when_its_time_is_up(clock):
    over = Deferred.fromCoroutine(Pause(clock).wait(3))
    clock.advance(2)
    assert not over.called
    clock.advance(1)
    assert over.called


def test_a_pause_ends_sooner_if_what_it_waits_for_happens(clock):
    sooner = Deferred()
    over = Deferred.fromCoroutine(Pause(clock).wait(3, sooner))
    sooner.callback("result")
    assert over.called
    assert sooner.result == "result"
    assert not clock.getDelayedCalls()


def test_what_an_earlier_pause_waited_for_does_not_end_a_later_one(clock):
    pause, sooner = Pause(clock), Deferred()
    first = Deferred.fromCoroutine(pause.wait(3, sooner))
    clock.advance(3)
    second = Deferred.fromCoroutine(pause.wait(3))
    sooner.callback(None)
    assert (first.called, second.called) == (True, False)
    clock.advance(3)
    assert second.called


def test_pauses_that_are_skipped_take_no_time(clock):
    pause = Pause(clock)
    first = Deferred.fromCoroutine(pause.wait(3))
    pause.skip_all()
    second = Deferred.fromCoroutine(pause.wait(3))
    assert first.called
    assert second.called
    assert not clock.getDelayedCalls()
