"""What workers do as a whole, put together; what they have counted outlives them."""

import json

import pytest

from mailproxy.observe.histogram import Histogram
from mailproxy.observe.observation import LedgerFigures
from mailproxy.workers.doings import MAX_REASONS, Doing, Doings, summed
from mailproxy.workers.frames import MAX_FRAME_OCTETS, format_frame
from mailproxy.workers.values import format_value, parse_value


def lag(*seconds):
    histogram = Histogram()
    for each in seconds:
        histogram.observe(each)
    return histogram


def ledger(number):
    return LedgerFigures(*[number] * 9, lag(*[1.0] * number))


DOING = Doing(3, 10, ("ledger: No space left on device",), lag(0.1, 2.0), ledger(2))


@pytest.fixture
def doings():
    return Doings()


@pytest.mark.parametrize("doing", [Doing(), DOING])
def test_it_arrives_as_it_was(doing):
    assert parse_value(Doing, json.loads(json.dumps(format_value(doing)))) == doing


def test_the_longest_one_is_no_long_message():
    doing = Doing(reasons=("\x01" * 10_000,) * MAX_REASONS)
    assert len(format_frame({"doing": format_value(doing)})) < MAX_FRAME_OCTETS / 10


def test_of_nobody_nothing_is_known(doings):
    assert doings.of(1) == Doing()
    assert (doings.lag, doings.ledger, doings.sessions, doings.max_sessions) == (Histogram(), None, 0, 0)


def test_they_are_added_up(doings):
    doings.tell(1, Doing(9, 9, (), lag(9.0)))
    doings.tell(1, Doing(1, 10, (), lag(0.1), ledger(1)))
    doings.tell(2, Doing(2, 20, ("closed",), lag(0.2, 0.4), ledger(3)))
    assert (doings.sessions, doings.max_sessions) == (3, 30)
    assert doings.lag.total == pytest.approx(0.7)
    assert doings.ledger == ledger(4)
    assert doings.of(2).reasons == ("closed",)
    doings.tell(3, Doing())
    assert doings.max_sessions == 0, "no limit"


def test_what_a_dead_worker_has_counted_stays(doings):
    doings.tell(1, Doing(1, 10, (), lag(0.5), ledger(1)))
    doings.tell(2, Doing(1, 10, (), lag(0.25), ledger(2)))
    doings.close(1)
    doings.close(2)
    doings.close(2)
    assert (doings.sessions, doings.lag.total) == (0, 0.75)
    assert doings.ledger == LedgerFigures(records=3, lost=3, full=3, slow=3, other=3, sync_seconds=lag(1.0, 1.0, 1.0))
    doings.tell(3, Doing(ledger=ledger(1)))
    assert (doings.ledger.records, doings.ledger.waiting) == (4, 1)


def test_a_sum_is_no_part_of_what_was_summed():
    one = lag(1.0)
    summed([one, lag(2.0)]).observe(3.0)
    assert one == lag(1.0)
