"""One timer: it fires once, moves, is cleared, and keeps nobody alive."""

import gc
import weakref

from twisted.internet.task import Clock

from mailproxy.deadline import Deadline


class Owner:
    def __init__(self, clock):
        self.deadline = Deadline(clock)
        self.late = 0

    def expire(self):
        self.late += 1


def test_it_fires_once_when_the_time_is_up():
    clock = Clock()
    owner = Owner(clock)
    owner.deadline.set(5, owner.expire)
    clock.advance(4.9)
    assert owner.late == 0
    clock.advance(0.2)
    assert owner.late == 1
    clock.advance(100)
    assert owner.late == 1
    assert not clock.getDelayedCalls()


def test_setting_it_again_moves_it_both_ways():
    clock = Clock()
    owner = Owner(clock)
    owner.deadline.set(5, owner.expire)
    clock.advance(4)
    owner.deadline.set(5, owner.expire)
    clock.advance(4)
    assert owner.late == 0
    owner.deadline.set(0.5, owner.expire)
    clock.advance(0.5)
    assert owner.late == 1


def test_a_timer_that_rings_early_is_left_alone():
    """To move one would cost more than to let it ring, and forward most of all: there may be thousands."""
    clock = Clock()
    owner = Owner(clock)
    for seconds in (5, 8, 3, 9):
        owner.deadline.set(seconds, owner.expire)
    assert [call.getTime() for call in clock.getDelayedCalls()] == [3]
    clock.advance(3)
    assert [call.getTime() for call in clock.getDelayedCalls()] == [9]
    clock.advance(5.9)
    assert owner.late == 0
    clock.advance(0.1)
    assert owner.late == 1


def test_one_that_rests_does_not_ring_and_can_be_set_again():
    clock = Clock()
    owner = Owner(clock)
    owner.deadline.set(5, owner.expire)
    owner.deadline.rest()
    owner.deadline.set(8, owner.expire)
    clock.advance(7.9)
    assert owner.late == 0
    clock.advance(0.1)
    assert owner.late == 1
    owner.deadline.set(5, owner.expire)
    owner.deadline.rest()
    clock.advance(5)
    assert owner.late == 1
    assert not clock.getDelayedCalls()


def test_the_last_one_who_set_it_is_called():
    clock = Clock()
    called = []
    deadline = Deadline(clock)
    deadline.set(5, lambda: called.append("first"))
    deadline.set(5, lambda: called.append("second"))
    clock.advance(5)
    assert called == ["second"]


def test_a_cleared_one_never_fires():
    clock = Clock()
    owner = Owner(clock)
    owner.deadline.set(5, owner.expire)
    owner.deadline.clear()
    owner.deadline.clear()
    clock.advance(10)
    assert owner.late == 0
    assert not clock.getDelayedCalls()


def test_it_may_be_set_again_by_whom_it_calls():
    clock = Clock()
    deadline = Deadline(clock)
    times = []

    def again():
        times.append(clock.seconds())
        if len(times) < 3:
            deadline.set(2, again)

    deadline.set(1, again)
    for _ in range(10):
        clock.advance(1)
    assert times == [1, 3, 5]
    deadline.clear()


def test_an_idle_deadline_keeps_nobody_alive():
    clock = Clock()
    gc.disable()
    try:
        for end in (lambda owner: owner.deadline.clear(), lambda _: clock.advance(5)):
            owner = Owner(clock)
            gone = weakref.ref(owner)
            owner.deadline.set(5, owner.expire)
            end(owner)
            del owner
            assert gone() is None
    finally:
        gc.enable()
