"""The cache: the four times of an entry's life, one fetch in flight, pauses after failures."""

import gc
import weakref

import pytest
from twisted.internet.defer import CancelledError, Deferred

from mailproxy.destination.cache import Cache, Fetched
from mailproxy.errors import DestinationUnavailable, DestinationUnknown, DestinationUnusable, TokenRefused
from mailproxy.observe.observation import CacheFigures
from tests.destination.coroutines import run, start

DOWN = DestinationUnavailable("down")


class Origin:
    """Answers by hand (`pending`), or at once with what `answers` holds."""

    def __init__(self, lifetime=100.0, stale=0.0):
        self.lifetime = lifetime
        self.stale = stale
        self.fetches = 0
        self.answers = []
        self.pending = []

    async def fetch(self):
        self.fetches += 1
        if self.answers:
            answer = self.answers.pop(0)
        else:
            waiting = Deferred()
            self.pending.append(waiting)
            answer = await waiting
        if isinstance(answer, Exception):
            raise answer
        return Fetched(answer, self.lifetime, self.stale)

    def give(self, answer):
        self.pending.pop(0).callback(answer)


@pytest.fixture
def observed():
    return []


@pytest.fixture
def cache(clock, observed):
    return Cache(clock, lambda: 0.0, observe=lambda key, error: observed.append((key, error and str(error))))


@pytest.fixture
def origin():
    return Origin()


def test_a_fresh_value_is_fetched_once(cache, origin, clock):
    origin.answers = ["a"]
    assert run(cache.get("k", origin.fetch)) == "a"
    clock.advance(79)
    assert run(cache.get("k", origin.fetch)) == "a"
    assert origin.fetches == 1


def test_keys_do_not_share_values(cache, origin):
    origin.answers = ["a", "b"]
    assert run(cache.get("k", origin.fetch)) == "a"
    assert run(cache.get("l", origin.fetch)) == "b"


def test_those_who_ask_meanwhile_share_the_one_fetch(cache, origin):
    waiters = [start(cache.get("k", origin.fetch)) for _ in range(5)]
    assert all(waiter.running for waiter in waiters)
    origin.give("a")
    assert [waiter.value for waiter in waiters] == ["a"] * 5
    assert origin.fetches == 1


def test_an_error_is_shared_and_each_waiter_has_its_own_copy(cache, origin):
    waiters = [start(cache.get("k", origin.fetch)) for _ in range(3)]
    origin.give(DestinationUnusable("mail.smtp.port", "is bad"))
    errors = [waiter.error for waiter in waiters]
    assert [(error.key, str(error)) for error in errors] == [("mail.smtp.port", "mail.smtp.port: is bad")] * 3
    assert len(set(map(id, errors))) == 3


def test_a_waiter_who_gives_up_takes_nobody_along(cache, origin):
    first, second = start(cache.get("k", origin.fetch)), start(cache.get("k", origin.fetch))
    first.deferred.cancel()
    assert isinstance(first.error, CancelledError)
    assert second.running
    origin.give("a")
    assert second.value == "a"


def test_the_fetch_goes_on_when_all_have_given_up(cache, origin):
    waiter = start(cache.get("k", origin.fetch))
    waiter.deferred.cancel()
    assert isinstance(waiter.error, CancelledError)
    origin.give("a")
    assert run(cache.get("k", origin.fetch)) == "a"
    assert origin.fetches == 1


def test_an_ageing_value_is_handed_out_while_one_renewal_runs(cache, origin, clock):
    origin.answers = ["a"]
    run(cache.get("k", origin.fetch))
    clock.advance(80)
    assert [run(cache.get("k", origin.fetch)) for _ in range(3)] == ["a"] * 3
    assert origin.fetches == 2
    origin.give("b")
    assert run(cache.get("k", origin.fetch)) == "b"
    assert origin.fetches == 2


def test_renewal_starts_earlier_by_chance(clock, origin):
    cache = Cache(clock, lambda: 1.0)
    origin.answers = ["a"]
    run(cache.get("k", origin.fetch))
    clock.advance(71)
    run(cache.get("k", origin.fetch))
    assert origin.fetches == 1
    clock.advance(1)
    run(cache.get("k", origin.fetch))
    assert origin.fetches == 2


