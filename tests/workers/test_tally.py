"""Counts across processes: nothing is counted twice, nothing is lost with a worker that has told it."""

from collections import Counter

import pytest

from mailproxy.destination.model import MailProtocol
from mailproxy.observe.counters import Counters
from mailproxy.recipes import Identity
from mailproxy.workers.counts import MAX_LISTENERS
from mailproxy.workers.tally import LOST, Ledger, Tally


def who(name):
    return Identity(name, "acme", "local", MailProtocol.SMTP)


ONE, TWO = who("one"), who("two")


def counters(ended=0, active=0):
    made = Counters()
    for _ in range(ended + active):
        made.began()
    for _ in range(ended):
        made.ended("quit")
    return made


@pytest.fixture
def tally():
    return Tally()


def news(tally):
    return [dict(portion) for portion in tally.news()]


def test_only_what_has_changed_is_told(tally):
    one, two = counters(), counters()
    tally.follow([(ONE, one), (TWO, two)])
    assert news(tally) == [{ONE: counters(), TWO: counters()}]
    assert news(tally) == []
    one.began()
    assert news(tally) == [{ONE: counters(active=1)}]
    one.events["message"] += 1
    (told,) = news(tally)
    assert told[ONE].events == {"message": 1}


def test_what_was_told_does_not_change_any_more(tally):
    one = counters(active=1)
    tally.follow([(ONE, one)])
    (told,) = news(tally)
    one.ended("quit")
    assert told == {ONE: counters(active=1)}


def test_counters_that_are_replaced_go_on(tally):
    tally.follow([(ONE, counters(ended=3))])
    tally.follow([(ONE, counters(ended=2))])
    tally.follow([(ONE, counters(ended=1))])
    assert news(tally) == [{ONE: counters(ended=6)}]


def test_a_listener_that_is_gone_is_told_of_until_its_last_session_has_ended(tally):
    one = counters(active=1)
    tally.follow([(ONE, one)])
    news(tally)
    tally.follow([])
    assert news(tally) == []
    one.ended("shutdown")
    (told,) = news(tally)
    assert told[ONE].outcomes == {"shutdown": 1}
    one.began()
    assert news(tally) == []


def test_many_listeners_are_told_of_in_portions(tally):
    tally.follow([(who(str(number)), counters()) for number in range(2 * MAX_LISTENERS + 1)])
    assert [len(portion) for portion in tally.news()] == [MAX_LISTENERS, MAX_LISTENERS, 1]


@pytest.fixture
def ledger():
    return Ledger()


def is_balanced(total):
    return total.sessions == total.active + total.outcomes.total()


def test_the_sum_is_that_of_all_workers(ledger):
    ledger.report(1, {ONE: counters(ended=2, active=1)})
    ledger.report(2, {ONE: counters(ended=3), TWO: counters(active=4)})
    assert ledger.totals() == {ONE: counters(ended=5, active=1), TWO: counters(active=4)}
    assert ledger.total() == counters(ended=5, active=5)
    ledger.report(1, {ONE: counters(ended=3)})
    assert ledger.totals()[ONE] == counters(ended=6)


def test_the_last_counts_of_a_worker_survive_it(ledger):
    ledger.report(1, {ONE: counters(ended=2, active=3)})
    ledger.report(2, {ONE: counters(ended=1)})
    assert ledger.close(1) == 3
    total = ledger.total()
    assert is_balanced(total)
    assert (total.sessions, total.active, total.outcomes) == (6, 0, Counter({"quit": 3, LOST: 3}))
    ledger.report(3, {ONE: counters(ended=10)})
    assert ledger.total().sessions == 16
    assert ledger.close(1) == 0
    assert ledger.close(99) == 0


def test_listeners_that_are_gone_are_forgotten_once_nobody_has_a_session_there(ledger):
    ledger.report(1, {ONE: counters(ended=2), TWO: counters(active=1)})
    ledger.report(2, {ONE: counters(ended=2)})
    ledger.close(2)
    ledger.keep({TWO})
    assert ledger.totals().keys() == {TWO}
    ledger.keep(set())
    assert ledger.totals().keys() == {TWO}
    ledger.report(1, {TWO: counters(ended=1)})
    ledger.keep(set())
    assert ledger.totals() == {}


def test_a_sum_is_no_part_of_what_was_summed(ledger):
    ledger.report(1, {ONE: counters(ended=1)})
    ledger.totals()[ONE].began()
    ledger.total().began()
    assert ledger.totals()[ONE] == counters(ended=1)
