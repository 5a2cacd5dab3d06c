"""Values as part of a message: all that a report may hold arrives, and nothing else does."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.admin.values import Report
from mailproxy.observe.condition import Credential, Mishap, Peer, TLSFacts
from mailproxy.observe.failures import MAX_TEXT_CHARACTERS, Failed
from mailproxy.workers.values import MAX_ITEMS, format_value, parse_value

TIME = st.floats(-1e12, 1e12)
TEXT = st.text(max_size=20)
NUMBER = st.integers(0, 1 << 60)
REPORTS = st.builds(
    Report,
    st.none() | TIME,
    st.none() | st.builds(Mishap, TIME, TEXT, TEXT),
    st.none()
    | st.builds(Peer, TEXT, NUMBER, st.none() | TEXT, st.none() | st.builds(TLSFacts, TEXT, TEXT, st.none() | TIME)),
    st.none() | st.builds(Credential, TEXT, st.none() | TIME),
    st.none() | TIME,
    st.lists(st.builds(Failed, TIME, TIME, NUMBER, TEXT, TEXT, TEXT), max_size=3).map(tuple),
)


@settings(max_examples=100)
@given(REPORTS)
def test_a_report_arrives_as_it_was(report):
    assert parse_value(Report, json.loads(json.dumps(format_value(report)))) == report


def test_what_is_too_long_is_cut_and_what_is_no_number_is_left_out():
    said = format_value(Report(float("nan"), Mishap(float("inf"), "x", "y" * 10_000)))
    assert said[0] is None
    assert said[1] == [None, "x", "y" * MAX_TEXT_CHARACTERS]


FAILED = [1.0, 2.0, 3, "s", "lost", "gone"]
GOOD = [None, [1, "lost", "gone"], ["mail", 25, None, None], ["token", 5], 7.5, [FAILED]]


def test_the_message_below_is_one():
    report = parse_value(Report, GOOD)
    assert (report.last_failure, report.peer) == (Mishap(1.0, "lost", "gone"), Peer("mail", 25))
    assert report.failures == (Failed(*FAILED),)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        "report",
        GOOD[:-1],
        [*GOOD, None],
        ["1", *GOOD[1:]],
        [True, *GOOD[1:]],
        [float("inf"), *GOOD[1:]],
        [None, [1, "lost"], *GOOD[2:]],
        [None, [1, "lost", None], *GOOD[2:]],
        [None, [1, "lost", "x" * (MAX_TEXT_CHARACTERS + 1)], *GOOD[2:]],
        [None, None, ["mail", -25, None, None], *GOOD[3:]],
        [None, None, ["mail", 25.0, None, None], *GOOD[3:]],
        [*GOOD[:-1], None],
        [*GOOD[:-1], [FAILED] * (MAX_ITEMS + 1)],
        [*GOOD[:-1], [[*FAILED[:-1], 5]]],
    ],
)
def test_what_is_no_report_is_an_error(raw):
    with pytest.raises(ValueError, match=r".+"):
        parse_value(Report, raw)
