"""How a destination is doing, out of what was seen last."""

import pytest

from mailproxy.errors import RefusedLogin, Unreachable
from mailproxy.observe.condition import (
    CERTIFICATE_SECONDS,
    RECENT_SECONDS,
    Condition,
    Peer,
    State,
    TLSFacts,
    judge,
)

NOW = 1_000_000.0


def condition(*seen, held=None, expires=None):
    """`seen` are times of successes, and of failures with a minus sign before them."""
    made = Condition(lambda: held)
    for when in seen:
        if when < 0:
            made.failed(-when, Unreachable("no connection to mail.test:25: connection refused"))
        else:
            made.worked(when)
    if expires is not None:
        made.peer = Peer("mail.test", 25, "192.0.2.1", TLSFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", expires))
    return made


def state(made, mishap=None, now=NOW):
    return judge(made, mishap, now).state


def test_what_nobody_has_tried_is_neither_good_nor_bad():
    assert state(condition()) is State.UNUSED


def test_the_last_attempt_says_whether_it_works():
    assert state(condition(NOW - 5)) is State.OK
    assert state(condition(NOW - 5, -(NOW - 4))) is State.FAILING
    assert state(condition(-(NOW - 4))) is State.FAILING


def test_a_failure_counts_for_a_while_though_it_works_again():
    made = condition(-(NOW - 5), NOW - 4)
    assert state(made) is State.DEGRADED
    assert state(made, now=NOW - 5 + RECENT_SECONDS) is State.OK


def test_a_session_that_failed_behind_its_login_counts_as_long():
    made = condition(NOW - 5)
    assert state(made, mishap=NOW - 1) is State.DEGRADED
    assert state(made, mishap=NOW - RECENT_SECONDS) is State.OK


def test_a_hold_off_counts_until_it_is_over():
    assert state(condition(NOW - 5, held=NOW + 1)) is State.DEGRADED
    assert state(condition(NOW - 5, held=NOW)) is State.OK
    assert condition(held=NOW + 1).held(NOW) == NOW + 1
    assert condition(held=NOW).held(NOW) is None


def test_a_certificate_that_ends_soon_is_worth_a_word():
    assert state(condition(NOW - 5, expires=NOW + CERTIFICATE_SECONDS)) is State.OK
    verdict = judge(condition(NOW - 5, expires=NOW + CERTIFICATE_SECONDS - 1), None, NOW)
    assert (verdict.state, "certificate" in verdict.reason) == (State.DEGRADED, True)


def test_nothing_is_known_of_the_certificate_of_who_has_none():
    made = condition(NOW - 5)
    made.peer = Peer("mail.test", 25, "192.0.2.1")
    assert state(made) is State.OK


@pytest.mark.parametrize("error", [Unreachable("nobody there"), RefusedLogin("535 no", temporary=False)])
def test_a_failure_keeps_its_outcome_and_its_sentence(error):
    made = condition()
    made.failed(7.0, error)
    assert (made.last_failure.when, made.last_failure.outcome, made.last_failure.text) == (
        7.0,
        error.outcome,
        str(error),
    )
