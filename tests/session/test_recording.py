"""The tape of a session: typed, bounded, and without a word that must not be on it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.errors import Unreachable
from mailproxy.session.recording import (
    MAX_KEPT_TEXT_OCTETS,
    MAX_TAPE_OCTETS,
    MAX_THINGS,
    MAX_THINGS_CHARACTERS,
    NO_RECORDER,
    Event,
    Frame,
    Recorder,
)
from mailproxy.wire.pop3 import POP3Capabilities
from tests.flight.stories import CAPABLE, OFFERED, Recorded, sends, smtp_in_transaction

SECRET = b"hunter2-is-a-secret"


def events(told):
    return [(frame.event, frame.number, frame.text) for frame in told.recorder.frames()]


def tape(told):
    return bytes(told.recorder._tape) + repr(told.recorder.things).encode()


def test_what_was_heard_is_typed():
    assert events(smtp_in_transaction().client(b"DATA\r\n").server(b"354 go on\r\n").client(b"Hello\r\n.\r\nQU")) == [
        (Event.START, 0, b""),
        (Event.CLIENT, 18, b""),
        (Event.LINE, 18, b"EHLO client.test"),
        (Event.KNOWN, 0, b""),
        (Event.OPENED, 1, b""),
        (Event.CLIENT, 27, b""),
        (Event.LINE, 27, b"MAIL FROM:<a@example.com>"),
        (Event.SERVER, 18, b""),
        (Event.REPLY, 250, b"2.1.0 sender"),
        (Event.CLIENT, 25, b""),
        (Event.LINE, 25, b"RCPT TO:<b@example.com>"),
        (Event.SERVER, 21, b""),
        (Event.REPLY, 250, b"2.1.5 recipient"),
        (Event.CLIENT, 6, b""),
        (Event.LINE, 6, b"DATA"),
        (Event.SERVER, 11, b""),
        (Event.REPLY, 354, b"go on"),
        (Event.CLIENT, 12, b""),
        (Event.CONTENT_END, 10, b"7"),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        b"AUTH PLAIN " + SECRET + b"\r\n",
        b"AUTH LOGIN\r\n" + SECRET + b"\r\n",
        SECRET + b"\r\n",
        b"PASS " + SECRET + b"\r\n",
        b"NOOP " + SECRET + b"\r\n",
        b"MAIL " + SECRET + b"\r\n",
        b"RCPT to the " + SECRET + b"\r\n",
        b"EHLO my " + SECRET + b"\r\n",
        b"HELO my/" + SECRET + b"\r\n",
        b"MAIL FROM:" + SECRET + b"\r\n",
        b"VRFY " + SECRET + b"\r\n",
        b"BDAT 19\r\n" + SECRET,
        b"BDAT " + SECRET + b"\1\r\n",
        b"BDAT " + SECRET + b"\r\n",
        b"BDAT 3 " + SECRET + b"\r\n",
        b"\1" + SECRET + b"\r\n",
        SECRET * 300 + b"\r\n",
        b"DATA\r\nSubject: " + SECRET + b"\r\nMAIL " + SECRET + b"\r\n.\r\n",
    ],
)
def test_no_credential_and_no_content_of_smtp_is_on_the_tape(lines):
    told = Recorded.smtp(known=OFFERED).start().client(b"EHLO client.test\r\n", lines)
    assert SECRET not in tape(told)
    told = smtp_in_transaction().client(b"DATA\r\n").server(b"354 go on\r\n").client(lines.removeprefix(b"DATA\r\n"))
    assert SECRET not in tape(told)


@pytest.mark.parametrize(
    "lines",
    [
        b"USER " + SECRET + b"\r\nPASS " + SECRET + b"\r\n",
        b"APOP me " + SECRET + b"\r\n",
        b"AUTH PLAIN " + SECRET + b"\r\n",
        b"AUTH LOGIN\r\n" + SECRET + b"\r\nNOOP\r\n",
        b"AUTH PLAIN\r\nSTAT " + SECRET + b"\r\n",
        b"XTND " + SECRET + b"\r\n",
        SECRET + b"\r\n",
        b"RETR " + SECRET + b"\r\n",
        SECRET * 50 + b"\r\n",
    ],
)
def test_no_credential_of_pop3_is_on_the_tape(lines):
    assert SECRET not in tape(Recorded.pop3().start().opened(CAPABLE).client(lines))


def test_what_a_mail_server_says_to_the_clients_own_login_is_not_on_the_tape():
    told = Recorded.pop3().start().opened(POP3Capabilities(None, logged_in=False)).client(b"USER me\r\n")
    told.server(b"+OK\r\n").client(b"PASS " + SECRET + b"\r\n").server(b"-ERR [AUTH] not " + SECRET + b"\r\n")
    assert SECRET in told.said
    assert SECRET not in tape(told)
    assert (Event.STATUS, 0, b"-ERR") in events(told)


def test_an_answer_in_a_login_is_no_command_however_it_looks():
    told = Recorded.pop3().start().opened(CAPABLE).client(b"AUTH LOGIN\r\nRETR 20417\r\n")
    assert b"20417" not in tape(told)
    assert (Event.WITHHELD, 12, b"") in events(told)


def test_no_content_of_pop3_is_on_the_tape():
    told = Recorded.pop3().start().opened(CAPABLE).client(b"RETR 1\r\n")
    told.server(b"+OK follows\r\nSubject: " + SECRET, SECRET + b"\r\n.\r\n", SECRET)
    assert SECRET not in tape(told)
    assert (Event.STATUS, 0, b"+OK follows") in events(told)


def test_what_is_concealed_from_the_client_is_on_the_tape_neither():
    told = smtp_in_transaction()
    told.session.conceal = lambda text: text.replace(SECRET, b"***")
    told.client(b"RSET\r\n").server(b"250 " + SECRET + b"\r\n")
    assert SECRET not in tape(told)


def test_long_words_are_cut():
    told = smtp_in_transaction().client(b"RCPT TO:<" + b"r" * 2000 + b"@x>\r\n")
    told.server(b"550 " + b"n" * 400 + b"\r\n")
    assert max(len(frame.text) for frame in told.recorder.frames()) <= MAX_KEPT_TEXT_OCTETS
    assert (Event.WITHHELD, 2014, b"RCPT") in events(told)


def test_content_that_flows_takes_no_room():
    told = smtp_in_transaction().client(b"DATA\r\n").server(b"354 go on\r\n").client(*[b"y" * 1000] * 500)
    assert events(told)[-1] == (Event.CLIENT_CONTENT, 500_000, b"")


def test_a_session_of_many_messages_keeps_its_beginning_and_its_end():
    told = smtp_in_transaction()
    for number in range(300):
        sends(told).client(b"MAIL FROM:<m%d@example.com>\r\n" % number).server(b"250 ok\r\n")
        told.client(b"RCPT TO:<b@example.com>\r\n").server(b"250 ok\r\n")
        assert len(told.recorder) <= MAX_TAPE_OCTETS
    assert told.recorder.whole
    texts = [text for _, _, text in events(told)]
    assert b"EHLO client.test" in texts
    assert b"MAIL FROM:<m299@example.com>" in texts
    assert b"MAIL FROM:<m100@example.com>" not in texts
    (left_out,) = [number for event, number, _ in events(told) if event is Event.LEFT_OUT]
    assert left_out > 2500


def test_a_stretch_that_leaves_something_behind_is_not_cut_out():
    told = smtp_in_transaction()
    for number in range(300):
        sends(told).client(b"EHLO other%d.test\r\n" % number, b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
        told.client(b"RCPT TO:<b@example.com>\r\n").server(b"250 ok\r\n")
    assert len(told.recorder) <= MAX_TAPE_OCTETS
    assert not told.recorder.whole
    assert events(told)[-1] == (Event.REPLY, 250, b"ok")


def test_what_was_offered_is_bounded():
    recorder = Recorder()
    for number in range(MAX_THINGS + 5):
        recorder.refer(Event.FAILED, Unreachable(str(number)))
    assert len(recorder.things) == MAX_THINGS
    assert not recorder.whole


def test_long_things_are_bounded_together():
    recorder = Recorder()
    for number in range(10):
        recorder.refer(Event.FAILED, Unreachable(str(number) + "x" * (MAX_THINGS_CHARACTERS // 4)))
    assert len(recorder.things) == 3
    assert not recorder.whole


def test_resting_twice_at_a_place_is_resting_once():
    recorder = Recorder()
    for _ in range(100):
        recorder.note(Event.LINE, 10, b"x" * 1000)
        recorder.rest()
        recorder.rest()
    assert recorder.whole
    events = {frame.event for frame in recorder.frames()}
    assert events == {Event.LINE, Event.LEFT_OUT}


def test_equal_things_are_kept_once():
    recorder = Recorder()
    for _ in range(100):
        recorder.refer(Event.FAILED, Unreachable("no route"))
    assert len(recorder.things) == 1
    assert recorder.whole


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Event), st.integers(0, 2**40), st.binary(max_size=1024)), max_size=40))
def test_whatever_is_noted_is_read_again(noted):
    recorder = Recorder()
    for event, number, text in noted:
        recorder.note(event, number, text)
    frames = [Frame(event, min(number, 2**32 - 1), text) for event, number, text in noted]
    kept = list(recorder.frames())
    assert kept == frames[len(frames) - len(kept) :]
    assert recorder.whole == (len(kept) == len(frames))


def test_a_session_without_a_recorder_keeps_nothing():
    told = Recorded.smtp()
    told.session.recorder = NO_RECORDER
    assert not NO_RECORDER.on
    assert list(told.recorder.frames()) == []
