"""What the log says of a session: who, where, what; nothing raw, nothing twice."""

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.python.failure import Failure

from mailproxy.errors import RefusedLogin, TokenRefused, Unreachable
from mailproxy.observe.sessions import ListenerLog, Numbers


class Book:
    """A listener's log that can be read."""

    def __init__(self, destination="dest", tenant="acme", **more):
        self.events = []
        logger = Logger("mailproxy.session", observer=self.events.append)
        self.listener = ListenerLog(destination, tenant, logger=logger, **more)

    @property
    def last(self):
        event = self.events[-1]
        return event["log_level"], formatEvent(event)


@pytest.mark.parametrize(
    ("tenant", "more", "label"),
    [
        ("acme", {}, "acme/dest"),
        (None, {}, "dest"),
        ("acme", {"label": "acme/dest@local:smtp"}, "acme/dest@local:smtp"),
    ],
)
def test_every_line_names_destination_and_tenant(tenant, more, label):
    book = Book(tenant=tenant, **more)
    book.listener.emit(LogLevel.info, "listening", log_event="listening_on", port=25)
    assert book.last == (LogLevel.info, f"{label}: listening")
    event = book.events[0]
    assert (event["label"], event["destination"], event["tenant"], event["port"]) == (label, "dest", tenant, 25)


def test_every_line_of_a_session_names_it_and_its_client():
    book = Book()
    session = book.listener.session("192.0.2.1:4711")
    session.report("message", {"code": 250})
    session.failed(Unreachable("no connection"), "login")
    session.ended("quit")
    for event in book.events:
        assert formatEvent(event).startswith(f"acme/dest: session {session.id} from 192.0.2.1:4711: ")
        assert event["session"] == session.id


def test_sessions_have_different_names():
    listener = Book().listener
    assert len({listener.session("x").id for _ in range(100)}) == 100


def test_a_session_is_counted_once_however_often_it_ends():
    book = Book()
    session = book.listener.session("x")
    assert book.listener.counters.active == 1
    session.ended("quit")
    session.ended("internal_error")
    assert book.listener.counters.outcomes == {"quit": 1}
    assert book.listener.counters.active == 0
    assert len(book.events) == 1
    assert book.events[0]["outcome"] == "quit"
    assert book.last[1].endswith("ended: quit")


@pytest.mark.parametrize(
    ("event", "fields", "level", "words"),
    [
        ("message", {"code": 250, "octets": 5}, LogLevel.info, "message: code 250, octets 5"),
        ("bad_line", {}, LogLevel.info, "bad line"),
        ("upstream_desync", {}, LogLevel.warn, "upstream desync"),
        ("delivery_unknown", {"reason": "lost\r\n"}, LogLevel.warn, r"delivery unknown: reason lost\x0d\x0a"),
        ("upstream_login_refused", {"text": b"5.7.8 \x1b"}, LogLevel.warn, r"upstream login refused: text 5.7.8 \x1b"),
        ("upstream_dropped", {"reason": "x" * 1000}, LogLevel.warn, "upstream dropped: reason " + "x" * 256 + "..."),
    ],
)
def test_what_happens_is_counted_and_said(event, fields, level, words):
    book = Book()
    book.listener.session("x").report(event, fields)
    assert book.listener.counters.events == {event: 1}
    assert book.last[0] is level
    assert book.last[1].split(": ", 2)[2] == words


@pytest.mark.parametrize("event", ["bad_ehlo", "non_esmtp"])
def test_harmless_habits_are_only_counted(event):
    book = Book()
    book.listener.session("x").report(event, {})
    assert book.listener.counters.events == {event: 1}
    assert book.events == []


def test_words_of_a_peer_are_shown_as_whoever_knows_its_secrets_says():
    book = Book()
    session = book.listener.session("x")
    session.quote = lambda octets: octets.decode().replace("sentinel", "<secret>")
    session.report("upstream_login_refused", {"text": b"your sentinel is wrong"})
    assert book.last[1].endswith("text your <secret> is wrong")


def test_curly_braces_of_a_peer_are_only_braces():
    book = Book()
    book.listener.session("x{text}").report("bad_line", {"text": b"{label} {0} {log_level!r}"})
    assert book.last[1].endswith("bad line: text {label} {0} {log_level!r}")


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (Unreachable("no connection to mail.test:587: connection refused"), LogLevel.warn),
        (RefusedLogin("454 later", temporary=True), LogLevel.warn),
        (RefusedLogin("535 no", temporary=False), LogLevel.error),
        (TokenRefused("invalid_client"), LogLevel.error),
    ],
)
def test_what_an_operator_must_mend_is_an_error_what_passes_a_warning(error, level):
    book = Book()
    book.listener.session("x").failed(error, "no session at the mail server")
    assert book.last[0] is level
    assert book.last[1].endswith(f"no session at the mail server: {error}")
    assert book.events[0]["outcome"] == error.outcome


