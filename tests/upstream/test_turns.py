"""A few at a time, the others in the order in which they came."""

from twisted.internet.defer import CancelledError

from mailproxy.upstream.turns import Turns


def taken(turns, log, name):
    turn = turns.take()
    turn.addCallback(lambda _: log.append(name))
    return turn


def test_as_many_as_there_are_places_go_at_once():
    log, turns = [], Turns(2)
    for name in "abc":
        taken(turns, log, name)
    assert log == ["a", "b"]


def test_the_others_go_in_the_order_in_which_they_came():
    log, turns = [], Turns(1)
    for name in "abcd":
        taken(turns, log, name)
    for _ in range(3):
        turns.give_back()
    assert log == ["a", "b", "c", "d"]
    turns.give_back()
    taken(turns, log, "e")
    assert log[-1] == "e"


def test_who_gives_up_leaves_the_queue():
    log, turns = [], Turns(1)
    taken(turns, log, "a")
    second, third = taken(turns, log, "b"), taken(turns, log, "c")
    second.cancel()
    second.addErrback(lambda failure: failure.trap(CancelledError))
    turns.give_back()
    assert log == ["a", "c"]
    third.cancel()
    turns.give_back()
    assert not turns._waiting
    taken(turns, log, "d")
    assert log == ["a", "c", "d"]


def test_a_long_queue_of_those_who_give_back_at_once_fits_on_the_stack():
    log, turns = [], Turns(1)
    taken(turns, log, 0)
    for number in range(1, 5000):
        taken(turns, log, number).addCallback(lambda _: turns.give_back())
    turns.give_back()
    assert log == list(range(5000))
