"""The log for people and for programs: the same sentences, nothing that they do not say, and levels by namespace."""

import io
import json
import re

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEventAsClassicLogText
from twisted.python.failure import Failure

from mailproxy.errors import Unreachable
from mailproxy.observe import sessions
from mailproxy.observe.logs import LogSettings, LogWriter, event_name, json_line, settings, text_line
from mailproxy.observe.sessions import ListenerLog
from tests.support import vocabulary
from tests.support.pages import page, span, unique

PAGE = page("reference/logs.md")
OUTCOMES = page("reference/outcomes.md")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Book:
    """A process's log, and a listener of it."""

    def __init__(self, file=None, **given):
        self.file = file or io.StringIO()
        self.settings = LogSettings(**given)
        self.writer = LogWriter(self.file, self.settings)
        self.clock = Clock()
        self.listener = ListenerLog("dest", "acme", logger=self.logger("mailproxy.session"), clock=self.clock)

    def logger(self, namespace):
        return Logger(namespace, observer=self.writer)

    @property
    def lines(self):
        return self.file.getvalue().splitlines()

    @property
    def read(self):
        return [json.loads(line) for line in self.lines]


# Which form


@pytest.mark.parametrize(
    ("file", "form", "is_json"),
    [
        (io.StringIO, "auto", True),
        (Terminal, "auto", False),
        (Terminal, "json", True),
        (io.StringIO, "text", False),
    ],
)
def test_people_get_text_and_programs_json_unless_told_otherwise(file, form, is_json):
    book = Book(file(), form=form)
    book.logger("mailproxy.process").info("ready; listeners: {count}", count=3)
    (line,) = book.lines
    assert line.startswith("{") is is_json
    assert "ready; listeners: 3" in line


def test_both_forms_can_be_changed_while_it_runs():
    book = Book()
    logger = book.logger("mailproxy.process")
    logger.info("one")
    book.settings.follow("text", "warn", {}, 60)
    logger.info("two")
    logger.emit(LogLevel.warn, "three")
    assert book.lines[0].startswith("{")
    assert book.lines[1].endswith("[mailproxy.process#warn] three")
    assert len(book.lines) == 2


def test_a_file_that_knows_of_no_terminal_gets_json():
    class File:
        written = ""

        def write(self, text):
            self.written += text

        def flush(self):
            pass

    file = File()
    LogWriter(file, LogSettings())({"log_level": LogLevel.info, "log_format": "x", "log_time": 0.0})
    assert json.loads(file.written)["text"] == "x"


# Levels


@pytest.mark.parametrize(
    ("namespace", "level", "told"),
    [
        ("mailproxy.session", "info", False),
        ("mailproxy.session", "warn", True),
        ("mailproxy.session.deep", "info", False),
        ("mailproxy.sessions", "info", True),
        ("mailproxy.tls", "debug", True),
        ("mailproxy.tls.deep", "debug", False),
        ("mailproxy.tls.deep", "error", True),
        ("twisted", "info", True),
        ("twisted", "debug", False),
        ("", "info", True),
    ],
)
def test_the_longest_name_that_fits_decides(namespace, level, told):
    levels = {"mailproxy.session": "warn", "mailproxy": "info", "mailproxy.tls": "debug", "mailproxy.tls.deep": "error"}
    for _ in range(2):
        assert LogSettings(levels=levels).tells(namespace, LogLevel.levelWithName(level)) is told


def test_a_session_does_not_put_together_what_is_not_told(monkeypatch):
    monkeypatch.setattr(sessions, "settings", LogSettings(level="error"))
    events = []
    listener = ListenerLog("dest", None, logger=Logger("mailproxy.session", observer=events.append))
    session = listener.session("x")
    session.report("message", {"code": 250})
    session.ended("quit")
    assert events == []
    assert listener.counters.outcomes == {"quit": 1}


# JSON


