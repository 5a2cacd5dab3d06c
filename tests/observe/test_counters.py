"""The numbers of a listener always add up."""

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
