"""Long work holds up nobody: it goes on in the next turn of the reactor."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailproxy.admin.turns import TURN_SECONDS, in_turns
from tests.support.proxies import Followed


class Turns(Clock):
    """Knows when each turn was asked for."""

    def __init__(self):
        super().__init__()
        self.turns = []

    def callLater(self, when, what, *args, **kw):
        assert when == 0
        self.turns.append(self.seconds())
        return super().callLater(when, what, *args, **kw)


def steps(clock, count, seconds):
    """So many, each of which takes so long."""
    for _ in range(count):
        clock.rightNow += seconds
        yield
    return "done"


def run(clock, count, seconds):
    return Followed(Deferred.fromCoroutine(in_turns(steps(clock, count, seconds), clock)))


def test_what_takes_no_time_is_done_at_once():
    clock = Clock()
    done = run(clock, 1000, 0.0)
    assert (done.called, done.result) == (True, "done")
    assert not clock.getDelayedCalls()


def test_what_takes_longer_goes_on_in_the_next_turn():
    clock = Turns()
    done = run(clock, 10, 0.6 * TURN_SECONDS)
    clock.pump([0] * 10)
    assert done.result == "done"
    assert clock.turns == pytest.approx([1.2 * TURN_SECONDS * number for number in range(1, 6)])
    assert clock.seconds() == pytest.approx(6 * TURN_SECONDS)


def test_what_goes_wrong_is_told():
    def broken():
        yield
        raise ZeroDivisionError

    done = Followed(Deferred.fromCoroutine(in_turns(broken(), Clock())))
    assert done.result.type is ZeroDivisionError
