"""A refused login is tried once, not once per session."""

import pytest
from twisted.internet.task import Clock

from mailproxy.destination.model import Destination, Login, MailProtocol, Password, TLSMode, TLSSettings
from mailproxy.errors import RefusedLogin, Unreachable
from mailproxy.upstream.holdoff import FIRST_PAUSE_SECONDS, HoldOff

PLACE = Destination("d", MailProtocol.SMTP, "mail.test", 587, TLSSettings(TLSMode.REQUIRED), login=True)
WRONG = Login(PLACE, Password("alice", "wrong"))
RIGHT = Login(PLACE, Password("alice", "right"))
REFUSED = RefusedLogin("535 no", temporary=False)


def attempt(hold_off, login, error=None):
    hold_off.enter(login)
    hold_off.leave(login, error)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def hold_off(clock):
    return HoldOff(clock, lambda: 0.0)


def test_a_refused_login_is_held_off_with_the_servers_words(hold_off):
    attempt(hold_off, WRONG, REFUSED)
    with pytest.raises(RefusedLogin, match="535 no") as caught:
        hold_off.enter(WRONG)
    assert not caught.value.temporary
    assert "wrong" not in str(caught.value)


def test_other_credentials_are_not_held_off(hold_off):
    attempt(hold_off, WRONG, REFUSED)
    attempt(hold_off, RIGHT)
    attempt(hold_off, WRONG)


def test_one_attempt_goes_through_after_the_pause_and_the_others_wait_for_it(clock, hold_off):
    attempt(hold_off, WRONG, REFUSED)
    clock.advance(FIRST_PAUSE_SECONDS)
    hold_off.enter(WRONG)
    with pytest.raises(RefusedLogin):
        hold_off.enter(WRONG)
    hold_off.leave(WRONG, None)
    attempt(hold_off, WRONG)


def test_the_pauses_double(clock, hold_off):
    attempt(hold_off, WRONG, REFUSED)
    clock.advance(FIRST_PAUSE_SECONDS)
    attempt(hold_off, WRONG, REFUSED)
    clock.advance(FIRST_PAUSE_SECONDS)
    with pytest.raises(RefusedLogin):
        hold_off.enter(WRONG)
    clock.advance(FIRST_PAUSE_SECONDS)
    attempt(hold_off, WRONG)


def test_an_attempt_that_found_nothing_out_leaves_the_way_free_for_the_next(clock, hold_off):
    attempt(hold_off, WRONG, REFUSED)
    clock.advance(FIRST_PAUSE_SECONDS)
    attempt(hold_off, WRONG, Unreachable("no"))
    attempt(hold_off, WRONG)


@pytest.mark.parametrize("error", [RefusedLogin("454 later", temporary=True), Unreachable("no"), None])
def test_nothing_else_holds_a_login_off(hold_off, error):
    attempt(hold_off, WRONG, error)
    attempt(hold_off, WRONG)
