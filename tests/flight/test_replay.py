"""A session that is lived through once more comes to the same end, whatever was in it."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.errors import ConnectionLost, RefusedLogin, Unreachable
from mailproxy.flight import replay as replaying
from mailproxy.flight.recording import recording_of
from mailproxy.flight.replay import CRASHED, replay, told
from mailproxy.session.encryption import Encryption
from mailproxy.session.recording import Event, Frame
from mailproxy.wire.smtp import Extensions
from mailproxy.wire.transparency import BareNewlines
from tests.flight.stories import CAPABLE, OFFERED, Recorded, lost_in_data, sends, smtp_in_transaction

LONG = b"x" * 5000


def again(recorded):
    """What becomes of a session that is lived through once more."""
    return replay(recording_of(recorded.flight(), "acme/mail"))


def in_data(body, **policy):
    return smtp_in_transaction(**policy).client(b"DATA\r\n").server(b"354 go on\r\n").client(body)


ENDINGS = {
    "quit": lambda: sends(smtp_in_transaction()).client(b"QUIT\r\n"),
    "quit ": lost_in_data,
    "downstream_closed": lambda: Recorded.smtp().start().tell(Event.CLIENT_ENDED),
    "downstream_lost": lambda: in_data(b"Subject").tell(Event.CLIENT_LOST),
    "downstream_timeout": lambda: Recorded.smtp().start().client(b"EHL").tell(Event.EXPIRED),
    "downstream_desync": lambda: (
        Recorded.smtp(encryption=Encryption.OFFERED).start().client(b"STARTTLS\r\n", b"EHLO x\r\n")
    ),
    "bad_pipeline": lambda: Recorded.smtp(known=OFFERED).start().client(b"EHLO x\r\nNOOP\r\n"),
    "bad_line": lambda: Recorded.smtp().start().client(b"NOOP\nQUIT\r\n"),
    "bad_line ": lambda: Recorded.smtp().start().client(b"BDAT " + LONG + b"\r\n"),
    "bad_line  ": lambda: Recorded.smtp().start().client(*[LONG] * 14),
    "bad_content": lambda: in_data(b"a\0b\r\n.\r\n"),
    "bad_content ": lambda: in_data(b"a\nb\r\n.\r\n", bare_newline=BareNewlines.REJECT),
    "too_many_errors": lambda: Recorded.smtp().start().client(*[b"WRONG\r\n"] * 20),
    "too_many_errors ": lambda: Recorded.smtp().start().client(*[LONG + b"\r\n"] * 5, *[b"NO\1P\r\n"] * 15),
    "not_smtp": lambda: Recorded.smtp().start().client(b"GET / HTTP/1.1\r\n"),
    "not_smtp ": lambda: Recorded.smtp().start().client(b"\x16\x03\x01"),
    "shutdown": lambda: Recorded.smtp().start().tell(Event.DRAIN),
    "made_room": lambda: Recorded.smtp().start().end("made_room"),
    "upstream_unreachable": lambda: Recorded.smtp().start().client(b"EHLO x\r\n").failed(Unreachable("no route")),
    "upstream_421": lambda: smtp_in_transaction().client(b"DATA\r\n").server(b"421 away\r\n"),
    "upstream_lost": lambda: smtp_in_transaction().lost(ConnectionLost("gone")).client(b"DATA\r\n"),
    "ledger_unavailable": lambda: Recorded.pop3(may_record=lambda: False).start(),
    "quit  ": lambda: retrieving().server(*letter(30)).client(b"QUIT\r\n").server(b"+OK\r\n"),
    "upstream_lost ": lambda: retrieving().server(b"+OK\r\nhal").lost(ConnectionLost("gone")),
    "upstream_desync": lambda: pop3_in_session().server(b"+OK out of turn\r\n"),
    "upstream_protocol_error": lambda: pop3_in_session().client(b"STAT\r\n").server(b"what\r\n"),
    "downstream_closed ": lambda: retrieving().server(b"-", b"E", b"RR\r\n").tell(Event.CLIENT_ENDED),
    "downstream_timeout ": lambda: pop3_in_session().client(b"USER a\r\nPASS b\r\n").tell(Event.EXPIRED),
    "not_pop3": lambda: pop3_in_session().client(b"POST / HTTP/1.1\r\n"),
    "upstream_refused_login": lambda: (
        Recorded.pop3().start().failed(RefusedLogin("no", temporary=True, response_code="IN-USE"))
    ),
}


def pop3_in_session():
    return Recorded.pop3().start().opened(CAPABLE)


def retrieving():
    return pop3_in_session().client(b"RETR 1\r\n")


def letter(lines):
    return [b"+OK follows\r\n", *[b"a line of a mail\r\n"] * lines, b".\r", b"\n"]


@pytest.mark.parametrize("name", ENDINGS)
def test_it_comes_to_the_same_end(name):
    recorded = ENDINGS[name]()
    assert recorded.outcome == name.strip()
    played = again(recorded)
    assert (played.outcome, played.mistake) == (name.strip(), None)


def test_it_has_the_same_conversation():
    assert again(lost_in_data()).lines == (
        "client is connected",
        "client <- 220 proxy.test ESMTP mailproxy",
        "client -> EHLO client.test",
        "server is asked for",
        "server is ready",
        "client <- 250-proxy.test",
        "client <- 250-PIPELINING",
        "client <- 250-SIZE 10000000",
        "client <- 250 8BITMIME",
        "client -> MAIL FROM:<a@example.com>",
        "server <- MAIL FROM:<a@example.com>",
        "server -> 250 2.1.0 sender",
        "client <- 250 2.1.0 sender",
        "client -> RCPT TO:<b@example.com>",
        "server <- RCPT TO:<b@example.com>",
        "server -> 250 2.1.5 recipient",
        "client <- 250 2.1.5 recipient",
        "client -> DATA",
        "server <- DATA",
        "server -> 354 go on",
        "client <- 354 go on",
        "client -> (17 octets of mail data)",
        "server <- (content)",
        "server is lost: the mail server closed the connection",
        "client -> (7 octets of mail data, and its end)",
        "client -> QUIT",
        "client <- 451 4.4.2 Upstream connection lost",
        "client <- 221 2.0.0 proxy.test closing connection",
        "client is parted with: quit",
    )


def test_our_own_mistake_is_found_again(monkeypatch):
    recorded = lost_in_data().end(CRASHED)
    monkeypatch.setattr("mailproxy.session.smtp.SMTPSession.upstream_lost", lambda *_: 1 / 0)
    played = again(recorded)
    assert played.outcome == CRASHED
    assert isinstance(played.mistake, ZeroDivisionError)


def test_what_makes_no_sense_is_a_mistake_too():
    recording = recording_of(lost_in_data().flight(), "mail")
    nonsense = attrs.evolve(recording, frames=(*recording.frames, Frame(Event.COMPLAINT, 3, b"\xff")))
    played = replay(nonsense)
    assert (played.outcome, played.lines) == (CRASHED, ())
    assert isinstance(played.mistake, UnicodeDecodeError)


def test_a_session_that_goes_on_comes_to_no_end():
    assert again(smtp_in_transaction()).outcome is None


@pytest.mark.parametrize("size", [4_999, 5_000, 5_001, 200_000])
@pytest.mark.parametrize("line", [b"..stuffed\r\n", b"plain\r\n", b"lone\n"])
def test_the_size_of_a_message_decides_as_it_did(size, line):
    body = line * (size // len(line))
    recorded = sends_large(body)
    played = again(recorded)
    assert played.outcome == "quit"
    assert ("client <- 552 5.3.4 Message size exceeds limit" in played.lines) == (b"552 5.3.4" in recorded.said)


def sends_large(body):
    told = in_data(b"", max_message_octets=5000)
    for begin in range(0, len(body), 1000):
        told.client(body[begin : begin + 1000])
    told.client(b"\r\n.\r\n")
    if b"552" not in told.said:
        told.server(b"250 taken\r\n")
    return told.client(b"QUIT\r\n")


def test_content_that_flowed_is_made_up_piece_by_piece(monkeypatch):
    monkeypatch.setattr(replaying, "MAX_REPLAYED_OCTETS", 100_000)
    told = in_data(b"")
    for _ in range(40):
        told.client(b"y" * 65_536)
    told.tell(Event.CLIENT_LOST)
    assert len(told.recorder) < 400
    played = again(told)
    assert played.outcome == "downstream_lost"
    assert f"client -> ({40 * 65_536} octets of mail data)" in played.lines


def test_with_much_content_it_is_told_as_it_was_heard():
    recorded = in_data(b"")
    for _ in range(40):
        recorded.client(b"y" * 65_536)
    recorded.tell(Event.CLIENT_LOST)
    lines = told(recording_of(recorded.flight(), "mail"))
    assert lines[-2:] == (f"client -> ({40 * 65_536} octets of mail data)", "client is gone")
    assert not any(" <- " in line for line in lines)


def test_where_the_beginning_is_lost_what_was_heard_is_told():
    recording = attrs.evolve(recording_of(lost_in_data().flight(), "mail"), whole=False)
    assert "client -> DATA" in told(recording)
    assert "server is lost: the mail server closed the connection" in told(recording)
    assert not any(" <- " in line for line in told(recording))


CLIENT = st.sampled_from(
    [
        b"EHLO a\r\n",
        b"HELO a\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<a@b> SIZE=9 BODY=8BITMIME\r\n",
        b"RCPT TO:<c@d>\r\n",
        b"DATA\r\n",
        b"hello\r\n",
        b"..\r\n",
        b".\r\n",
        b"a\0b\r\n",
        b"a\nb\r\n",
        b"a\rb\r\n",
        b"RSET\r\n",
        b"NOOP some words\r\n",
        b"AUTH PLAIN AGEAYg==\r\n",
        b"BDAT 3\r\nabc",
        b"BDAT x\r\n",
        b"  \r\n",
        b"x" * 300 + b"\r\n",
        b"QUIT\r\n",
        b"QUIT now\r\n",
        b"STAT\r\n",
        b"RETR 1\r\n",
        b"DELE 1\r\n",
        b"LIST\r\n",
        b"USER me\r\n",
        b"PASS my word\r\n",
        b"AUTH LOGIN\r\n",
    ]
)
SERVER = st.sampled_from(
    [
        b"250 ok\r\n",
        b"250-ok\r\n250 ok\r\n",
        b"354 go on\r\n",
        b"450 no\r\n",
        b"550 5.1.1 no\r\n",
        b"421 away\r\n",
        b"what?\r\n",
        b"+OK\r\n",
        b"-ERR [SYS/TEMP] no\r\n",
        b"+OK follows\r\na line\r\n.\r\n",
        b"a line\r\n.\r\n",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.booleans())
def test_whatever_happens_it_ends_the_same(data, is_smtp):
    policy = {"max_line_octets": 200, "max_skipped_octets": 500}
    recorded = (Recorded.smtp(**policy) if is_smtp else Recorded.pop3(**policy)).start()
    recorded.client(data.draw(st.sampled_from([b"EHLO a\r\n", b"NOOP\r\n", b"MAIL FROM:<a@b>\r\n"])))
    recorded.opened(OFFERED if is_smtp else CAPABLE, reused=is_smtp and data.draw(st.booleans()))
    for _ in range(data.draw(st.integers(0, 12))):
        if recorded.outcome is not None:
            break
        whose = data.draw(st.sampled_from(["client", "client", "server"]))
        octets = b"".join(data.draw(st.lists(CLIENT if whose == "client" else SERVER, min_size=1, max_size=4)))
        cut = data.draw(st.integers(0, len(octets)))
        getattr(recorded, whose)(*filter(None, (octets[:cut], octets[cut:])))
    if recorded.outcome is None:
        recorded.tell(data.draw(st.sampled_from([Event.EXPIRED, Event.CLIENT_LOST, Event.CLIENT_ENDED, Event.DRAIN])))
    played = again(recorded)
    assert played.mistake is None
    assert played.outcome == recorded.outcome


@pytest.mark.parametrize("messages", [3, 20])
def test_messages_are_counted_once_more_where_the_mail_server_takes_so_many(messages):
    """What was sent since the connection was made decides when there is another one; nothing of it is left out."""
    counting = Extensions(b"mx.test", {"LIMITS": f"MAILMAX={messages}"})
    recorded = Recorded.smtp().start().client(b"EHLO client.test\r\n").opened(counting, reused=True, messages=1)
    for _ in range(messages - 1):
        recorded.client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n").client(b"RCPT TO:<c@d>\r\n").server(b"250 ok\r\n")
        sends(recorded)
    recorded.client(b"MAIL FROM:<a@b>\r\n").failed(Unreachable("no route")).client(b"QUIT\r\n")
    assert b"451 4.4.1 Upstream not reachable" in recorded.said
    assert recorded.recorder.whole
    played = again(recorded)
    assert (played.mistake, played.outcome) == (None, "quit")
    assert any("451 4.4.1" in line for line in played.lines)
