"""How things are in all workers, and what is left of those that are gone."""

import attrs
import pytest

from mailproxy.destination.model import MailProtocol
from mailproxy.observe.histogram import Histogram
from mailproxy.observe.observation import CacheFigures, HoldOffFigures, PoolFigures, SourceFigures, State
from mailproxy.recipes import Identity
from mailproxy.workers.conditions import Conditions


def who(name, tenant="acme"):
    return Identity(name, tenant, "local", MailProtocol.SMTP)


ONE, TWO = who("one"), who("two")


def state(number, **more):
    """So many of everything."""
    seconds = Histogram()
    for _ in range(number):
        seconds.observe(1.0)
    source = SourceFigures("local", "acme", CacheFigures(number, number, number, number), seconds)
    return attrs.evolve(State(PoolFigures(*[number] * 6), HoldOffFigures(login=True), source, 5.0), **more)


@pytest.fixture
def conditions():
    return Conditions()


def counted(conditions, who=ONE):
    """What never goes down."""
    now = conditions.of(who)
    cache = now.source.cache
    return now.pool.made, now.pool.reused, cache.hits, cache.fetches, cache.failures, now.source.token_seconds.total


def test_nobody_has_told(conditions):
    assert conditions.of(ONE) is None
    conditions.close(1)
    assert conditions.of(ONE) is None


def test_what_a_dead_worker_has_counted_stays_and_what_it_had_is_gone(conditions):
    conditions.note(1, {ONE: state(3)})
    conditions.note(2, {ONE: state(4)})
    before = counted(conditions)
    assert before == (7,) * 6
    for worker in (1, 2):
        conditions.close(worker)
        assert counted(conditions) == before
    assert conditions.of(ONE).pool == PoolFigures(made=7, reused=7)
    assert conditions.of(ONE).hold_off == HoldOffFigures()
    assert conditions.of(ONE).source.cache.entries == 0
    conditions.note(3, {ONE: state(1)})
    assert counted(conditions) == (8,) * 6


def test_what_a_reload_puts_in_the_place_of_a_pool_counts_on(conditions):
    conditions.note(1, {ONE: state(5)})
    conditions.note(1, {ONE: state(2)})
    assert counted(conditions) == (7,) * 6
    conditions.note(1, {ONE: state(3)})
    assert counted(conditions) == (8,) * 6
    assert conditions.of(ONE).pool.resting == 3


def test_listeners_share_what_is_left_of_their_source(conditions):
    conditions.note(1, {ONE: state(3), TWO: state(3)})
    conditions.close(1)
    conditions.note(2, {ONE: state(1), TWO: state(1), who("three"): state(1)})
    assert {counted(conditions, each)[2:] for each in (ONE, TWO, who("three"))} == {(4,) * 4}
    assert counted(conditions, who("three"))[:2] == (1, 1)


def test_a_worker_that_has_no_source_leaves_none(conditions):
    conditions.note(1, {ONE: state(1, source=None)})
    conditions.close(1)
    assert conditions.of(ONE) == State(PoolFigures(made=1, reused=1))


def test_what_is_left_of_listeners_that_are_gone_is_forgotten(conditions):
    other = who("one", "globex")
    conditions.note(1, {ONE: state(3), other: state(3)})
    conditions.close(1)
    conditions.keep({ONE})
    assert counted(conditions) == (3,) * 6
    assert conditions.of(other) is None
    conditions.note(2, {other: state(1)})
    assert counted(conditions, other) == (1,) * 6
