"""How a listener is doing in several workers: as it would be in one that had seen all of it."""

import json

import pytest

from mailproxy.admin.values import Report
from mailproxy.destination.model import MailProtocol
from mailproxy.observe.condition import Condition, Credential, Mishap, Peer, State, TLSFacts, judge
from mailproxy.observe.failures import MAX_FAILURES, MAX_TEXT_CHARACTERS, Failed
from mailproxy.recipes import Identity
from mailproxy.workers.frames import MAX_FRAME_OCTETS, format_frame
from mailproxy.workers.joined import MAX_REPORTED, MAX_REPORTS, joined, parse_reports, portions

REFUSED = "upstream_refused_login"


def who(name):
    return Identity(name, "acme", "local", MailProtocol.SMTP)


def mishap(when):
    return Mishap(when, REFUSED, f"no at {when:g}")


def failed(text, first, last, count=1):
    return Failed(first, last, count, f"session at {last:g}", REFUSED, text)


def test_of_nobody_nothing_is_known():
    assert joined([]) == joined([Report()]) == Report()


def test_what_one_has_seen_is_what_all_have():
    one = Report(5.0, mishap(4.0), Peer("a", 1), Credential("token"), 9.0, (failed("x", 1.0, 2.0),))
    assert joined([one]) == joined([one, Report()]) == joined([Report(), one]) == one


@pytest.mark.parametrize("turned", [False, True])
def test_the_latest_word_counts_whoever_said_it(turned):
    known = TLSFacts("TLSv1.3", "AES", 99.0)
    workers = [
        Report(10.0, mishap(3.0), Peer("old", 1, "192.0.2.1", known), Credential("password")),
        Report(8.0, mishap(20.0), Peer("new", 2), None, 25.0),
        Report(1.0, None, Peer("older", 3), Credential("none"), 24.0),
    ]
    told = joined(workers[::-1] if turned else workers)
    assert (told.last_success, told.last_failure, told.held_until) == (10.0, mishap(20.0), 25.0)
    assert (told.peer, told.credential) == (Peer("new", 2), Credential("password"))


@pytest.mark.parametrize(
    ("success", "failure", "state"),
    [(10.0, 20.0, State.FAILING), (20.0, 10.0, State.DEGRADED), (20.0, None, State.OK), (None, 10.0, State.FAILING)],
)
def test_it_is_judged_as_in_one_process(success, failure, state):
    told = joined([Report(success), Report(last_failure=None if failure is None else mishap(failure))])
    condition = Condition(lambda: None, told.last_success, told.last_failure)
    assert judge(condition, told.last_mishap, 30.0).state is state


def test_the_same_failure_is_one_and_the_last_ones_are_kept():
    one = [failed("same", 1.0, 10.0, 3), *(failed(f"one {number}", 5.0, 5.0 + number / 10) for number in range(7))]
    other = [failed("same", 2.0, 12.0, 4), *(failed(f"other {number}", 6.0, 8.0 + number / 10) for number in range(7))]
    told = joined([Report(failures=tuple(one)), Report(failures=tuple(other))]).failures
    assert told[0] == Failed(1.0, 12.0, 7, "session at 12", REFUSED, "same")
    assert len(told) == MAX_FAILURES
    assert {each.text for each in told[1:]} == {f"other {number}" for number in range(7)}


# As part of messages


def test_reports_arrive_in_portions():
    reports = {who(f"{number}"): Report(float(number)) for number in range(2 * MAX_REPORTS + 1)}
    raw = [json.loads(json.dumps(portion)) for portion in portions(reports)]
    assert [len(portion) for portion in raw] == [MAX_REPORTS, MAX_REPORTS, 1]
    arrived = {}
    for portion in raw:
        arrived |= parse_reports(portion)
    assert arrived == reports
    assert list(portions({})) == []


def test_no_portion_is_too_long():
    long = "\x01" * MAX_TEXT_CHARACTERS
    worst = Report(
        1e300,
        Mishap(1e300, long, long),
        Peer(long, 1 << 62, long, TLSFacts(long, long, 1e300)),
        Credential(long, 1e300),
        1e300,
        (Failed(1e300, 1e300, 1 << 62, long, long, long),) * MAX_FAILURES,
    )
    name = "\x01" * 300
    (portion,) = portions({Identity(f"{number}{name}", name, name, MailProtocol.SMTP): worst for number in range(30)})
    assert len(portion) == MAX_REPORTS == 30
    assert len(format_frame({"reports": portion})) < MAX_FRAME_OCTETS


def test_of_more_listeners_than_are_heard_nothing_is_told():
    many = {who(f"{number}"): Report() for number in range(MAX_REPORTED + 1)}
    assert sum(map(len, portions(many))) == MAX_REPORTED


@pytest.mark.parametrize(
    "raw", [None, {}, [1], [[["one", None, "local", "smtp"]]], [[["one", None, "local", "smtp"], 1]]]
)
def test_what_is_no_report_is_an_error(raw):
    with pytest.raises(ValueError, match=r".+"):
        parse_reports(raw)


def test_too_many_at_a_time_are_an_error():
    (portion,) = portions({who("one"): Report()})
    with pytest.raises(ValueError, match=r".+"):
        parse_reports(portion * (MAX_REPORTS + 1))
