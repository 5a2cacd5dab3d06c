"""Those who have said nothing yet: who came first is known room by room, and nothing is kept of who left."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.downstream.newcomers import Newcomers

ROOMS = ["client", "listener", "all"]


def test_in_each_room_it_is_the_first_that_is_left():
    newcomers = Newcomers()
    newcomers.add("one", ["client", "all"])
    newcomers.add("two", ["listener", "all"])
    assert [newcomers.first(room) for room in ROOMS] == ["one", "two", "one"]
    newcomers.remove("one", ["client", "all"])
    assert [newcomers.first(room) for room in ROOMS] == [None, "two", "two"]


def test_who_comes_again_is_the_last():
    newcomers = Newcomers()
    for each in ("one", "two"):
        newcomers.add(each, ["all"])
    newcomers.remove("one", ["all"])
    newcomers.add("one", ["all"])
    assert newcomers.first("all") == "two"


def test_a_million_that_come_and_go_leave_nothing():
    newcomers = Newcomers()
    for number in range(3000):
        newcomers.add(number, [f"client {number}", "all"])
    for number in range(3000):
        assert newcomers.first("all") == number
        newcomers.remove(number, [f"client {number}", "all"])
    assert not len(newcomers)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sets(st.sampled_from(ROOMS), min_size=1)), max_size=60))
def test_it_is_as_if_every_room_had_a_list(events):
    newcomers, model, where = Newcomers(), {room: [] for room in ROOMS}, {}
    for who, rooms in events:
        if who in where:
            left = where.pop(who)
            newcomers.remove(who, left)
            for room in left:
                model[room].remove(who)
        else:
            where[who] = rooms
            newcomers.add(who, rooms)
            for room in rooms:
                model[room].append(who)
        assert [newcomers.first(room) for room in ROOMS] == [next(iter(model[room]), None) for room in ROOMS]
        assert len(newcomers) == sum(bool(room) for room in model.values())