def test_a_session_has_its_own_keys():
    book = Book()
    session = book.listener.session("192.0.2.1:4711")
    session.report("message", {"code": 250, "text": b"2.0.0 {Ok}\r\n\x1b"})
    session.failed(Unreachable("no connection"), "login")
    session.tls_failed("client does not speak TLS")
    session.ended("quit")
    message, failed, tls, ended = book.read
    words = "2.0.0 {Ok}\\x0d\\x0a\\x1b"
    assert message.pop("time").endswith("Z")
    assert message == {
        "level": "info",
        "event": "message",
        "namespace": "mailproxy.session",
        "text": f"acme/dest: session {session.id} from 192.0.2.1:4711: message: code 250, text {words}",
        "destination": "dest",
        "tenant": "acme",
        "session": session.id,
        "client": "192.0.2.1:4711",
        "fields": {"code": 250, "text": words},
    }
    assert (failed["event"], failed["outcome"], failed["level"]) == ("failed", "upstream_unreachable", "warn")
    assert (tls["event"], tls["outcome"]) == ("downstream_tls_failed", "downstream_tls_failed")
    assert (ended["event"], ended["outcome"]) == ("ended", "quit")


def test_a_listener_without_a_tenant_says_none():
    book = Book()
    ListenerLog("dest", None, logger=book.logger("mailproxy.session")).emit(LogLevel.warn, "x", log_event="turned_away")
    (line,) = book.read
    assert "tenant" not in line
    assert (line["destination"], line["event"]) == ("dest", "turned_away")


def test_other_lines_show_what_their_sentence_says_and_nothing_else():
    book = Book()
    book.logger("mailproxy.destination").warn(
        "destination {destination}, tenant {tenant}: {reason}",
        destination="d",
        tenant="t",
        reason="broken\x1b",
        outcome="token_refused",
        password="hunter2",
        secret=object(),
    )
    (line,) = book.read
    assert (line["destination"], line["tenant"], line["outcome"]) == ("d", "t", "token_refused")
    assert line["fields"] == {"reason": "broken\\x1b"}
    assert "hunter2" not in book.file.getvalue()


def test_numbers_stay_numbers_and_everything_else_is_text():
    book = Book()
    book.logger("mailproxy.x").info(
        "{a} {b} {c} {d} {e.x}", a=1, b=1.5, c=None, d=ValueError("no"), e=type("E", (), {"x": 1})
    )
    assert book.read[0]["fields"] == {"a": 1, "b": 1.5, "c": None, "d": "no"}


def test_a_mistake_of_ours_has_a_traceback():
    book = Book()
    session = book.listener.session("x")
    session.crashed(Failure(ZeroDivisionError("by zero")))
    (line,) = book.read
    assert (line["event"], line["level"], line["destination"]) == ("internal_error", "critical", "dest")
    assert "ZeroDivisionError" in line["traceback"]


def test_what_says_nothing_is_no_line():
    for event in ({}, {"log_format": ""}):
        assert json_line(event) == text_line(event) == ""
    assert json.loads(json_line({"log_failure": Failure(ValueError())}))["traceback"]
    book = Book()
    book.logger("mailproxy.x").info("")
    assert book.lines == []


def test_a_sentence_that_is_no_format_is_shown_as_well_as_it_can_be():
    event = {"log_format": "{", "log_level": LogLevel.info, "log_time": 0.0, "log_namespace": "a.b"}
    line = json.loads(json_line(event))
    assert (line["event"], line["time"]) == ("b", "1970-01-01T00:00:00.000Z")


def test_text_is_as_twistd_would_have_it():
    events = []
    listener = ListenerLog("dest", "acme", logger=Logger("mailproxy.session", observer=events.append))
    listener.session("x{1}").ended("quit")
    assert text_line(events[0]) == formatEventAsClassicLogText(events[0])


@pytest.mark.parametrize(
    ("sentence", "namespace", "name"),
    [
        ("{label}: listening on {place}", "", "listening_on"),
        ("destination {destination}, tenant {tenant}: works again", "", "works_again"),
        ("destination {destination}, tenant {tenant}: {reason}", "mailproxy.destination", "destination"),
        ("worker {number} serves: process {pid}", "", "worker_serves"),
        ("{where}: has expired on {date:%Y-%m-%d}", "", "has_expired_on"),
        ("{problem}", "mailproxy.listeners", "listeners"),
        ("", "", "other"),
    ],
)
def test_an_event_is_named_after_its_sentence(sentence, namespace, name):
    assert event_name(sentence, namespace) == name


# Folding


def kinds(lines):
    return [(line["event"], line.get("outcome"), line.get("count")) for line in lines]


