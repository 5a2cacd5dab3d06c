"""The report for people: a line for each step, wrapped, and a table where there are several."""

from datetime import UTC, datetime

from mailproxy.destination.model import MailProtocol
from mailproxy.doctor.examination import Check, Subject
from mailproxy.doctor.run import Report
from mailproxy.doctor.show import WIDTH, report_text
from mailproxy.doctor.steps import FAILED, OK, SKIPPED, Step, Trouble

TROUBLE = Trouble(
    "it broke",
    "x",
    temporary=True,
    answer="a",
    provider="P",
    side="token service",
    cause="Why.",
    remedy=("One.", "Two."),
)


def check(destination, tenant, *steps):
    return Check(Subject(destination, tenant, MailProtocol.SMTP), 0.25, steps)


def said(*checks):
    return report_text(Report(datetime.now(UTC), 1.0, checks))


def test_one_check():
    steps = (
        Step("route", SKIPPED, why="no reason"),
        Step("name", OK, 0.5, {"addresses": ["::1", "127.0.0.1"], "kept_here": True, "port": 25}, ("look",)),
        Step("login", FAILED, 1.5, {"mechanism": "PLAIN"}, trouble=TROUBLE),
        Step("probe", OK, 0.0),
    )
    assert said(check("dest", "acme", *steps)).splitlines() == [
        "dest/acme (smtp): FAILED: login, 0.25 s",
        "  -       route                 no reason",
        "  ok      name           0.50 s addresses ::1, 127.0.0.1; kept here yes; port 25",
        "                         note:  look",
        "  FAILED  login          1.50 s it broke",
        "                         seen:  mechanism PLAIN",
        "                         side:  token service",
        "                         cause: Why.",
        "                         do:    One.",
        "                         do:    Two.",
        "  ok      probe          0.00 s",
    ]


def test_long_lines_are_wrapped_and_words_stay_whole():
    long = "https://example.com/" + "x" * 200
    lines = said(check("dest", None, Step("tls", OK, 0.0, {"a": " ".join(["word"] * 60), "b": long}))).splitlines()
    assert lines[0] == "dest (smtp): ok, 0.25 s"
    assert all(len(line) <= WIDTH or long in line for line in lines)
    assert sum(long in line for line in lines) == 1


def test_several_stand_side_by_side():
    checks = [
        check("one", "acme", Step("name", OK)),
        check("one", "globex", Step("name", FAILED, trouble=TROUBLE), Step("login", FAILED, trouble=TROUBLE)),
        check("two", None, Step("name", OK)),
    ]
    assert said(*checks).rpartition("\n\n")[2].splitlines() == [
        "            acme  globex  (provider)",
        "one (smtp)  ok    name    -",
        "two (smtp)  -     -       ok",
    ]