@pytest.mark.parametrize(("lifetime", "ageing"), [(3600, 2880), (200, 140), (100, 50), (10, 5)])
def test_a_lead_brings_renewal_forward_but_not_into_the_first_half(clock, lifetime, ageing):
    cache, origin = Cache(clock, lambda: 0.0, lead_seconds=60.0), Origin(lifetime)
    origin.answers = ["a", "b"]
    run(cache.get("k", origin.fetch))
    clock.advance(ageing - 1)
    run(cache.get("k", origin.fetch))
    assert origin.fetches == 1
    clock.advance(1)
    run(cache.get("k", origin.fetch))
    assert origin.fetches == 2


def test_a_renewal_that_fails_leaves_the_old_value_until_it_expires(cache, origin, clock, observed):
    origin.answers = ["a", DOWN, DOWN]
    run(cache.get("k", origin.fetch))
    clock.advance(80)
    assert run(cache.get("k", origin.fetch)) == "a"
    assert run(cache.get("k", origin.fetch)) == "a"
    assert (origin.fetches, observed) == (2, [("k", None), ("k", "down")])
    clock.advance(20)
    with pytest.raises(DestinationUnavailable):
        run(cache.get("k", origin.fetch))


def test_an_expired_value_is_used_while_the_service_is_down_and_it_may_be(cache, clock):
    origin = Origin(stale=50)
    origin.answers = ["a", DOWN, DOWN]
    run(cache.get("k", origin.fetch))
    clock.advance(149)
    assert run(cache.get("k", origin.fetch)) == "a"
    assert run(cache.get("k", origin.fetch)) == "a"
    assert origin.fetches == 2, "during the pause nobody is asked"
    clock.advance(2)
    with pytest.raises(DestinationUnavailable):
        run(cache.get("k", origin.fetch))


@pytest.mark.parametrize("error", [DestinationUnknown("gone"), DestinationUnusable("k", "bad"), TokenRefused("no")])
def test_an_expired_value_is_not_used_against_a_definite_no(cache, clock, error):
    origin = Origin(stale=1000)
    origin.answers = ["a", error]
    run(cache.get("k", origin.fetch))
    clock.advance(100)
    with pytest.raises(type(error)):
        run(cache.get("k", origin.fetch))


def test_a_value_that_the_service_takes_back_is_forgotten_at_once(cache, origin, clock):
    origin.answers = ["a", DestinationUnknown("gone")]
    run(cache.get("k", origin.fetch))
    clock.advance(80)
    assert run(cache.get("k", origin.fetch)) == "a", "who starts the renewal does not wait for it"
    with pytest.raises(DestinationUnknown):
        run(cache.get("k", origin.fetch))


def first_pauses(cache, origin, clock, error, times):
    """How long nothing is fetched, after each of so many failures in a row, in whole seconds."""
    pauses, seconds = [], 0
    origin.answers = [error]
    with pytest.raises(type(error)):
        run(cache.get("k", origin.fetch))
    while len(pauses) < times:
        clock.advance(1)
        seconds += 1
        fetches, origin.answers = origin.fetches, [error]
        with pytest.raises(type(error)):
            run(cache.get("k", origin.fetch))
        if origin.fetches > fetches:
            pauses.append(seconds)
            seconds = 0
    return pauses


@pytest.mark.parametrize(
    ("error", "pauses"),
    [
        (DOWN, [1, 2, 4, 8, 16, 32, 60, 60]),
        (TokenRefused("no"), [30, 60, 120, 240, 480, 600, 600]),
        (DestinationUnknown("gone"), [5, 10, 20, 40, 60, 60]),
        (DestinationUnavailable("busy", retry_after=7.0), [7, 7, 7, 8, 16]),
    ],
)
def test_pauses_double_and_honour_what_the_service_asks_for(cache, origin, clock, error, pauses):
    assert first_pauses(cache, origin, clock, error, len(pauses)) == pauses


def test_pauses_are_longer_by_chance(clock, origin):
    cache = Cache(clock, lambda: 1.0)
    assert first_pauses(cache, origin, clock, TokenRefused("no"), 3) == [38, 75, 150]


