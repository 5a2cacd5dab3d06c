"""How things are in workers, as part of a message and put together; and what is none of that."""

import json

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.destination.model import MailProtocol
from mailproxy.observe.histogram import SECONDS, Histogram
from mailproxy.observe.observation import CacheFigures, HoldOffFigures, PoolFigures, SourceFigures, State
from mailproxy.recipes import Identity
from mailproxy.workers.states import (
    MAX_STATES,
    format_states,
    has_begun_anew,
    lasting,
    parse_states,
    together,
)

NUMBER = st.integers(0, 1 << 60)
TIME = st.none() | st.floats(-1e12, 1e12)
RANGES = len(SECONDS) + 1
SOURCES = st.builds(
    SourceFigures,
    st.text(min_size=1, max_size=20),
    st.none() | st.text(max_size=20),
    st.builds(CacheFigures, *[NUMBER] * 4),
    st.builds(Histogram, st.lists(NUMBER, min_size=RANGES, max_size=RANGES), st.floats(0, 1e12)),
)
STATES = st.builds(
    State,
    st.builds(PoolFigures, *[NUMBER] * 6),
    st.builds(HoldOffFigures, st.booleans(), st.booleans()),
    st.none() | SOURCES,
    TIME,
    TIME,
)
WHO = Identity("dest", "acme", "local", MailProtocol.SMTP)


@settings(max_examples=100)
@given(STATES)
def test_a_state_arrives_as_it_was(state):
    raw = json.loads(json.dumps(format_states({WHO: state})))
    assert parse_states(raw, 1) == {WHO: state}


def said(**changes):
    """A message with one listener; `changes` are by the place in its state."""
    state = [[0] * 6, [False, True], ["local", None, [0] * 4, [0] * RANGES, 0.5], 1.0, None]
    for place, value in changes.items():
        state[int(place[1:])] = value
    return [[["dest", "acme", "local", "smtp"], state]]


def test_the_message_below_is_one():
    assert parse_states(said(), 1)[WHO].hold_off == HoldOffFigures(server=False, login=True)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        [[["dest", "acme", "local", "smtp"]]],
        [[["dest", "acme", "local", "imap"], said()[0][1]]],
        said(_0=[0] * 5),
        said(_0=[0] * 5 + [-1]),
        said(_1=[True]),
        said(_2=["local", None, [0] * 4, [0] * RANGES]),
        said(_2=[1, None, [0] * 4, [0] * RANGES, 0.5]),
        said(_2=["local", 1, [0] * 4, [0] * RANGES, 0.5]),
        said(_2=["local", None, [0] * 3, [0] * RANGES, 0.5]),
        said(_2=["local", None, [0] * 4, [0] * (RANGES + 1), 0.5]),
        said(_2=["local", None, [0] * 4, [0] * RANGES, "x"]),
        said(_3="tomorrow"),
        said(_3=True),
        said(_2=["local", None, [0] * 4, [0] * RANGES, -1.0]),
        said(_4=float("inf")),
        said() * (MAX_STATES + 1),
    ],
)
def test_what_is_no_state_is_an_error(raw):
    with pytest.raises(ValueError, match=r".+"):
        parse_states(raw, MAX_STATES)


def state(number, **more):
    return State(PoolFigures(number, number), **more)


def source(number):
    histogram = Histogram()
    histogram.observe(number)
    return SourceFigures("local", "acme", CacheFigures(number, number), histogram)


def test_what_workers_have_is_added_up_and_what_ends_first_counts():
    all_of_them = together(
        [
            state(1, source=source(1), certificate_expires_at=5.0, token_expires_at=None),
            state(2, hold_off=HoldOffFigures(login=True), certificate_expires_at=4.0),
            state(3, source=source(2), hold_off=HoldOffFigures(server=True)),
        ]
    )
    assert all_of_them.pool == PoolFigures(6, 6)
    assert all_of_them.hold_off == HoldOffFigures(server=True, login=True)
    assert all_of_them.source.cache == CacheFigures(3, 3)
    assert all_of_them.source.token_seconds.total == 3
    assert (all_of_them.certificate_expires_at, all_of_them.token_expires_at) == (4.0, None)
    assert together([]) is None
    assert together([state(1)]).source is None


def test_what_lasts_is_what_was_counted():
    one = state(1, source=source(2), hold_off=HoldOffFigures(login=True), certificate_expires_at=5.0)
    one = attrs.evolve(one, pool=PoolFigures(1, 2, 3, 4, 5, 6))
    last = lasting(one)
    assert last == State(PoolFigures(made=5, reused=6), source=attrs.evolve(one.source, cache=CacheFigures(0, 2)))
    assert lasting(state(1)).source is None


def test_a_count_that_is_less_than_before_has_begun_anew():
    made = State(PoolFigures(made=3), source=source(3))
    assert not has_begun_anew(made, made)
    assert not has_begun_anew(made, attrs.evolve(made, pool=PoolFigures(made=4)))
    assert has_begun_anew(made, attrs.evolve(made, pool=PoolFigures(made=2, reused=9)))
    assert has_begun_anew(made, attrs.evolve(made, source=source(2)))
    assert has_begun_anew(made, attrs.evolve(made, source=None))
