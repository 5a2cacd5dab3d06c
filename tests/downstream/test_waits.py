"""The deadline of a wait: absolute, earned by content, moved without a timer for each chunk."""

import gc
import weakref

import pytest
from twisted.internet.base import DelayedCall
from twisted.internet.task import Clock

from mailproxy.downstream.waits import NOBODY_SECONDS, Waits
from mailproxy.session.actions import Waiting

CONTENT = Waiting.DOWNSTREAM_CONTENT
TIMEOUTS = {CONTENT: 300.0, Waiting.UPSTREAM_BODY: 180.0, Waiting.DOWNSTREAM_LINE: 60.0, Waiting.UPSTREAM_REPLY: 120.0}
RATE = 100.0


class CountingClock(Clock):
    """Counts what is asked of it."""

    timers = 0

    def callLater(self, delay, *args, **kwargs):
        assert delay >= 0, "a reactor would say so, too"
        self.timers += 1
        return super().callLater(delay, *args, **kwargs)


class Watch:
    def __init__(self, rate=RATE):
        self.clock = CountingClock()
        self.late = []
        self.waits = Waits(self.clock, TIMEOUTS, rate, lambda: self.late.append(self.clock.seconds()))

    def look(self, waiting, serial, *, held=False):
        self.waits.look(waiting, serial, held=held)

    def chunks(self, count, octets, pause, *, content=CONTENT):
        """So many chunks, one after each pause; how many came before it was late."""
        for number in range(count):
            self.clock.advance(pause)
            if self.late:
                return number
            self.waits.heard(content, octets)
            self.look(content, 100 + number)
        return count


@pytest.fixture
def watch():
    return Watch()


def test_a_wait_ends_at_its_deadline_once(watch):
    watch.look(Waiting.DOWNSTREAM_LINE, 1)
    watch.clock.advance(30)
    watch.look(Waiting.DOWNSTREAM_LINE, 1)
    watch.clock.pump([10] * 20)
    assert watch.late == [60]
    assert not watch.clock.getDelayedCalls()


def test_no_timer_is_ever_moved_forward(watch, monkeypatch):
    """With ten thousand sessions that costs the reactor a look at ten thousand timers, for each of them."""
    put_off = DelayedCall.reset

    def reset(call, seconds):
        assert watch.clock.seconds() + seconds >= call.getTime()
        put_off(call, seconds)

    monkeypatch.setattr(DelayedCall, "reset", reset)
    for number, waiting in enumerate([Waiting.NOBODY, CONTENT, Waiting.UPSTREAM_BODY, Waiting.DOWNSTREAM_LINE] * 2):
        for held in (False, True, False):
            watch.look(waiting, number, held=held)
            watch.chunks(3, 1, 1.0, content=waiting)
    assert not watch.late


def test_another_wait_has_another_deadline(watch):
    for serial in range(5):
        watch.look(Waiting.DOWNSTREAM_LINE, serial)
        watch.clock.advance(50)
    assert not watch.late
    watch.look(Waiting.UPSTREAM_REPLY, 6)
    watch.clock.advance(100)
    assert not watch.late
    watch.clock.advance(20)
    assert watch.late


def test_while_it_is_held_back_a_wait_has_none(watch):
    watch.look(Waiting.UPSTREAM_REPLY, 1, held=True)
    watch.clock.advance(1000)
    assert not watch.clock.getDelayedCalls()
    watch.look(Waiting.UPSTREAM_REPLY, 1)
    watch.clock.advance(120)
    assert watch.late


def test_the_login_has_none_here_and_nobody_has_a_short_one(watch):
    watch.look(Waiting.DOWNSTREAM_LINE, 1)
    watch.look(Waiting.UPSTREAM_LOGIN, 2)
    watch.clock.advance(1000)
    assert not watch.late
    watch.look(Waiting.NOBODY, 3)
    watch.clock.advance(NOBODY_SECONDS)
    assert watch.late


@pytest.mark.parametrize("content", [CONTENT, Waiting.UPSTREAM_BODY])
def test_content_that_trickles_is_late_though_it_never_pauses(watch, content):
    watch.look(content, 1)
    most = TIMEOUTS[content]
    assert watch.chunks(10_000, 50, 1, content=content) == most * 2 - 2
    assert watch.late == [most * 2 - 1]


def test_content_that_is_fast_enough_is_never_late(watch):
    watch.look(CONTENT, 1)
    assert watch.chunks(1000, 10_000, 99) == 1000


