"""
A small, strict SMTP submission server: what it lets pass, every mail server lets pass.

One deviation that helps to see refusals: recipients below `.invalid` do not exist (RFC 2606 §2).

Source: RFC 5321, 6409, 3207, 4954, 2920, 1870, 6152, 6531, 3461, 2034.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate

from attrs import define, field

from mailproxy.observe.text import printable
from mailproxy.sandbox.conversation import HOST_NAME, Conversation, Provider, Refusal
from mailproxy.sandbox.mailboxes import StorageFull
from mailproxy.sandbox.maildata import MailData
from mailproxy.sandbox.sasl import MECHANISMS, Cancelled, Exchange, Malformed
from mailproxy.sandbox.smtp_syntax import Path, parse_mail, parse_rcpt

SIZE_LIMIT = 64 * 1024 * 1024
_RECIPIENT_LIMIT = 1000
_AUTH_COMMAND_LIMIT = 512
_FAILED_LOGIN_LIMIT = 3
_HEADER_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


@define
class _Transaction:
    sender: Path
    recipients: list[Path] = field(factory=list)

    @property
    def utf8(self) -> bool:
        return b"SMTPUTF8" in self.sender.parameters


class SMTPServer(Conversation):
    """One SMTP session."""

    protocol_name = "smtp"
    command_limit = 2048  # 512 and what the extensions add
    idle_seconds = 300

    line_too_long = "500 5.5.2 Line too long"
    bare_newline = "500 5.5.2 Bare <LF> received"
    timed_out = f"421 4.4.2 {HOST_NAME} Timeout, closing connection"
    out_of_turn = "554 5.5.0 Error: SMTP protocol synchronization"
    too_many_errors = f"421 4.7.0 {HOST_NAME} Too many errors"

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self._client = ""
        self._login: tuple[str, str] | None = None
        self._failed_logins = 0
        self._transaction: _Transaction | None = None
        self._mail_data: MailData | None = None
        self._commands: dict[bytes, Callable[[bytes], str]] = {
            b"EHLO": self._ehlo,
            b"HELO": self._helo,
            b"STARTTLS": self._starttls,
            b"AUTH": self._auth,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"RSET": self._rset,
            b"NOOP": lambda _argument: "250 2.0.0 Ok",
            b"VRFY": lambda _argument: "252 2.0.0 Cannot VRFY user, send a message and see",
            b"HELP": lambda _argument: "214 2.0.0 See RFC 5321",
            b"QUIT": self._quit,
        }

    def greet(self) -> None:
        """Say 220."""
        self.send(f"220 {HOST_NAME} ESMTP sandbox")

    def line_received(self, line: bytes) -> None:
        """A command, or a response within AUTH."""
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            self._answer(self._authenticate(exchange, lambda: exchange.answer(line)))
            return
        if any(octet < 0x20 or octet == 0x7F for octet in line):
            raise Refusal("501 5.5.2 Control character in a command")
        verb, _, argument = line.partition(b" ")
        command = self._commands.get(verb.upper())
        if command is None:
            raise Refusal("500 5.5.1 Command not recognized")
        self._answer(command(argument))

    def content_received(self, data: bytes) -> bytes:
        """Mail data goes where it belongs; what comes behind it are commands."""
        if self._mail_data is None:
            return data
        rest = self._mail_data.feed(data)
        if rest is None:
            return b""
        received, self._mail_data = self._mail_data, None
        transaction, self._transaction = self._transaction, None
        assert transaction is not None
        try:
            self.send(self._accept(transaction, received))
        except Refusal as refusal:
            self.send(refusal.line)
        return rest

    def _answer(self, line: str) -> None:
        if line:
            self.send(line)

    def _ehlo(self, argument: bytes) -> str:
        self._introduce(argument)
        keywords = ["PIPELINING", f"SIZE {SIZE_LIMIT}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"]
        keywords.append("AUTH " + b" ".join(MECHANISMS).decode() if self.encrypted else "STARTTLS")
        lines = [HOST_NAME, *keywords]
        self.send(*(f"250-{line}" for line in lines[:-1]))
        return f"250 {lines[-1]}"

    def _helo(self, argument: bytes) -> str:
        self._introduce(argument)
        return f"250 {HOST_NAME}"

    def _introduce(self, argument: bytes) -> None:
        self.be_last()
        if not argument.strip() or b" " in argument.strip():
            raise Refusal("501 5.5.4 Your name, please")
        self._client = printable(argument.strip())
        self._transaction = None

    def _starttls(self, argument: bytes) -> str:
        self.be_last()
        if argument:
            raise Refusal("501 5.5.4 No parameters allowed")
        if self.encrypted or self._transaction is not None:
            raise Refusal("503 5.5.1 STARTTLS not allowed now")
        self.start_tls("220 2.0.0 Ready to start TLS")
        self._client = ""
        return ""

    def _auth(self, argument: bytes) -> str:
        self.be_last()
        if not self._client or self._login is not None or self._transaction is not None:
            raise Refusal("503 5.5.1 AUTH not allowed now")
        if not self.encrypted:
            raise Refusal("538 5.7.11 Encryption required for authentication")
        if len(b"AUTH " + argument) + 2 > _AUTH_COMMAND_LIMIT:
            raise Refusal("500 5.5.6 Authentication Exchange line is too long")
        mechanism, _, initial = argument.partition(b" ")
        if mechanism.upper() not in MECHANISMS:
            raise Refusal("504 5.5.4 Unrecognized authentication type")
        exchange = Exchange(self.mailboxes, mechanism.upper())
        return self._authenticate(exchange, lambda: exchange.start(initial or None))

    def _authenticate(self, exchange: Exchange, step: Callable[[], bytes | None]) -> str:
        try:
            challenge = step()
        except Cancelled:
            raise Refusal("501 5.7.0 Authentication cancelled") from None
        except Malformed:
            raise Refusal("501 5.5.2 Cannot understand the response") from None
        if challenge is not None:
            self.exchange = exchange
            return f"334 {challenge.decode()}"
        if exchange.user is None:
            self._failed_logins += 1
            closing = self._failed_logins >= _FAILED_LOGIN_LIMIT
            raise Refusal("535 5.7.8 Authentication credentials invalid", closing=closing)
        self._login = (exchange.user, exchange.mechanism)
        self.logged_in(exchange.user, exchange.mechanism)
        return "235 2.7.0 Authentication successful"

    def _mail(self, argument: bytes) -> str:
        if not self.encrypted:
            raise Refusal("530 5.7.0 Must issue a STARTTLS command first")
        if not self._client:
            raise Refusal("503 5.5.1 Send EHLO first")
        if self._login is None:
            raise Refusal("530 5.7.0 Authentication required")
        if self._transaction is not None:
            raise Refusal("503 5.5.1 Nested MAIL command")
        transaction = _Transaction(parse_mail(argument))
        _check_mail_parameters(transaction)
        _check_utf8(transaction.sender, transaction)
        self._transaction = transaction
        return "250 2.1.0 Ok"

    def _rcpt(self, argument: bytes) -> str:
        if self._transaction is None:
            raise Refusal("503 5.5.1 Need MAIL command first")
        if len(self._transaction.recipients) >= _RECIPIENT_LIMIT:
            raise Refusal("452 4.5.3 Too many recipients")
        recipient = parse_rcpt(argument)
        _check_utf8(recipient, self._transaction)
        if recipient.address.lower().endswith(b".invalid"):
            raise Refusal("550 5.1.2 Recipient address rejected: domain not found")
        self._transaction.recipients.append(recipient)
        return "250 2.1.5 Ok"

    def _data(self, argument: bytes) -> str:
        self.be_last()
        if argument:
            raise Refusal("501 5.5.4 No parameters allowed")
        if self._transaction is None:
            raise Refusal("503 5.5.1 Need MAIL command first")
        if not self._transaction.recipients:
            raise Refusal("554 5.5.1 No valid recipients")
        self._mail_data = MailData(SIZE_LIMIT)
        return "354 End data with <CR><LF>.<CR><LF>"

    def _rset(self, argument: bytes) -> str:
        if argument:
            raise Refusal("501 5.5.4 No parameters allowed")
        self._transaction = None
        return "250 2.0.0 Ok"

    def _quit(self, argument: bytes) -> str:
        if argument:
            raise Refusal("501 5.5.4 No parameters allowed")
        self.send(f"221 2.0.0 {HOST_NAME} closing connection")
        self.close()
        return ""

    def _accept(self, transaction: _Transaction, received: MailData) -> str:
        if received.too_big:
            raise Refusal("552 5.3.4 Message size exceeds limit")
        if received.has_stray_octets:
            raise Refusal("550 5.5.2 Message contains NUL, bare <CR> or bare <LF>")
        content = received.content()
        recipients = [path.address.decode(errors="replace") for path in transaction.recipients]
        try:
            self.mailboxes.deliver(recipients, self._trace(transaction) + _as_message(content))
        except StorageFull:
            raise Refusal("452 4.3.1 Insufficient system storage") from None
        return f"250 2.0.0 Ok: {len(content)} octets for {len(recipients)} recipients in session {self.session}"

    def _trace(self, transaction: _Transaction) -> bytes:
        assert self._login is not None
        user, mechanism = self._login
        host = self.transport.getPeer().host
        lines = [
            b"Return-Path: <" + transaction.sender.address + b">",
            f"Received: from {self._client} ([{host}])".encode(),
            f"\t(authenticated as {printable(user)} by {mechanism}, {self.tls_version})".encode(),
            f"\tby {HOST_NAME} with ESMTPSA id {self.session}; {formatdate()}".encode(),
        ]
        return b"".join(line + b"\r\n" for line in lines)


def _check_mail_parameters(transaction: _Transaction) -> None:
    parameters = transaction.sender.parameters
    size = parameters.get(b"SIZE", b"0")
    if size is None or not size.isdigit():
        raise Refusal("501 5.5.4 SIZE is a number")
    if int(size[:20]) > SIZE_LIMIT:
        raise Refusal("552 5.3.4 Message size exceeds limit")
    if (parameters.get(b"BODY", b"7BIT") or b"").upper() not in {b"7BIT", b"8BITMIME"}:
        raise Refusal("501 5.5.4 BODY is 7BIT or 8BITMIME")


def _check_utf8(path: Path, transaction: _Transaction) -> None:
    if not path.address.isascii() and not transaction.utf8:
        raise Refusal("553 5.6.7 Address needs SMTPUTF8")


def _as_message(content: bytes) -> bytes:
    """What was typed without any header becomes a body."""
    return content if _HEADER_FIELD.match(content) or content.startswith(b"\r\n") else b"\r\n" + content
