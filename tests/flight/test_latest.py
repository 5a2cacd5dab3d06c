"""Of all that is kept the latest is shown, and it is found as it was by who looks again."""

from __future__ import annotations

from mailproxy.flight.latest import MAX_SHOWN, latest, latest_of
from mailproxy.flight.recording import recording_of
from tests.flight.stories import lost_in_data


def flights(seconds):
    return [lost_in_data().flight(session=f"{each:06x}", ended=1_795_000_000.0 + each) for each in seconds]


def numbers(recordings):
    return [int(each.session, 16) for each in recordings]


def test_the_last_ones_of_all_listeners_are_shown_the_last_one_first():
    every = [("one", each) for each in flights(range(30, 0, -2))] + [("two", each) for each in flights(range(1, 31, 2))]
    shown = latest(every)
    assert numbers(shown) == list(range(30, 30 - MAX_SHOWN, -1))
    assert [each.listener for each in shown[:2]] == ["one", "two"]


def test_who_looks_again_finds_the_same_ones_beside_a_new_one():
    first, *every = [("one", each) for each in flights(range(MAX_SHOWN + 1, 0, -1))]
    before, after = latest(every), latest([first, *every])
    assert all(one is other for one, other in zip(before[:-1], after[1:], strict=True))


def test_of_recordings_the_last_ones_are_shown_too():
    every = [recording_of(each, "one") for each in flights(range(30))]
    assert numbers(latest_of(every)) == list(range(29, 29 - MAX_SHOWN, -1))
    same = [recording_of(lost_in_data().flight(session=f"{each:06x}"), "one") for each in (3, 1, 2)]
    assert numbers(latest_of(same)) == [3, 1, 2]
