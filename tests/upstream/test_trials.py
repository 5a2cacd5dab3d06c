"""A login that may be wrong is tried by one attempt at a time."""

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from mailproxy.destination.model import Destination, Login, MailProtocol, Password, TLSMode, TLSSettings, Token
from mailproxy.errors import LimitReached, RefusedLogin, RefusedSession, TLSFailed, Unreachable
from mailproxy.upstream.holdoff import HoldOffSettings
from mailproxy.upstream.trials import Trials

PLACE = Destination("d", MailProtocol.SMTP, "mail.test", 587, TLSSettings(TLSMode.REQUIRED), login=True)
WRONG = Login(PLACE, Password("alice", "sentinel wrong"))
RIGHT = Login(PLACE, Password("alice", "sentinel right"))
REFUSED = RefusedLogin("535 no", temporary=False)
LATER = RefusedLogin("454 later", temporary=True)
FIRST_PAUSE = 30.0


class Attempt:
    """Tries a login; the test says how that goes."""

    def __init__(self, trials, login):
        self.trials, self.login = trials, login
        self.told = None
        self.state = "waiting"
        self.entering = Deferred.fromCoroutine(trials.enter(login, self))
        self.entering.addCallbacks(self._entered, self._failed)

    def _entered(self, _):
        self.state = "trying"

    def _failed(self, failure):
        self.state = failure.value

    def refused(self, error):
        self.told = error

    def ends(self, error=None, *, late=False):
        assert self.state == "trying"
        self.state = "over"
        self.trials.leave(self.login, self, error, late=late)
        return self


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def trials(clock):
    return Trials(clock, lambda: 0.0, HoldOffSettings())


def attempts(trials, number, login=WRONG):
    return [Attempt(trials, login) for _ in range(number)]


def states(attempts):
    return [attempt.state for attempt in attempts]


def all_refused(attempts, kind=RefusedLogin, words="not tried again so soon: 535 no"):
    errors = states(attempts)
    assert {(type(error), str(error)) for error in errors} == {(kind, words)}
    assert len({id(error) for error in errors}) == len(errors)
    return True


# A login of which nothing is known


def test_one_attempt_tries_it_and_the_others_wait(trials):
    assert states(attempts(trials, 3)) == ["trying", "waiting", "waiting"]


def test_when_it_is_good_all_go_on(trials):
    first, *others = attempts(trials, 3)
    first.ends()
    assert states(others) == ["trying", "trying"]
    assert states(attempts(trials, 2)) == ["trying", "trying"]


def test_when_it_is_refused_the_others_are_without_a_try_of_their_own(trials):
    first, *others = attempts(trials, 3)
    first.ends(REFUSED)
    assert all_refused(others)
    assert all_refused(attempts(trials, 2))
    assert "sentinel" not in str(others[0].state)
    assert not others[0].state.temporary


@pytest.mark.parametrize("error", [LATER, RefusedSession("421 busy"), CancelledError(), KeyError()])
def test_an_attempt_that_found_nothing_out_lets_the_next_one_try(trials, error):
    first, second, third = attempts(trials, 3)
    first.ends(error)
    assert states([second, third]) == ["trying", "waiting"]
    second.ends(REFUSED)
    assert all_refused([third])


@pytest.mark.parametrize("error", [Unreachable("no"), TLSFailed("expired"), LimitReached("no descriptor")])
def test_a_failure_that_is_everybodys_is_shared_by_those_who_wait(trials, error):
    first, *others = attempts(trials, 3)
    first.ends(error)
    assert all_refused(others, type(error), f"not tried again so soon: {error}")
    assert states(attempts(trials, 2)) == ["trying", "waiting"]


def test_a_mail_server_that_used_up_the_time_is_everybodys_failure(trials):
    first, second = attempts(trials, 2)
    first.ends(RefusedSession("no login within 20 s"), late=True)
    assert all_refused([second], RefusedSession, "not tried again so soon: no login within 20 s")


def test_a_maildrop_in_use_shows_that_the_login_is_good(trials):
    first, *others = attempts(trials, 3)
    first.ends(RefusedLogin("-ERR [IN-USE]", temporary=True, response_code="IN-USE"))
    assert states(others) == ["trying", "trying"]


def test_who_waits_can_give_up(trials):
    first, second, third = attempts(trials, 3)
    second.entering.cancel()
    assert isinstance(second.state, CancelledError)
    first.ends(LATER)
    assert third.state == "trying"
    third.entering.cancel()
    assert third.state == "trying"


def test_when_all_gave_up_nothing_is_left_of_them(trials):
    first, second = attempts(trials, 2)
    second.entering.cancel()
    first.ends(CancelledError())
    attempts(trials, 1, RIGHT)
    assert list(trials._known) == [RIGHT]


def test_a_long_queue_of_those_who_fail_at_once_fits_on_the_stack(trials):
    first, *others = attempts(trials, 3000)
    for other in others:
        other.entering.addCallback(lambda _, other=other: other.ends(KeyError()))
    first.ends(KeyError())
    assert set(states(others)) == {"over"}


def test_without_credentials_nothing_can_be_refused(trials):
    nobody = Login(PLACE, None)
    assert states(attempts(trials, 3, nobody)) == ["trying"] * 3
    assert not trials._known


# A login that is good


@pytest.fixture
def good(trials):
    Attempt(trials, WRONG).ends()
    return trials


@pytest.mark.parametrize("error", [LATER, RefusedSession("421 busy"), Unreachable("no"), CancelledError()])
def test_nothing_but_a_refusal_changes_that(good, error):
    Attempt(good, WRONG).ends(error)
    assert states(attempts(good, 3)) == ["trying"] * 3


