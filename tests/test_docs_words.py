"""
What the pages say about sessions, outcomes, events, failures, replies, commands, is what the code says, and all of it.
"""

from __future__ import annotations

import fnmatch
import re

import pytest

from mailproxy import backoff, errors
from mailproxy.destination import lookup, pauses, sap
from mailproxy.errors import (
    DestinationError,
    DestinationUnavailable,
    DestinationUnusable,
    LimitReached,
    RefusedLogin,
    TokenRefused,
    UpstreamError,
)
from mailproxy.observe import sessions as session_log
from mailproxy.session import pop3_login, pop3_words, smtp_commands, smtp_ehlo, smtp_local
from mailproxy.session.actions import Waiting
from mailproxy.session.pop3_words import failure_line
from mailproxy.session.smtp_words import failure_reply
from mailproxy.upstream.holdoff import HoldOffSettings
from mailproxy.wire import pop3 as wire_pop3
from mailproxy.wire.pop3 import POP3Capabilities
from mailproxy.wire.smtp import Extensions
from tests.support import vocabulary
from tests.support.pages import page, span, spans, unique

OUTCOMES, FAILURES = page("reference/outcomes.md"), page("reference/failures.md")
SMTP, POP3 = page("reference/smtp.md"), page("reference/pop3.md")
ROOT_ERRORS = (UpstreamError, DestinationError)
"""What a session at the mail server, or the way to it, can fail with."""


def leaves(cls):
    """The classes of errors that are raised: those that have none below them in `errors`."""
    below = [each for each in cls.__subclasses__() if each.__module__ == errors.__name__]
    return {leaf for each in below for leaf in leaves(each)} if below else {cls}


FAILING = sorted({LimitReached}.union(*map(leaves, ROOT_ERRORS)), key=lambda cls: cls.__name__)


# Outcomes and events


def test_the_page_has_every_outcome_of_a_session():
    documented = unique(span(row["Outcome"]) for row in OUTCOMES.table("Outcome", "How the session ended"))
    assert documented == vocabulary.outcomes() | {cls.outcome for cls in FAILING}


def test_the_page_has_every_event_with_its_level_and_fields():
    rows = OUTCOMES.table("Event", "Level", "Fields")
    documented = {span(row["Event"]): (row["Level"], set(spans(row["Fields"]))) for row in rows}
    assert len(documented) == len(rows)
    assert documented == {name: (_level(name), fields) for name, fields in vocabulary.events().items()}


def _level(event):
    if event in session_log._ONLY_COUNTED:
        return "not logged"
    return "`warn`" if event in session_log._WARNINGS else "`info`"


def test_the_page_has_a_word_for_every_turn():
    documented = unique(span(row["Word"]) for row in OUTCOMES.table("Word", "What was awaited"))
    assert documented == {waiting.value for waiting in Waiting}


def test_every_line_of_the_log_on_the_page_is_one_of_the_codes():
    for row in OUTCOMES.table("Line", "Level"):
        assert _is_said(span(row["Line"])), row["Line"]


# Failures


def _is_said(sentence, least=12):
    """
    Whether the code can say this, `<words>` standing for anything.

    A sentence may begin with who is asked, a line with the listener.  A text of the code with hardly a letter of its
    own fits everything, and so only itself.
    """
    said, wanted = vocabulary.sentences(), vocabulary.normal(sentence)
    if {wanted, wanted.removeprefix("* "), wanted.removeprefix("*: ")} & said:
        return True
    telling = [text for text in said if len(text.replace("*", "")) >= least]
    return any(fnmatch.fnmatchcase(wanted, re.sub(r"([\[\]?])", r"[\1]", text)) for text in telling)


def _variants(cls):
    """Errors of a class, one for each answer that it can lead to."""
    if cls is RefusedLogin:
        yield cls("", temporary=False)
        yield from (cls("", temporary=True, response_code=code) for code in (None, *pop3_words._MAILDROP))
    elif cls is DestinationUnusable:
        yield cls("key", "reason")
    else:
        yield cls("")


def test_every_failure_before_the_session_has_its_replies():
    documented = {
        (span(row["Outcome"]), span(row["SMTP reply"]), span(row["POP3 line"])) for row in FAILURES.table("Cause")
    }
    possible = {
        (cls.outcome, failure_reply(451, error).decode().rstrip(), failure_line(error).decode().rstrip())
        for cls in FAILING
        for error in _variants(cls)
    }
    assert documented <= possible
    later = {reply for row in FAILURES.table("When", "What happened", "Reply") for reply in spans(row["Reply"])}
    for outcome, reply, _ in possible - documented:
        assert outcome not in {each for each, _, _ in documented}
        assert reply in later, outcome


@pytest.mark.parametrize("row", FAILURES.table("Cause", "Log sentence"), ids=lambda row: span(row["Outcome"]))
def test_every_sentence_about_a_failure_is_one_of_the_codes(row):
    assert spans(row["Log sentence"])
    for sentence in spans(row["Log sentence"]):
        assert _is_said(sentence), sentence


