"""What failed is left alone for a while, and then tried once to see."""

import gc
import weakref

import pytest
from twisted.internet.task import Clock

from mailproxy.errors import DestinationUnusable, RefusedLogin, Unreachable
from mailproxy.upstream.holdoff import HoldOff, HoldOffSettings, copied, repeated

FIRST, LONGEST = 10.0, 60.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def hold_off(clock):
    return HoldOff(clock, lambda: 0.0, FIRST, LONGEST)


def held(hold_off):
    with pytest.raises(Unreachable, match=r"^not tried again so soon: no route$"):
        hold_off.check()


def test_without_a_failure_everybody_may_try(hold_off):
    hold_off.enter("one")
    hold_off.enter("other")
    hold_off.leave("one")
    hold_off.clear()
    hold_off.check()


def test_after_a_failure_nobody_may(clock, hold_off):
    hold_off.enter("one")
    hold_off.fail("one", Unreachable("no route"))
    held(hold_off)
    clock.advance(FIRST - 0.1)
    held(hold_off)


def test_after_the_pause_one_goes_through_to_see(clock, hold_off):
    hold_off.fail("one", Unreachable("no route"))
    clock.advance(FIRST)
    hold_off.enter("one")
    held(hold_off)
    hold_off.clear()
    hold_off.check()


def test_who_found_nothing_out_leaves_the_way_free_for_the_next(clock, hold_off):
    hold_off.fail("one", Unreachable("no route"))
    clock.advance(FIRST)
    hold_off.enter("one")
    hold_off.leave("one")
    hold_off.enter("other")
    hold_off.leave("one")
    held(hold_off)


def test_the_pauses_double_up_to_the_longest(clock, hold_off):
    for pause in (FIRST, 2 * FIRST, 4 * FIRST, LONGEST, LONGEST):
        hold_off.enter("one")
        hold_off.fail("one", Unreachable("no route"))
        clock.advance(pause - 0.1)
        held(hold_off)
        clock.advance(0.1)
    hold_off.enter("one")
    hold_off.clear()
    hold_off.fail("one", Unreachable("no route"))
    clock.advance(FIRST)
    hold_off.check()


def test_chance_makes_pauses_longer_by_a_quarter_at_most(clock):
    hold_off = HoldOff(clock, lambda: 1.0, FIRST, LONGEST)
    hold_off.fail("one", Unreachable("no route"))
    clock.advance(FIRST * 1.25 - 0.1)
    held(hold_off)
    clock.advance(0.1)
    hold_off.check()


def test_the_failures_of_those_who_were_under_way_are_one_failure(clock, hold_off):
    for number in range(100):
        hold_off.enter(number)
    for number in range(100):
        hold_off.fail(number, Unreachable("no route"))
    clock.advance(FIRST)
    hold_off.enter("probe")
    hold_off.fail(5, Unreachable("a straggler"))
    held(hold_off)
    hold_off.fail("probe", Unreachable("no route"))
    clock.advance(2 * FIRST)
    hold_off.check()


def test_an_operators_pause_may_be_longer_than_any_services(clock):
    hold_off = HoldOff(clock, lambda: 0.0, 3600.0, 7200.0)
    hold_off.fail("one", Unreachable("no route"))
    clock.advance(3599)
    held(hold_off)


def test_a_failure_keeps_nobody_alive(hold_off):
    class Frame:
        pass

    def fail():
        raise Unreachable("no route")

    def failing():
        frame = Frame()
        try:
            fail()
        except Unreachable as error:
            hold_off.fail("one", error)
        return weakref.ref(frame)

    gone = failing()
    held(hold_off)
    gc.collect()
    assert gone() is None


def test_what_is_said_anew_is_the_same_kind_of_error():
    refused = repeated(RefusedLogin("535 no", temporary=False))
    assert (type(refused), refused.temporary, str(refused)) == (
        RefusedLogin,
        False,
        "not tried again so soon: 535 no",
    )
    unusable = copied(DestinationUnusable("host", "is none"), "other words")
    assert (unusable.key, str(unusable)) == ("host", "other words")


def test_the_defaults():
    assert HoldOffSettings() == HoldOffSettings(30.0, 600.0, 1.0, 60.0)


def test_it_is_left_alone_during_a_pause_and_while_one_looks(clock, hold_off):
    assert not hold_off.active
    hold_off.fail("one", Unreachable("no route"))
    assert hold_off.active
    clock.advance(FIRST)
    assert not hold_off.active
    hold_off.enter("one")
    assert hold_off.active
    hold_off.clear()
    assert not hold_off.active


def test_who_did_not_try_has_seen_nothing():
    error = Unreachable("no route").having_seen("upstream_tls").having_seen("upstream_desync")
    assert error.seen == ("upstream_tls", "upstream_desync")
    assert repeated(error).seen == ()
    assert copied(error, "x").seen == error.seen
    assert Unreachable("other").seen == ()
