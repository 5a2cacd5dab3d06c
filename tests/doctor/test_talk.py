"""A logged-in stream is asked one thing at a time, and every question has an end."""

from datetime import UTC, datetime

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailproxy.destination.model import Destination, Login, MailProtocol, TLSMode, TLSSettings
from mailproxy.doctor.talk import MarkedMail, Said, Talk, is_mail_address
from mailproxy.errors import ConnectionLost, UpstreamTimeout, Violation


class Stream:
    """What a talk needs of a stream."""

    def __init__(self, protocol):
        destination = Destination("dest", protocol, "mail.example.com", 1, TLSSettings(TLSMode.NONE), login=False)
        self.login = Login(destination, None)
        self.written = []
        self.aborted = False

    def hand_over(self, owner, producer):
        self.owner = owner
        producer.pauseProducing()
        producer.resumeProducing()
        producer.stopProducing()

    def write(self, raw):
        self.written.append(raw)

    def abort(self):
        self.aborted = True


def talk(protocol=MailProtocol.SMTP):
    stream, clock = Stream(protocol), Clock()
    return Talk(stream, clock, 5.0), stream, clock


@pytest.mark.parametrize(
    ("protocol", "raw", "said"),
    [
        (MailProtocol.SMTP, b"250-one\r\n250 two\r\n", Said(True, False, "250-one\n250 two")),
        (MailProtocol.SMTP, b"354 go on\r\n", Said(True, False, "354 go on")),
        (MailProtocol.SMTP, b"451 later\r\n", Said(False, True, "451 later")),
        (MailProtocol.SMTP, b"550 no \xff\r\n", Said(False, False, "550 no \ufffd")),
        (MailProtocol.POP3, b"+OK 0 0\r\n", Said(True, False, "+OK 0 0")),
        (MailProtocol.POP3, b"-ERR [IN-USE] wait\r\n", Said(False, True, "-ERR [IN-USE] wait")),
        (MailProtocol.POP3, b"-ERR no\r\n", Said(False, False, "-ERR no")),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_reply_in_pieces(protocol, raw, said):
    asking, stream, clock = talk(protocol)
    answer = Deferred.fromCoroutine(asking.ask(b"ASK\r\n", "ASK"))
    for octet in raw:
        stream.owner.upstream_received(bytes([octet]))
    assert await answer == said
    assert stream.written == [b"ASK\r\n"]
    assert not clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_silence_has_an_end():
    asking, _, clock = talk()
    answer = Deferred.fromCoroutine(asking.ask(b"ASK\r\n", "ASK"))
    clock.advance(5.0)
    with pytest.raises(UpstreamTimeout, match="no reply to ASK"):
        await answer


@pytest_twisted.ensureDeferred
async def test_nonsense_is_none_of_the_protocols():
    asking, stream, _ = talk()
    answer = Deferred.fromCoroutine(asking.ask(b"ASK\r\n", "ASK"))
    stream.owner.upstream_received(b"hello\r\n")
    with pytest.raises(Violation):
        await answer


@pytest_twisted.ensureDeferred
async def test_a_connection_that_ends_ends_the_question_and_those_after_it():
    asking, stream, _ = talk()
    answer = Deferred.fromCoroutine(asking.ask(b"ASK\r\n", "ASK"))
    stream.owner.upstream_wanted()
    stream.owner.upstream_lost(ConnectionLost("gone"))
    for each in (answer, Deferred.fromCoroutine(asking.ask(b"ASK\r\n", "ASK"))):
        with pytest.raises(ConnectionLost):
            await each
    await asking.end(b"QUIT\r\n")
    assert stream.aborted


def test_what_nobody_asked_for_is_passed_over():
    _, stream, _ = talk()
    stream.owner.upstream_received(b"250 hello\r\n")


@pytest_twisted.ensureDeferred
async def test_the_end_waits_for_the_goodbye():
    asking, stream, _ = talk()
    ended = Deferred.fromCoroutine(asking.end(b"QUIT\r\n"))
    assert stream.written == [b"QUIT\r\n"]
    assert not stream.aborted
    stream.owner.upstream_received(b"221 bye\r\n")
    await ended
    assert stream.aborted


def test_the_mail_says_what_it_is():
    mail = MarkedMail("a@b.example", "c@d.example", "0123")
    commands = list(mail.commands("dest", "acme", datetime(2026, 11, 21, tzinfo=UTC)))
    assert [(stage, what) for stage, what, _ in commands] == [
        ("mail", "MAIL"),
        ("rcpt", "RCPT"),
        ("data", "DATA"),
        ("data", "the test mail"),
    ]
    whole = commands[-1][2]
    assert whole.endswith(b"\r\n.\r\n")
    assert b"\n." not in whole[:-3]
    assert b"\n" not in whole.replace(b"\r\n", b"")
    assert b"Message-ID: <0123.check@mailproxy.invalid>\r\n" in whole


@pytest.mark.parametrize(
    ("text", "good"),
    [("a.b+c@d-e.example", True), ("a@b", True), ("", False), ("a", False), ("a@b\r\n", False), ("<a@b>", False)],
)
def test_addresses(text, good):
    assert is_mail_address(text) is good