def test_failures_of_one_kind_are_one_line_and_so_are_their_ends():
    book = Book()
    for _ in range(5):
        session = book.listener.session("x")
        session.failed(Unreachable("no connection"), "login")
        session.ended("upstream_unreachable")
    first = [("failed", "upstream_unreachable", None), ("ended", "upstream_unreachable", None)]
    assert kinds(book.read) == first
    book.clock.advance(60)
    more = [(event, outcome, 4) for event, outcome, _ in first]
    assert kinds(book.read) == first + more
    assert book.read[-2]["text"] == "acme/dest: 4 more within 60 s: login: no connection"


def test_a_session_that_recovers_has_an_end_of_its_own():
    book = Book()
    for _ in range(3):
        session = book.listener.session("x")
        session.opening()
        session.failed(Unreachable("no connection"), "login")
        session.ended("quit")
    assert [line["event"] for line in book.read] == ["failed", "ended", "ended", "ended"]


@pytest.mark.parametrize(
    ("outcome", "spoken", "folded"),
    [
        ("downstream_closed", False, True),
        ("downstream_timeout", False, True),
        ("downstream_closed", True, False),
        ("not_smtp", True, True),
        ("not_pop3", True, True),
        ("downstream_tls_failed", False, True),
        ("quit", True, True),
    ],
)
def test_who_only_looks_whether_we_are_there_does_not_fill_the_log(outcome, spoken, folded):
    book = Book()
    for _ in range(4):
        book.listener.session("x").ended(outcome, spoken=spoken)
    assert len(book.lines) == (1 if folded else 4)
    book.listener.settle()
    assert len(book.lines) == (2 if folded else 4)
    assert book.listener.counters.outcomes == {outcome: 4}
    assert not book.clock.getDelayedCalls()


def test_folding_can_be_switched_off():
    book = Book()
    settings.fold_seconds = 0.0
    try:
        for _ in range(3):
            book.listener.session("x").ended("not_smtp")
    finally:
        settings.fold_seconds = LogSettings().fold_seconds
    assert len(book.lines) == 3


# The page


def test_the_page_has_every_key():
    book = Book()
    session = book.listener.session("x")
    session.report("message", {"code": 250})
    session.crashed(Failure(ValueError()))
    for _ in range(2):
        session = book.listener.session("x")
        session.tls_failed("no")
    book.listener.settle()
    keys = set().union(*book.read)
    assert unique(span(row["Key"]) for row in PAGE.table("Key", "In")) == keys


def test_the_page_has_every_namespace():
    named = {namespace for _, namespace in vocabulary.log_sentences()} | {"mailproxy.session"}
    assert unique(span(row["Namespace"]) for row in PAGE.table("Namespace", "Who")) == named


def test_the_page_has_every_event_of_its_own():
    said = {(event_name(sentence, namespace), namespace) for sentence, namespace in vocabulary.log_sentences()}
    rows = [(span(row["Event"]), span(row["Namespace"])) for row in PAGE.table("Event", "Namespace")]
    assert unique(rows) == said


def test_the_page_has_every_event_of_a_session():
    source = (vocabulary.PACKAGE / "observe/sessions.py").read_text()
    source += (vocabulary.PACKAGE / "downstream/turnedaway.py").read_text()
    said = {span(row["Event"]) for row in PAGE.table("Event", "Which line")}
    for event in said:
        assert f'"{event}"' in source
    kinds = set(re.findall(r'(?:_Kind\(|log_event=|Crowd\(\s*clock, log, )"(\w+)"', source))
    assert kinds | {"downstream_tls_failed"} == said


def test_every_example_on_the_page_is_as_the_code_writes_it():
    (example,) = [json.loads(block.text) for block in PAGE.blocks]
    book = Book()
    session = ListenerLog("mail", "acme", logger=book.logger("mailproxy.session")).session("127.0.0.1:49202")
    session.id = "000001"
    session.report("message", {"code": 250, "octets": 17, "recipients": 1, "text": b"2.0.0 Ok"})
    (line,) = book.read
    assert line | {"time": example["time"]} == example
    assert list(line) == list(example)


def test_who_wanted_the_mail_server_did_not_only_look():
    book = Book()
    for _ in range(4):
        session = book.listener.session("x")
        session.opening()
        session.ended("quit")
    assert len(book.lines) == 4
