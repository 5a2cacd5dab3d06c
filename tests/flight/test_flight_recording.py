"""A recording is written as JSON and read again as the same; what is none is refused with the place of the mistake."""

from __future__ import annotations

import json

import pytest

from mailproxy.errors import ConnectionLost, RefusedLogin
from mailproxy.flight.recording import NoRecording, read, recording_of, written
from mailproxy.session.recording import Event, ToldError
from tests.flight.stories import CAPABLE, Recorded, lost_in_data, smtp_in_transaction


def recordings():
    yield recording_of(lost_in_data().flight(trouble="gone"), "acme/mail")
    yield recording_of(Recorded.pop3().start().opened(CAPABLE).lost(ConnectionLost("x")).flight(), "acme/drop")
    refused = RefusedLogin("no", temporary=True, response_code="IN-USE")
    yield recording_of(Recorded.pop3().start().failed(refused).flight(), "drop")
    told = smtp_in_transaction().client(b"RCPT TO:<j\xc3\xb6rg@x>\r\n", b"RCPT TO:<j\xf6rg@x>\r\n")
    yield recording_of(told.tell(Event.CLIENT_LOST).flight(), "mail")


@pytest.mark.parametrize("recording", list(recordings()), ids=lambda each: each.listener)
def test_it_is_read_as_it_was_written(recording):
    assert read(json.loads(json.dumps(written(recording)))) == recording


def test_the_time_is_in_utc():
    assert next(recordings()).ended == "2026-11-18T11:06:40Z"


def given(**changes):
    return {**written(next(recordings())), **changes}


def event(**changes):
    return given(events=[{"event": "start"}, changes])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "a recording: is no JSON object"),
        ({}, "protocol: is missing"),
        (given(protocol="imap"), "protocol: is neither of pop3, smtp"),
        (given(policy={}), "policy: is not that of a session"),
        (given(policy={"server_name": "x", "encryption": "rot13"}), "policy: is not that of a session"),
        (given(policy=3), "policy: is no JSON object"),
        (given(whole="yes"), "whole: is no bool"),
        (given(outcome=None), "outcome: is no str"),
        (given(events={}), "events: is no list"),
        (event(event="explode"), "events[1].event: 'explode' is not known"),
        (event(event="client", number=-1), "events[1].number: is out of range"),
        (event(event="client", number=2**40), "events[1].number: is out of range"),
        (event(event="client", number=True), "events[1].number: is no int"),
        (event(event="opened", number=7), "events[1].number: is out of range"),
        (event(event="line", text="\ud800"), "events[1]: holds characters that stand for no octets"),
        (event(event="line", text=3), "events[1].text: is no str"),
        (given(things=[{"error": "Violation"}]), "things[0].text: is missing"),
        (given(things=[{"keywords": {}}]), "things[0].domain: is missing"),
        (given(things=[{"listed": {"TOP": 1}, "logged_in": True}]), "things[0].TOP: is no list"),
    ],
)
def test_what_is_none_is_refused_with_the_place_of_the_mistake(wrong, words):
    with pytest.raises(NoRecording) as refused:
        read(wrong)
    assert str(refused.value) == words


def test_an_error_is_kept_without_what_was_on_the_stack():
    told = Recorded.pop3().start().failed(RefusedLogin("no", temporary=False))
    assert told.recorder.things == [ToldError("RefusedLogin", "no", temporary=False)]
