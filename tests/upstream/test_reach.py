"""A mail server that is not reached is left alone; one that answers is reached, whatever it says."""

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from mailproxy.destination.model import Destination, MailProtocol, TLSMode, TLSSettings
from mailproxy.errors import (
    DestinationUnusable,
    HostNotFound,
    LacksTLS,
    LimitReached,
    LoopDetected,
    NameLookupFailed,
    RefusedLogin,
    RefusedSession,
    TLSFailed,
    Unreachable,
    Violation,
)
from mailproxy.upstream.holdoff import HoldOffSettings
from mailproxy.upstream.reach import Reach

PLACE = Destination("d", MailProtocol.SMTP, "mail.test", 587, TLSSettings(TLSMode.REQUIRED), login=True)
UNREACHED = [NameLookupFailed("no"), HostNotFound("no"), Unreachable("no")]
ANSWERS = [
    RefusedSession("421 busy"),
    TLSFailed("expired"),
    LacksTLS("no"),
    Violation("no"),
    RefusedLogin("535", temporary=False),
    LoopDetected("us"),
    None,
]
NOTHING = [CancelledError(), LimitReached("no descriptor"), DestinationUnusable("host", "is none"), KeyError()]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reach(clock):
    return Reach(clock, lambda: 0.0, HoldOffSettings())


def attempt(reach, error=None, place=PLACE, *, late=False):
    who = object()
    reach.check(place)
    reach.enter(place, who)
    reach.leave(place, who, error, late=late)


def held(reach, kind=Unreachable, place=PLACE):
    with pytest.raises(kind, match=r"^not tried again so soon: "):
        reach.check(place)
    with pytest.raises(kind, match=r"^not tried again so soon: "):
        reach.enter(place, object())
    return True


@pytest.mark.parametrize("error", UNREACHED)
def test_a_mail_server_that_is_not_reached_is_left_alone(clock, reach, error):
    attempt(reach, error)
    assert held(reach, type(error))
    clock.advance(1)
    attempt(reach, error)
    clock.advance(1.9)
    assert held(reach, type(error))


def test_one_that_used_up_the_time_was_not_reached_either(reach):
    attempt(reach, RefusedSession("no login within 20 s"), late=True)
    assert held(reach, RefusedSession)


@pytest.mark.parametrize("error", ANSWERS)
def test_one_that_answers_is_reached(clock, reach, error):
    attempt(reach, error)
    attempt(reach, Unreachable("no"))
    clock.advance(1)
    attempt(reach, error)
    attempt(reach)


@pytest.mark.parametrize("error", NOTHING)
def test_what_says_nothing_about_the_mail_server_changes_nothing(clock, reach, error):
    attempt(reach, error)
    attempt(reach, Unreachable("no"))
    clock.advance(1)
    attempt(reach, error)
    attempt(reach, Unreachable("no"))
    clock.advance(1.9)
    assert held(reach)


def test_another_address_is_tried_at_once(reach):
    attempt(reach, Unreachable("no"))
    for change in ({"host": "other.test"}, {"port": 25}, {"tls": TLSSettings(TLSMode.NONE)}):
        attempt(reach, place=evolve(PLACE, **change))


def test_another_password_or_property_is_not_another_address(reach):
    attempt(reach, Unreachable("no"))
    assert held(reach, place=evolve(PLACE, mechanisms=("PLAIN",), name="e"))


def test_an_attempt_at_the_old_address_says_nothing_about_the_new_one(reach):
    reach.enter(PLACE, "old")
    moved = evolve(PLACE, host="other.test")
    attempt(reach, Unreachable("no"), moved)
    reach.leave(PLACE, "old", None)
    assert held(reach, place=moved)


def test_whether_it_is_left_alone_can_be_asked(reach):
    assert not reach.held_off
    attempt(reach, Unreachable("no"))
    assert reach.held_off
