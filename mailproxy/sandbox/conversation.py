"""
What the sandbox's two mail servers share: lines over TCP or TLS, STARTTLS done right, a login, an orderly end.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure

from mailproxy.errors import BareNewline, LineTooLong
from mailproxy.sandbox.mailboxes import Login, Mailboxes
from mailproxy.sandbox.sasl import Exchange
from mailproxy.wire.lines import LineBuffer

HOST_NAME = "mail.localhost"
"""What the mail servers call themselves, and what their certificate says."""

LINE_LIMIT = 12288 + 2
"""The longest line of all: a SASL response, RFC 4954 §4.  `Conversation.command_limit` bounds the others."""

_CLOSE_SECONDS = 5.0
_ERROR_LIMIT = 20


class Refusal(Exception):
    """A negative answer; `line` is what the client gets, and `closing` says that it is the last."""

    def __init__(self, line: str, *, closing: bool = False) -> None:
        super().__init__(line)
        self.line = line
        self.closing = closing


@frozen
class Provider:
    """What every connection needs of the world around it."""

    mailboxes: Mailboxes
    tls: CertificateOptions
    clock: IReactorTime


class Conversation(Protocol):
    """
    One connection: takes lines, gives lines.

    A subclass answers `line_received`, and has the words for lines that are none (`line_too_long`, `bare_newline`),
    for silence (`timed_out`), for octets behind a command that had to be the last (`out_of_turn`), and for a client
    that learns nothing (`too_many_errors`).
    """

    protocol_name: str
    command_limit: int
    idle_seconds: int

    line_too_long: str
    bare_newline: str
    timed_out: str
    out_of_turn: str
    too_many_errors: str

    transport: Any  # TCP, or TLS over it; no one interface of Twisted has all that both can do

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.mailboxes = provider.mailboxes
        self.session = self.mailboxes.next_session()
        self.exchange: Exchange | None = None
        self._input = LineBuffer(LINE_LIMIT)
        self._ended = False
        self._errors = 0
        self._timer: IDelayedCall | None = None

    @property
    def encrypted(self) -> bool:
        """Whether TLS protects what is said."""
        return bool(ISSLTransport.providedBy(self.transport))

    @property
    def tls_version(self) -> str:
        """The TLS version, or "none"."""
        return str(self.transport.getHandle().get_protocol_version_name()) if self.encrypted else "none"

    def greet(self) -> None:
        """Say the first line."""
        raise NotImplementedError  # a subclass says what

    def line_received(self, line: bytes) -> None:
        """
        A command, or a response to a challenge, has come.

        Raises:
            Refusal: what to answer.
        """
        raise NotImplementedError  # a subclass says what

    def content_received(self, data: bytes) -> bytes:
        """Octets have come that may not be lines; those that are, are returned."""
        return data

    def connectionMade(self) -> None:
        """The client is there."""
        self._timer = self.provider.clock.callLater(self.idle_seconds, self._fell_silent)
        self.greet()

    def dataReceived(self, data: bytes) -> None:
        """Take what came, line by line."""
        if not self._ended:
            assert self._timer is not None
            self._timer.reset(self.idle_seconds)
            self._input.feed(self.content_received(data))
            self._take_lines()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        del reason
        self._ended = True
        self._stop_timer()

    def send(self, *lines: str) -> None:
        """Say these lines."""
        self.transport.write(b"".join(line.encode() + b"\r\n" for line in lines))

    def close(self) -> None:
        """What was said goes out, then the connection ends; a client that will not let go is cut off."""
        self._ended = True
        self._stop_timer()
        self._timer = self.provider.clock.callLater(_CLOSE_SECONDS, self.transport.abortConnection)
        self.transport.loseConnection()

    def be_last(self) -> None:
        """
        Nothing came behind the command at hand, which has to be the last of its group.

        Raises:
            Refusal: something did; it might be an attacker's, so that the connection ends.

        Source: RFC 2920 §3.1, RFC 3207 §4, RFC 4954 §4.
        """
        if self._input.in_line:
            raise Refusal(self.out_of_turn, closing=True)

    def start_tls(self, answer: str) -> None:
        """The answer went out in the clear; everything after it is TLS."""
        self.send(answer)
        self.transport.startTLS(self.provider.tls)

    def logged_in(self, user: str, mechanism: str) -> None:
        """The login is on the record."""
        self.mailboxes.note(Login(self.session, self.protocol_name, user, mechanism, self.tls_version))

    def _take_lines(self) -> None:
        while not self._ended:
            try:
                line = self._next_line()
                if line is None:
                    return
                self.line_received(line)
            except Refusal as refusal:
                self._refuse(refusal)

    def _next_line(self) -> bytes | None:
        try:
            line = self._input.next_line()
        except LineTooLong:
            raise Refusal(self.line_too_long) from None
        except BareNewline:
            raise Refusal(self.bare_newline, closing=True) from None
        if line is not None and self.exchange is None and len(line) + 2 > self.command_limit:
            raise Refusal(self.line_too_long)
        return line

    def _refuse(self, refusal: Refusal) -> None:
        self._errors += 1
        self.send(refusal.line)
        if not refusal.closing and self._errors >= _ERROR_LIMIT:
            self.send(self.too_many_errors)
        if refusal.closing or self._errors >= _ERROR_LIMIT:
            self.close()

    def _fell_silent(self) -> None:
        self.send(self.timed_out)
        self.close()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class ProviderFactory(Factory):
    """Connections of one kind."""

    noisy = False

    def __init__(self, kind: type[Conversation], provider: Provider) -> None:
        self._kind = kind
        self._provider = provider

    def buildProtocol(self, addr: object) -> Conversation:
        """A connection from there."""
        del addr
        return self._kind(self._provider)