def test_a_success_ends_the_row_of_failures(cache, origin, clock):
    first_pauses(cache, origin, clock, DOWN, 3)
    clock.advance(60)
    origin.answers = ["a"]
    assert run(cache.get("k", origin.fetch)) == "a"
    clock.advance(100)
    assert first_pauses(cache, origin, clock, DOWN, 2) == [1, 2]


@pytest.mark.parametrize("lifetime", [0.0, -5.0])
def test_a_value_without_a_life_is_for_those_who_wait_and_not_kept(cache, lifetime):
    origin = Origin(lifetime)
    waiters = [start(cache.get("k", origin.fetch)) for _ in range(2)]
    origin.give("a")
    assert [waiter.value for waiter in waiters] == ["a", "a"]
    start(cache.get("k", origin.fetch))
    assert origin.fetches == 2


def test_only_the_value_that_was_refused_is_dropped(cache, origin):
    origin.answers = ["a", "b"]
    run(cache.get("k", origin.fetch))
    cache.drop("k", lambda value: value == "older")
    cache.drop("unknown", lambda _: True)
    assert cache.peek("k") == "a"
    cache.drop("k", lambda value: value == "a")
    assert cache.peek("k") is None
    assert run(cache.get("k", origin.fetch)) == "b"


def test_the_number_of_entries_is_bounded_and_the_oldest_goes(clock, origin):
    cache = Cache(clock, lambda: 0.0, max_entries=3)
    origin.answers = list("abcd")
    for key in "abc":
        run(cache.get(key, origin.fetch))
    run(cache.get("a", origin.fetch))
    run(cache.get("d", origin.fetch))
    assert len(cache) == 3
    assert (cache.peek("a"), cache.peek("b"), cache.peek("d")) == ("a", None, "d")


def test_an_entry_in_flight_keeps_its_place(clock, origin):
    cache = Cache(clock, lambda: 0.0, max_entries=1)
    first = start(cache.get("k", origin.fetch))
    other = Origin()
    other.answers = ["other"]
    run(cache.get("l", other.fetch))
    second = start(cache.get("k", origin.fetch))
    origin.give("a")
    assert (first.value, second.value, origin.fetches) == ("a", "a", 1)


def test_closing_cancels_what_is_in_flight(cache, origin, observed):
    waiter = start(cache.get("k", origin.fetch))
    cache.close()
    assert str(waiter.error) == "mailproxy is stopping"
    assert (len(cache), observed) == (0, [])


def test_a_mistake_of_ours_reaches_those_who_wait_and_is_not_kept(cache, origin):
    origin.answers = [ZeroDivisionError("ours"), "a"]
    with pytest.raises(ZeroDivisionError):
        run(cache.get("k", origin.fetch))
    assert run(cache.get("k", origin.fetch)) == "a"


def test_a_mistake_of_ours_in_the_background_is_logged(cache, origin, clock, logged_failures):
    origin.answers = ["a", ZeroDivisionError("ours")]
    run(cache.get("k", origin.fetch))
    clock.advance(80)
    assert run(cache.get("k", origin.fetch)) == "a"
    (event,) = logged_failures
    assert event["log_failure"].check(ZeroDivisionError)
    logged_failures.clear()


class Held:
    """Something that a frame holds."""


def test_a_kept_error_keeps_no_frames_alive(cache):
    held = []

    async def fetch():
        secret = Held()
        held.append(weakref.ref(secret))
        try:
            {}[secret]
        except KeyError as error:
            raise DestinationUnavailable("down") from error

    async def session():
        mine = Held()
        held.append(weakref.ref(mine))
        await cache.get("k", fetch)

    for _ in range(2):
        with pytest.raises(DestinationUnavailable):
            run(session())
    gc.collect()
    assert [reference() for reference in held] == [None] * 3


def test_how_often_it_was_of_use_can_be_asked(cache, origin):
    assert cache.figures() == CacheFigures()
    origin.answers = ["a", DOWN]
    for _ in range(3):
        run(cache.get("k", origin.fetch))
    assert cache.figures() == CacheFigures(entries=1, hits=2, fetches=1)
    with pytest.raises(DestinationUnavailable):
        run(cache.get("other", origin.fetch))
    assert cache.figures() == CacheFigures(entries=2, hits=2, fetches=2, failures=1)
