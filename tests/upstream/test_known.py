"""What a mail server has offered is believed for ten minutes, of one destination, while logins succeed."""

from attrs import evolve
from twisted.internet.task import Clock

from mailproxy.upstream.known import KNOWN_SECONDS, Known
from tests.upstream.pools import DESTINATION, OFFERED


def test_it_is_believed_for_a_while_from_the_last_login_on():
    clock = Clock()
    known = Known(clock)
    assert known.look() is None
    known.learn(DESTINATION, OFFERED)
    clock.advance(KNOWN_SECONDS - 1)
    assert known.look() is OFFERED
    known.learn(DESTINATION, OFFERED)
    clock.advance(KNOWN_SECONDS - 1)
    assert known.look() is OFFERED
    clock.advance(1)
    assert known.look() is None


def test_it_is_forgotten_with_the_destination():
    known = Known(Clock())
    known.learn(DESTINATION, OFFERED)
    known.hold_against(evolve(DESTINATION))
    assert known.look() is OFFERED
    known.hold_against(evolve(DESTINATION, port=465))
    assert known.look() is None
    known.hold_against(DESTINATION)
    assert known.look() is None


def test_it_is_forgotten_when_a_login_fails():
    known = Known(Clock())
    known.learn(DESTINATION, OFFERED)
    known.forget()
    assert known.look() is None


def test_who_is_offered_the_same_has_the_same_object():
    known = Known(Clock())
    assert known.learn(DESTINATION, OFFERED) is OFFERED
    assert known.learn(DESTINATION, evolve(OFFERED)) is OFFERED
    other = evolve(OFFERED, keywords={})
    assert known.learn(DESTINATION, other) is other
    assert known.look() is other
