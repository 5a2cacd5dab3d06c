"""How long things took, in ranges; nothing is lost, and nothing else is kept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.observe.histogram import SECONDS, Histogram


def test_nothing_was_observed_at_first():
    assert Histogram() == Histogram([0] * (len(SECONDS) + 1), 0.0)
    assert Histogram().counts is not Histogram().counts


@pytest.mark.parametrize("place", range(len(SECONDS)))
def test_the_upper_end_of_a_range_is_in_it(place):
    one = Histogram()
    one.observe(SECONDS[place])
    assert one.counts[place] == sum(one.counts) == 1
    one.observe(SECONDS[place] + 1e-6)
    assert one.counts[place + 1] == 1


def test_a_clock_that_was_set_back_counts_as_no_time():
    one = Histogram()
    one.observe(-5.0)
    assert (one.counts[0], one.total) == (1, 0.0)


@given(st.lists(st.floats(0, 1e6)), st.lists(st.floats(0, 1e6)))
@settings(max_examples=100)
def test_a_sum_has_what_both_have(first, second):
    one, other, both = Histogram(), Histogram(), Histogram()
    for histogram, values in ((one, first), (other, second), (both, first + second)):
        for value in values:
            histogram.observe(value)
    copy = one.copy()
    one.add(other)
    assert one.counts == both.counts
    assert one.total == pytest.approx(both.total)
    assert sum(one.counts) == len(first) + len(second)
    assert sum(copy.counts) == len(first)
