"""What several users share is made once, and ends with the last of them."""

from contextlib import ExitStack

import pytest

from mailproxy.shared import Shared


@pytest.fixture
def events():
    return []


@pytest.fixture
def shared(events):
    def make(key, end):
        events.append(f"made {key}")
        end.callback(events.append, f"ended {key}")
        return key.upper()

    return Shared(make)


def test_equal_keys_are_one_value(shared, events):
    with ExitStack() as user:
        assert shared.take("a", user) == shared.take("a", user) == "A"
        assert shared.take("b", user) == "B"
        assert (events, len(shared)) == (["made a", "made b"], 2)


def test_a_value_ends_with_its_last_user(shared, events):
    first, second = ExitStack(), ExitStack()
    shared.take("a", first)
    shared.take("a", second)
    first.close()
    assert events == ["made a"]
    second.close()
    assert (events, len(shared)) == (["made a", "ended a"], 0)
    with ExitStack() as third:
        shared.take("a", third)
        assert events[2:] == ["made a"]


def test_who_lets_go_twice_lets_go_once(shared, events):
    first, second = ExitStack(), ExitStack()
    shared.take("a", first)
    shared.take("a", second)
    first.close()
    first.close()
    assert events == ["made a"]
    second.close()


def test_what_a_value_was_made_of_ends_behind_it(events):
    inner = Shared(lambda key, end: end.callback(events.append, f"ended {key}"))

    def make(key, end):
        inner.take(key, end)
        end.callback(events.append, f"ended outer {key}")

    outer = Shared(make)
    with ExitStack() as user:
        outer.take("a", user)
    assert (events, len(inner)) == (["ended outer a", "ended a"], 0)


def test_a_value_that_cannot_be_made_leaves_nothing_behind(events):
    inner = Shared(lambda key, end: end.callback(events.append, f"ended {key}"))

    def make(key, end):
        inner.take(key, end)
        raise ValueError(key)

    outer = Shared(make)
    with ExitStack() as user, pytest.raises(ValueError, match="a"):
        outer.take("a", user)
    assert (events, len(inner), len(outer)) == (["ended a"], 0, 0)
