"""
A logged-in stream in our own hands: a sign of life, and the test mail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from mailproxy.destination.model import MailProtocol
from mailproxy.errors import MailProxyError, UpstreamTimeout, Violation, WireError
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.lines import LineBuffer
from mailproxy.wire.pop3 import parse_status
from mailproxy.wire.smtp import ReplyParser

MAX_STATUS_OCTETS = 4096

# RFC 5321 §4.1.2 Mailbox, without quoted strings, address literals and what is not ASCII
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,253}")


def is_mail_address(text: str) -> bool:
    """Whether a test mail can be sent from there, or to there."""
    return _ADDRESS.fullmatch(text) is not None


@frozen
class Said:
    """A reply: its lines as they came, joined by LF; SMTP's 3xx counts as positive."""

    positive: bool
    temporary: bool
    text: str


class _SMTPReplies:
    def __init__(self) -> None:
        self._parser = ReplyParser()

    def feed(self, chunk: bytes) -> Said | None:
        self._parser.feed(chunk)
        reply = self._parser.next_reply()
        if reply is None:
            return None
        text = b"\n".join(reply.lines).decode("utf-8", "replace")
        return Said(not reply.negative, reply.transient, text)


class _POP3Replies:
    def __init__(self) -> None:
        self._lines = LineBuffer(MAX_STATUS_OCTETS)

    def feed(self, chunk: bytes) -> Said | None:
        self._lines.feed(chunk)
        line = self._lines.next_line()
        if line is None:
            return None
        status = parse_status(line)
        code = status.response_code
        return Said(status.positive, code in ("SYS/TEMP", "IN-USE", "LOGIN-DELAY"), line.decode("utf-8", "replace"))


_REPLIES: dict[MailProtocol, type[_SMTPReplies | _POP3Replies]] = {
    MailProtocol.SMTP: _SMTPReplies,
    MailProtocol.POP3: _POP3Replies,
}


@implementer(IPushProducer)
class Talk:
    """
    Asks, one thing at a time; the owner of a stream.

    Args:
        stream: logged in, and nobody else's.
        clock: tells the time.
        seconds: for each reply.
    """

    def __init__(self, stream: UpstreamStream, clock: Any, seconds: float) -> None:
        self._stream = stream
        self._clock = clock
        self._seconds = seconds
        self._replies = _REPLIES[stream.login.destination.protocol]()
        self._waiting: Deferred[Said] | None = None
        self._lost: MailProxyError | None = None
        stream.hand_over(self, self)

    async def ask(self, raw: bytes, what: str) -> Said:
        """
        The reply to these octets; `what` names them, for an error.

        Raises:
            MailProxyError: there is none, or none that can be understood.
        """
        if self._lost is not None:
            raise self._lost
        waiting = self._waiting = Deferred()
        timer = self._clock.callLater(self._seconds, self._fail, UpstreamTimeout(f"no reply to {what}"))
        try:
            self._stream.write(raw)
            return await waiting
        finally:
            if timer.active():
                timer.cancel()

    async def end(self, farewell: bytes) -> None:
        """The mail server has heard our goodbye, as far as it listens."""
        try:
            await self.ask(farewell, "QUIT")
        except MailProxyError:
            pass
        finally:
            self._stream.abort()

    def upstream_received(self, chunk: bytes) -> None:
        """Octets of the mail server."""
        try:
            said = self._replies.feed(chunk)
        except WireError as error:
            self._fail(Violation(str(error)))
            return
        if said is not None and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(said)

    def upstream_lost(self, error: MailProxyError) -> None:
        """The connection has ended."""
        self._lost = error
        self._fail(error)

    def upstream_wanted(self) -> None:
        """Nobody else wants it."""

    def _fail(self, error: MailProxyError) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(error)

    def pauseProducing(self) -> None:
        """What we say is short."""

    def resumeProducing(self) -> None:
        """As above."""

    def stopProducing(self) -> None:
        """As above."""


@frozen
class MarkedMail:
    """A mail that says what it is."""

    sender: str
    recipient: str
    number: str
    """Tells it from others; in the subject, and in its Message-ID."""

    @property
    def message_id(self) -> str:
        """Its identifier."""
        return f"<{self.number}.check@mailproxy.invalid>"

    def commands(self, destination: str, tenant: str, now: datetime) -> Iterator[tuple[str, str, bytes]]:
        """
        What is said for it: a stage of the table of answers, the words for an error, and the octets.

        Source: RFC 5321 §3.3; RFC 3834 §5 (nobody answers it by machine).
        """
        lines = (
            f"From: <{self.sender}>",
            f"To: <{self.recipient}>",
            f"Subject: mailproxy check {self.number}",
            f"Date: {format_datetime(now)}",
            f"Message-ID: {self.message_id}",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
            f"X-Mailproxy-Check: {self.number}",
            "",
            "This is a test mail of mailproxy's doctor (mailproxy check --send-to).",
            f"It went through the destination {destination} of the tenant {tenant}.",
            "",
        )
        yield "mail", "MAIL", f"MAIL FROM:<{self.sender}>\r\n".encode("ascii")
        yield "rcpt", "RCPT", f"RCPT TO:<{self.recipient}>\r\n".encode("ascii")
        yield "data", "DATA", b"DATA\r\n"
        yield "data", "the test mail", "\r\n".join(lines).encode("ascii") + b".\r\n"