@pytest.mark.parametrize("row", FAILURES.table("What happened", "Log sentence"), ids=lambda row: row["What happened"])
def test_every_sentence_about_tls_with_a_client_is_one_of_the_codes(row):
    assert spans(row["Log sentence"])
    for sentence in spans(row["Log sentence"]):
        assert _is_said(sentence) or sentence.removesuffix(" (<reason>)") in vocabulary.sentences(), sentence


def test_a_sentence_that_nobody_says_would_be_found():
    assert not _is_said("the mail server is tired")
    assert not _is_said("no connection to <host>: <reason>")
    assert _is_said("<listener>: listening on <endpoint>")


def test_the_limit_of_sessions_has_the_words_of_its_error():
    assert "`421 4.3.2 Too many sessions, try later`" in FAILURES.text
    assert failure_reply(421, LimitReached()) == b"421 4.3.2 Too many sessions, try later\r\n"
    assert f"`{failure_line(LimitReached()).decode().rstrip()}`" in FAILURES.text


def test_the_pauses_on_the_page_are_those_of_the_code():
    text = " ".join(FAILURES.prose.split())
    longest = f"{backoff.LONGEST_PAUSE_SECONDS / 60:g} minutes at most"
    assert f"{lookup._FIRST_REPLACEMENT_PAUSE_SECONDS:g} seconds at first, {longest}" in text
    assert HoldOffSettings() == HoldOffSettings(30, 600, 1, 60)
    assert "for 30 seconds at first, then twice as long each time, 10 minutes at most" in text
    assert "The first pause is 1 second, then twice as long each time, up to a minute" in text
    assert pauses.pauses_after(DestinationUnavailable("")) == (1, 60, 0)
    assert "1 second at first, then twice as long each time, up to a minute" in text
    assert pauses.pauses_after(TokenRefused(""))[:2] == (30, backoff.LONGEST_PAUSE_SECONDS)
    assert f"30 seconds at first and {longest}" in text
    assert sap._pauses_after(TokenRefused(""))[:2] == (5, 60)
    assert "5 seconds at first and a minute at most" in text


# Replies of ours


def _documented(pattern, *where):
    return {vocabulary.normal(text) for each in where for text in each.spans if re.fullmatch(pattern, text)}


def test_the_pages_have_every_reply_of_smtp():
    documented = _documented(r"[2-5][0-5][0-9] .*", SMTP, FAILURES)
    failures = {vocabulary.normal(span(row["SMTP reply"])) for row in FAILURES.table("Cause")}
    in_session = {failure_reply(451, cls("")).decode().rstrip() for cls in leaves(UpstreamError) - {RefusedLogin}}
    said = vocabulary.smtp_replies()
    assert documented - failures - in_session == said - failures - in_session


def test_the_pages_have_every_line_of_pop3():
    documented = _documented(r"(\+OK|-ERR)( .*)?", POP3, FAILURES) - {"-ERR"}
    failures = {span(row["POP3 line"]) for row in FAILURES.table("Cause")}
    assert documented - failures == vocabulary.pop3_lines() - failures


# What is relayed, answered and announced


def _commands(where):
    rows = [row for row in where.table("Command", "Answered by") if row["Command"] != "anything else"]
    return {
        who: unique(name for row in rows if row["Answered by"] == who for name in spans(row["Command"]))
        for who in ("mailproxy", "mail server")
    }


def test_the_page_has_every_command_of_smtp():
    relayed = {"MAIL", "RCPT", "DATA", "RSET"}
    known = {verb.decode() for verb in (*smtp_commands._COMMANDS, *smtp_local._REPLIES)}
    assert _commands(SMTP) == {"mailproxy": known - relayed, "mail server": relayed}


def test_the_page_has_every_command_of_pop3():
    ours = {*pop3_login.LOGIN_KEYWORDS, "CAPA", "STLS"}
    assert _commands(POP3) == {"mailproxy": ours, "mail server": set(wire_pop3.RELAYED)}


def test_the_page_has_every_keyword_of_ehlo():
    everything = dict.fromkeys((*smtp_ehlo._PASSED, "SIZE", "LIMITS", "STARTTLS", "AUTH", "X-OTHER"), "RCPTMAX=1")
    announced = smtp_ehlo.announced(Extensions(b"", everything), max_message_octets=0, max_recipients=0, starttls=True)
    assert unique(span(row["Keyword"]) for row in SMTP.table("Keyword", "Announced")) == announced.keys()


def test_the_page_has_every_parameter():
    named = {text.rstrip("=") for text in SMTP.spans if re.fullmatch(r"[A-Z0-9]+=?", text)}
    assert {*smtp_ehlo._MAIL_PARAMETERS, *smtp_ehlo._RCPT_PARAMETERS} <= named


def test_the_page_has_every_capability():
    rows = {span(row["Capability"]): row["Announced"] for row in POP3.table("Capability", "Announced")}
    everything = dict.fromkeys((*pop3_words._PASSED, "SASL", "STLS", "UTF8", "IMPLEMENTATION", "X-OTHER"), ())
    assert rows.keys() == pop3_words.announced(POP3Capabilities(everything), stls=True).keys()
    always = pop3_words.announced(POP3Capabilities({})).keys()
    assert {name for name, when in rows.items() if when.startswith("Always")} == always
    assert pop3_words.announced(POP3Capabilities(None)).keys() == always | {"TOP", "UIDL"}