def test_a_mistake_of_ours_has_a_traceback():
    book = Book()
    session = book.listener.session("x")
    try:
        {}["missing"]
    except KeyError:
        session.crashed()
    session.crashed(Failure(ZeroDivisionError("by zero")))
    first, second = book.events
    assert first["log_failure"].check(KeyError)
    assert second["log_failure"].check(ZeroDivisionError)
    assert formatEvent(first) == f"acme/dest: session {session.id} from x: internal error"
    assert first["log_level"] is LogLevel.critical


def test_who_is_turned_away_is_counted_by_the_limit_and_not_active():
    book = Book()
    for limit in ("client", "everywhere", "client"):
        book.listener.turned_away(limit)
    counters = book.listener.counters
    assert (counters.sessions, counters.active) == (3, 0)
    assert counters.outcomes == {"too_many_sessions": 3}
    assert counters.turned_away == {"client": 2, "everywhere": 1}
    assert not book.events


def test_no_tls_with_a_client_is_told_and_nobodys_fault():
    book = Book()
    session = book.listener.session("192.0.2.1:4711")
    session.tls_failed("client does not speak TLS")
    level, line = book.last
    assert level is LogLevel.info
    assert line.endswith(f"session {session.id} from 192.0.2.1:4711: no TLS with the client: client does not speak TLS")
    assert book.events[-1]["outcome"] == "downstream_tls_failed"


def test_numbers_count_up_and_a_worker_says_which_one_it_is():
    alone, worker = Numbers(), Numbers("12-")
    assert [alone.next(), alone.next(), worker.next()] == ["000001", "000002", "12-000001"]


def test_who_has_ended_makes_no_room():
    book = Book()
    session = book.listener.session("x")
    session.ended("quit")
    session.made_room()
    assert book.listener.counters.outcomes == {"quit": 1}


def test_what_is_the_case_twice_in_a_session_counts_once():
    listener = Book().listener
    first, second = listener.session("x"), listener.session("y")
    first.report("bad_line", {})
    first.report("bad_line", {})
    assert (listener.counters.events["bad_line"], listener.counters.seen) == (2, {"bad_line": 1})
    second.report("bad_line", {})
    assert listener.counters.seen == {"bad_line": 2}


def test_what_an_error_has_seen_counts_for_the_session_that_met_it():
    listener = Book().listener
    session = listener.session("x")
    session.failed(Unreachable("no connection").having_seen("upstream_tls"), "login")
    session.opened(secured=True)
    session.tls_failed("client went away")
    assert listener.counters.seen == {"upstream_tls": 1, "downstream_tls_failed": 1}


def test_durations_are_measured_once_each():
    clock = Clock()
    clock.advance(100)
    listener = Book(clock=clock).listener
    session = listener.session("x")
    took = listener.counters.durations
    session.opening()
    clock.advance(2)
    session.opened(secured=False)
    session.report("transaction", {})
    session.asked(10)
    clock.advance(3)
    session.answered(5)
    session.asked(10)
    session.answered(7)
    clock.advance(4)
    session.report("message", {})
    session.report("message", {})
    session.ended("quit")
    assert [each.total for each in (took.upstream_ready, took.first_reply, took.transaction, took.session)] == [
        2,
        3,
        7,
        9,
    ]
    assert [sum(each.counts) for each in (took.upstream_ready, took.first_reply, took.transaction)] == [1, 1, 1]
    assert (listener.counters.octets.to_server, listener.counters.octets.from_server) == (20, 12)


def test_a_message_whose_beginning_nobody_has_seen_takes_no_time():
    listener = Book().listener
    listener.session("x").report("message", {})
    assert sum(listener.counters.durations.transaction.counts) == 0


def test_a_failure_is_kept_with_its_session_and_its_time():
    clock = Clock()
    clock.advance(7)
    book = Book(clock=clock)
    session = book.listener.session("x")
    session.failed(Unreachable("no connection"), "no session at the mail server")
    (kept,) = book.listener.failures.latest()
    assert (kept.last, kept.session, kept.outcome) == (7.0, session.id, "upstream_unreachable")
    assert kept.text == "no session at the mail server: no connection"
