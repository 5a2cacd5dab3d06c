"""The numbers of a listener always add up."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.observe.counters import Counters


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
    *[st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)).map(Counter) for _ in range(3)],
)


@given(NUMBERS, NUMBERS)
@settings(max_examples=100)
def test_a_sum_has_the_numbers_of_both(one, other):
    total, before = one.copy(), other.copy()
    total.add(other)
    assert (total.sessions, total.active) == (one.sessions + other.sessions, one.active + other.active)
    assert total.outcomes == one.outcomes + other.outcomes
    assert total.events == one.events + other.events
    assert total.turned_away == one.turned_away + other.turned_away
    assert other == before


def test_a_copy_stays_as_it_is():
    one = Counters()
    copy = one.copy()
    one.began()
    one.ended("quit")
    one.events["message"] += 1
    one.turned_away["x"] += 1
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
        assert counters.active >= 0
