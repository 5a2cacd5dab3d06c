"""A record of steps: what was taken, for how long, and what was left out for which reason."""

import pytest

from mailproxy.doctor.steps import FAILED, OK, SKIPPED, STEPS, Record, Trouble

TROUBLE = Trouble(
    "it broke",
    "upstream_error",
    temporary=True,
    answer=None,
    provider=None,
    side="mail server",
    cause="?",
    remedy=("!",),
)


@pytest.fixture
def times():
    return [0.0]


@pytest.fixture
def told():
    return []


@pytest.fixture
def record(times, told):
    return Record(lambda: times[0], told.append)


def by_name(record):
    return {step.name: step for step in record.steps()}


def test_steps_follow_each_other(record, times, told):
    record.begin("name")
    times[0] = 1.0
    record.begin("connect")
    times[0] = 1.5
    record.pause()
    found = by_name(record)
    assert (found["name"].status, found["name"].seconds) == (OK, 1.0)
    assert (found["connect"].status, found["connect"].seconds) == (OK, 0.5)
    assert (found["login"].status, found["login"].why) == (SKIPPED, "not reached")
    assert told == ["name", "connect"]
    assert list(found) == list(STEPS)


def test_a_step_that_comes_twice_counts_once(record, times):
    for step in ("capabilities", "tls", "capabilities"):
        record.begin(step)
        times[0] += 1.0
    record.pause()
    assert by_name(record)["capabilities"].seconds == 2.0


def test_what_follows_a_failure_was_not_reached(record):
    record.begin("connect")
    record.skip("socks", "the route is Internet")
    record.fail("connect", TROUBLE)
    found = by_name(record)
    assert (found["connect"].status, found["connect"].trouble) == (FAILED, TROUBLE)
    assert found["greeting"].why == "connect failed"
    assert found["socks"].why == "the route is Internet"


def test_a_step_that_was_taken_is_not_skipped(record):
    record.begin("tls")
    record.skip("tls", "no")
    assert by_name(record)["tls"].status == OK


def test_a_step_can_fail_without_having_begun(record):
    record.skip("starttls", "no")
    record.fail("starttls", TROUBLE)
    assert by_name(record)["starttls"].status == FAILED


def test_facts_and_notes(record):
    record.begin("tls")
    record.facts("tls", version="TLSv1.3", cipher=None)
    record.note("soon")
    record.begin("greeting")
    record.note("later", "tls")
    step = by_name(record)["tls"]
    assert dict(step.facts) == {"version": "TLSv1.3"}
    assert step.notes == ("soon", "later")