def test_a_pause_ends_content_at_the_very_second(watch):
    watch.look(CONTENT, 1)
    watch.chunks(10, 64_000, 0.5)
    watch.clock.advance(299)
    assert not watch.late
    watch.clock.advance(1)
    assert watch.late


def test_without_a_rate_only_a_pause_ends_content():
    watch = Watch(rate=0)
    watch.look(CONTENT, 1)
    assert watch.chunks(1000, 1, 299) == 1000
    watch.clock.advance(300)
    assert watch.late


def test_octets_of_the_other_side_earn_nothing(watch):
    watch.look(CONTENT, 1)
    watch.clock.advance(299)
    watch.waits.heard(Waiting.UPSTREAM_BODY, 10**6)
    watch.clock.advance(1)
    assert watch.late


def test_octets_before_content_and_behind_it_earn_nothing(watch):
    watch.look(Waiting.DOWNSTREAM_LINE, 1)
    watch.waits.heard(CONTENT, 10**6)
    watch.look(CONTENT, 2)
    watch.look(Waiting.DOWNSTREAM_LINE, 3)
    watch.waits.heard(CONTENT, 10**6)
    watch.clock.advance(60)
    assert watch.late


def test_content_does_not_run_down_while_we_hold_it_back(watch):
    watch.look(CONTENT, 1)
    watch.clock.advance(200)
    watch.look(CONTENT, 2, held=True)
    watch.clock.advance(5000)
    watch.look(CONTENT, 3, held=False)
    watch.clock.advance(99)
    assert not watch.late
    watch.clock.advance(1)
    assert watch.late


def test_content_may_begin_while_we_hold_it_back(watch):
    watch.look(CONTENT, 1, held=True)
    watch.clock.advance(5000)
    watch.look(CONTENT, 1, held=False)
    watch.clock.advance(299)
    assert not watch.late
    watch.clock.advance(1)
    assert watch.late


def test_content_that_we_hold_back_when_its_time_is_just_over_is_late_when_it_goes_on(watch):
    watch.look(CONTENT, 1)
    watch.clock.rightNow += 301  # the reactor was busy, and has not looked at its timers yet
    watch.look(CONTENT, 2, held=True)
    watch.clock.advance(50)
    assert not watch.late
    watch.look(CONTENT, 3, held=False)
    watch.clock.advance(0)
    assert watch.late


def test_each_message_begins_with_all_of_the_time(watch):
    watch.look(CONTENT, 1)
    watch.clock.advance(299)
    watch.look(Waiting.UPSTREAM_REPLY, 2)
    watch.look(CONTENT, 3)
    watch.clock.advance(299)
    assert not watch.late
    watch.clock.advance(1)
    assert watch.late


def test_chunks_cost_no_timers(watch):
    watch.look(CONTENT, 1)
    watch.clock.timers = 0
    watch.chunks(10_000, 64_000, 0.01)
    assert watch.clock.timers == 0
    watch.clock.pump([1] * 250)
    assert watch.clock.timers == 1
    assert not watch.late


def test_timeouts_that_are_replaced_count_from_the_next_wait_on(watch):
    watch.look(Waiting.UPSTREAM_REPLY, 1)
    watch.waits.timeouts = {Waiting.UPSTREAM_REPLY: 5.0}
    watch.clock.advance(119)
    assert not watch.late
    watch.look(Waiting.UPSTREAM_REPLY, 2)
    watch.clock.advance(5)
    assert watch.late


def test_in_a_pause_somebody_else_watches(watch):
    for waiting in (CONTENT, Waiting.DOWNSTREAM_LINE):
        watch.look(waiting, 1)
        watch.waits.pause()
        assert not watch.clock.getDelayedCalls()
        watch.clock.advance(1000)
        watch.look(waiting, 1)
        assert watch.clock.getDelayedCalls()


def test_what_is_stopped_calls_nobody_and_keeps_nobody_alive():
    class Owner:
        def late(self):
            raise AssertionError

    gc.disable()
    try:
        owner, clock = Owner(), Clock()
        owner.waits = Waits(clock, TIMEOUTS, RATE, owner.late)
        owner.waits.look(CONTENT, 1, held=False)
        owner.waits.stop()
        clock.advance(1000)
        gone = weakref.ref(owner)
        del owner
        assert gone() is None
    finally:
        gc.enable()
