"""The numbers of a listener always add up."""

from collections import Counter

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.observe.counters import BY_WORD, Counters, Durations, Octets
from mailproxy.observe.histogram import Histogram


def test_a_new_listener_has_seen_nothing():
    counters = Counters()
    assert (counters.sessions, counters.active) == (0, 0)
    assert not counters.outcomes
    assert not counters.events


def test_listeners_do_not_share_their_numbers():
    one, other = Counters(), Counters()
    one.began()
    one.ended("quit")
    one.events["message"] += 1
    assert other == Counters()


NUMBERS = st.builds(
    Counters,
    st.integers(0, 99),
    st.integers(0, 99),
    *[st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)).map(Counter) for _ in BY_WORD],
    st.builds(Octets, *[st.integers(0, 99)] * 4),
    st.builds(Durations, *[st.builds(Histogram, st.lists(st.integers(0, 9), min_size=18, max_size=18))] * 4),
    st.integers(0, 99),
)


@given(NUMBERS, NUMBERS)
@settings(max_examples=100)
def test_a_sum_has_the_numbers_of_both(one, other):
    total, before = one.copy(), other.copy()
    total.add(other)
    assert (total.sessions, total.active) == (one.sessions + other.sessions, one.active + other.active)
    assert total.failures == one.failures + other.failures
    for name in BY_WORD:
        assert getattr(total, name) == getattr(one, name) + getattr(other, name)
    assert attrs.astuple(total.octets) == tuple(
        a + b for a, b in zip(attrs.astuple(one.octets), attrs.astuple(other.octets), strict=True)
    )
    for mine, theirs, both in zip(*(histograms(each) for each in (one, other, total)), strict=True):
        assert both.counts == [a + b for a, b in zip(mine.counts, theirs.counts, strict=True)]
    assert other == before


def histograms(counters):
    return attrs.astuple(counters.durations, recurse=False)


def test_a_copy_stays_as_it_is():
    one = Counters()
    copy = one.copy()
    one.began()
    one.ended("quit")
    one.events["message"] += 1
    one.turned_away["x"] += 1
    one.seen["bad_line"] += 1
    one.replies["proxy.mail.4xx"] += 1
    one.octets.from_client += 1
    one.durations.session.observe(1)
    assert copy == Counters()


@given(st.lists(st.sampled_from(["begin", "quit", "upstream_lost"]), max_size=50))
@settings(max_examples=100)
def test_every_session_is_active_or_has_an_outcome(story):
    counters = Counters()
    for step in story:
        if step == "begin":
            counters.began()
        elif counters.active:
            counters.ended(step)
        assert counters.sessions == counters.active + sum(counters.outcomes.values())
        assert counters.adds_up


def test_numbers_that_do_not_add_up_would_be_noticed():
    assert not Counters(sessions=1).adds_up
    assert not Counters(active=-1, outcomes=Counter(quit=1)).adds_up
