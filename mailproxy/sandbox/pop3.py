"""
A small, strict POP3 server.

Source: RFC 1939, 2449 (CAPA, response codes), 2595 (STLS), 5034 (AUTH), 3206 (AUTH and SYS codes).
"""

from __future__ import annotations

from collections.abc import Callable

from mailproxy.sandbox.conversation import HOST_NAME, Conversation, Provider, Refusal
from mailproxy.sandbox.mailboxes import Mailbox, Message
from mailproxy.sandbox.sasl import MECHANISMS, Cancelled, Exchange, Malformed

_FAILED_LOGIN_LIMIT = 3

_Commands = dict[bytes, Callable[[bytes], str]]


class POP3Server(Conversation):
    """
    One POP3 session: AUTHORIZATION until `_mailbox` is there, then TRANSACTION; UPDATE is within QUIT.
    """

    protocol_name = "pop3"
    command_limit = 255
    idle_seconds = 600

    line_too_long = "-ERR line too long"
    bare_newline = "-ERR bare LF"
    timed_out = "-ERR idle for too long"
    out_of_turn = "-ERR command out of turn"
    too_many_errors = "-ERR too many errors"

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self._user: str | None = None
        self._failed_logins = 0
        self._mailbox: Mailbox | None = None
        self._messages: list[Message] = []
        self._deleted: set[int] = set()
        everywhere: _Commands = {b"CAPA": self._capa, b"QUIT": self._quit}
        self._authorization: _Commands = everywhere | {
            b"STLS": self._stls,
            b"USER": self._user_command,
            b"PASS": self._pass,
            b"AUTH": self._auth,
        }
        self._transaction: _Commands = everywhere | {
            b"STAT": self._stat,
            b"LIST": self._list,
            b"UIDL": self._uidl,
            b"RETR": self._retr,
            b"TOP": self._top,
            b"DELE": self._dele,
            b"RSET": self._rset,
            b"NOOP": lambda _argument: "+OK",
        }

    def greet(self) -> None:
        """Say +OK; without a timestamp, for there is no APOP."""
        self.send(f"+OK {HOST_NAME} POP3 sandbox")

    def line_received(self, line: bytes) -> None:
        """A command, or a response within AUTH."""
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            self._answer(self._authenticate(exchange, lambda: exchange.answer(line)))
            return
        verb, _, argument = line.partition(b" ")
        commands = self._authorization if self._mailbox is None else self._transaction
        command = commands.get(verb.upper())
        if command is None:
            known = verb.upper() in self._authorization | self._transaction
            raise Refusal("-ERR not in this state" if known else "-ERR unknown command")
        self._answer(command(argument))

    def connectionLost(self, *args: object) -> None:
        """The client is gone; without QUIT nothing is deleted."""
        del args
        super().connectionLost()
        self._let_go()

    def _answer(self, line: str) -> None:
        if line:
            self.send(line)

    def _capa(self, argument: bytes) -> str:
        _no_argument(argument)
        mechanisms = b" ".join(MECHANISMS).decode()
        secured = ["USER", f"SASL {mechanisms}"] if self.encrypted else ["STLS"]
        self.send("+OK", "TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", *secured, ".")
        return ""

    def _stls(self, argument: bytes) -> str:
        _no_argument(argument)
        self.be_last()
        if self.encrypted:
            raise Refusal("-ERR TLS is active")
        self.start_tls("+OK begin TLS")
        self._user = None
        return ""

    def _user_command(self, argument: bytes) -> str:
        self._need_tls()
        self._user = _text(argument)
        return "+OK"

    def _pass(self, argument: bytes) -> str:
        self._need_tls()
        user, self._user = self._user, None
        if user is None:
            raise Refusal("-ERR USER first")
        if not self.mailboxes.accepts_password(user, _text(argument)):
            raise self._failed()
        return self._open(user, "PASS")

    def _auth(self, argument: bytes) -> str:
        if not argument:
            self.send("+OK", *(name.decode() for name in MECHANISMS), ".")
            return ""
        self.be_last()
        self._need_tls()
        mechanism, _, initial = argument.partition(b" ")
        if mechanism.upper() not in MECHANISMS:
            raise Refusal("-ERR unknown mechanism")
        exchange = Exchange(self.mailboxes, mechanism.upper())
        return self._authenticate(exchange, lambda: exchange.start(initial or None))

    def _authenticate(self, exchange: Exchange, step: Callable[[], bytes | None]) -> str:
        try:
            challenge = step()
        except Cancelled:
            raise Refusal("-ERR authentication cancelled") from None
        except Malformed:
            raise Refusal("-ERR cannot understand the response") from None
        if challenge is not None:
            self.exchange = exchange
            return f"+ {challenge.decode()}"
        if exchange.user is None:
            raise self._failed()
        return self._open(exchange.user, exchange.mechanism)

    def _need_tls(self) -> None:
        if not self.encrypted:
            raise Refusal("-ERR [SYS/PERM] TLS required")

    def _failed(self) -> Refusal:
        self._failed_logins += 1
        return Refusal("-ERR [AUTH] login failed", closing=self._failed_logins >= _FAILED_LOGIN_LIMIT)

    def _open(self, user: str, mechanism: str) -> str:
        mailbox = self.mailboxes.mailbox(user)
        if mailbox.held:
            raise Refusal("-ERR [IN-USE] another session holds the maildrop")
        mailbox.held = True
        self._mailbox = mailbox
        self._messages = list(mailbox.messages)
        self.logged_in(user, mechanism)
        return f"+OK {len(self._messages)} messages"

    def _stat(self, argument: bytes) -> str:
        _no_argument(argument)
        left = self._left()
        return f"+OK {len(left)} {sum(len(message.octets) for _, message in left)}"

    def _list(self, argument: bytes) -> str:
        return self._listing(argument, lambda message: str(len(message.octets)))

    def _uidl(self, argument: bytes) -> str:
        return self._listing(argument, lambda message: message.unique_id)

    def _listing(self, argument: bytes, about: Callable[[Message], str]) -> str:
        if argument:
            number = self._number(argument)
            return f"+OK {number} {about(self._messages[number - 1])}"
        left = self._left()
        self.send(f"+OK {len(left)} messages", *(f"{number} {about(message)}" for number, message in left), ".")
        return ""

    def _retr(self, argument: bytes) -> str:
        octets = self._messages[self._number(argument) - 1].octets
        self.send(f"+OK {len(octets)} octets")
        self._send_stuffed(octets)
        return ""

    def _top(self, argument: bytes) -> str:
        number, _, count = argument.partition(b" ")
        if not count.isdigit():
            raise Refusal("-ERR TOP takes a message and a number of lines")
        header, blank, body = self._messages[self._number(number) - 1].octets.partition(b"\r\n\r\n")
        lines = body.splitlines(keepends=True)[: int(count[:9])]
        self.send("+OK")
        self._send_stuffed(header + blank + b"".join(lines))
        return ""

    def _dele(self, argument: bytes) -> str:
        number = self._number(argument)
        self._deleted.add(number)
        return f"+OK message {number} deleted"

    def _rset(self, argument: bytes) -> str:
        _no_argument(argument)
        self._deleted.clear()
        return f"+OK {len(self._messages)} messages"

    def _quit(self, argument: bytes) -> str:
        _no_argument(argument)
        if self._mailbox is not None:
            self._mailbox.remove(self._messages[number - 1].unique_id for number in self._deleted)
            self._let_go()
        self.send("+OK bye")
        self.close()
        return ""

    def _let_go(self) -> None:
        if self._mailbox is not None:
            self._mailbox.held = False
            self._mailbox = None

    def _left(self) -> list[tuple[int, Message]]:
        numbered = enumerate(self._messages, 1)
        return [(number, message) for number, message in numbered if number not in self._deleted]

    def _number(self, argument: bytes) -> int:
        number = int(argument[:10]) if argument.isdigit() else 0
        if not 1 <= number <= len(self._messages) or number in self._deleted:
            raise Refusal("-ERR no such message")
        return number

    def _send_stuffed(self, octets: bytes) -> None:
        stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]
        self.transport.write(stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n"))


def _no_argument(argument: bytes) -> None:
    if argument:
        raise Refusal("-ERR no arguments allowed")


def _text(argument: bytes) -> str:
    if not argument:
        raise Refusal("-ERR argument missing")
    return argument.decode(errors="replace")