def test_when_it_is_refused_all_at_once_those_under_way_are_told(good):
    first, second, third = attempts(good, 3)
    first.ends(REFUSED)
    assert first.told is None
    assert [str(each.told) for each in (second, third)] == ["not tried again so soon: 535 no"] * 2
    assert second.told is not third.told
    assert all_refused(attempts(good, 2))


def test_the_refusals_of_those_who_were_too_late_to_hear_of_it_are_one_refusal(good, clock):
    first, *others = attempts(good, 50)
    for attempt in (first, *others):
        attempt.ends(REFUSED)
    clock.advance(FIRST_PAUSE)
    assert Attempt(good, WRONG).state == "trying"


def test_one_of_them_that_got_in_shows_that_it_is_good(good):
    first, second = attempts(good, 2)
    first.ends(REFUSED)
    second.ends()
    assert states(attempts(good, 2)) == ["trying"] * 2


# A login that was refused


def test_after_the_pause_one_goes_through_and_the_others_are_refused_meanwhile(trials, clock):
    Attempt(trials, WRONG).ends(REFUSED)
    clock.advance(FIRST_PAUSE)
    probe, *others = attempts(trials, 3)
    assert probe.state == "trying"
    assert all_refused(others)
    probe.ends()
    assert states(attempts(trials, 2)) == ["trying"] * 2


@pytest.mark.parametrize("error", [LATER, Unreachable("no"), CancelledError()])
def test_a_probe_that_found_nothing_out_leaves_the_way_free_for_the_next(trials, clock, error):
    Attempt(trials, WRONG).ends(REFUSED)
    clock.advance(FIRST_PAUSE)
    Attempt(trials, WRONG).ends(error)
    assert states(attempts(trials, 1)) == ["trying"]


def test_the_pauses_double_and_a_success_ends_them(trials, clock):
    Attempt(trials, WRONG).ends(REFUSED)
    clock.advance(FIRST_PAUSE)
    Attempt(trials, WRONG).ends(REFUSED)
    clock.advance(2 * FIRST_PAUSE - 0.1)
    assert all_refused(attempts(trials, 1))
    clock.advance(0.1)
    Attempt(trials, WRONG).ends()
    Attempt(trials, WRONG).ends(REFUSED)
    clock.advance(FIRST_PAUSE)
    assert Attempt(trials, WRONG).state == "trying"


# Other logins


def test_other_credentials_are_another_login(trials):
    Attempt(trials, WRONG).ends(REFUSED)
    right = Attempt(trials, RIGHT)
    assert right.state == "trying"
    right.ends()
    assert Attempt(trials, RIGHT).state == "trying"


def test_any_other_property_makes_another_login(trials):
    Attempt(trials, WRONG).ends(REFUSED)
    assert Attempt(trials, evolve(WRONG, destination=evolve(PLACE, mechanisms=("PLAIN",)))).state == "trying"


def test_a_login_that_nobody_uses_any_more_is_forgotten(trials):
    busy, quiet = Attempt(trials, WRONG), Attempt(trials, RIGHT)
    quiet.ends(REFUSED)
    third = Login(PLACE, Password("alice", "third"))
    Attempt(trials, third)
    assert list(trials._known) == [WRONG, third]
    assert Attempt(trials, RIGHT).state == "trying"
    busy.ends(REFUSED)
    assert all_refused(attempts(trials, 1))


def test_a_token_is_the_same_however_long_it_is_said_to_live(trials):
    Attempt(trials, Login(PLACE, Token("alice", "sentinel", 100.0))).ends(REFUSED)
    assert all_refused(attempts(trials, 1, Login(PLACE, Token("alice", "sentinel", 200.0))))
    assert Attempt(trials, Login(PLACE, Token("alice", "fresh", 200.0))).state == "trying"


def test_a_late_answer_about_a_login_that_was_forgotten_changes_nothing(good):
    first, late = attempts(good, 2)
    first.ends(REFUSED)
    Attempt(good, RIGHT).ends()
    assert list(good._known) == [RIGHT]
    late.ends(REFUSED)
    assert list(good._known) == [RIGHT]


# Whatever happens

OUTCOMES = [REFUSED, LATER, Unreachable("no"), CancelledError(), None, None]
EVENTS = st.lists(
    st.one_of(
        st.just(("come",)),
        st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from(OUTCOMES)),
        st.tuples(st.just("give up"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, FIRST_PAUSE, 1000.0])),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_nobody_waits_for_nobody_and_a_doubtful_login_is_tried_by_one(events):
    clock = Clock()
    trials = Trials(clock, lambda: 0.0, HoldOffSettings())
    all_of_them, doubtful, refused_at = [], True, None
    for event, *details in events:
        trying = [attempt for attempt in all_of_them if attempt.state == "trying"]
        waiting = [attempt for attempt in all_of_them if attempt.state == "waiting"]
        if event == "come":
            all_of_them.append(Attempt(trials, WRONG))
            if refused_at is not None and clock.seconds() < refused_at + FIRST_PAUSE:
                assert isinstance(all_of_them[-1].state, RefusedLogin)
        elif event == "end" and trying:
            one = trying[details[0] % len(trying)]
            one.ends(details[1])
            if details[1] is None:
                doubtful, refused_at = False, None
            elif details[1] is REFUSED and one.told is None:
                doubtful, refused_at = True, clock.seconds()
        elif event == "give up" and waiting:
            waiting[details[0] % len(waiting)].entering.cancel()
        elif event == "wait":
            clock.advance(details[0])
        trying = [each for each in all_of_them if each.state == "trying" and each.told is None]
        assert trying or not any(each.state == "waiting" for each in all_of_them)
        assert len(trying) <= 1 or not doubtful
