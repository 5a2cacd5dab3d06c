"""
What a client is answered that logs in although the listener has done so for it.

Many mail libraries always send credentials.  Those are taken, and mean nothing: they are not compared, kept,
logged or sent on.

Source: RFC 1939 §7 (USER, PASS, APOP), RFC 5034 §4 (AUTH).
"""

from __future__ import annotations

from mailproxy.wire.pop3 import Command

LOGIN_KEYWORDS = frozenset({"USER", "PASS", "APOP", "AUTH"})
"""The commands that are a login."""

ACCEPTED = b"+OK logged in\r\n"
ALREADY = b"-ERR already authenticated\r\n"
APOP_UNSUPPORTED = b"-ERR APOP not supported\r\n"
"""No timestamp was sent for it."""
AUTH_UNSUPPORTED = b"-ERR AUTH not supported\r\n"

_PROMPTS = {b"PLAIN": (b"",), b"LOGIN": (b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6")}
"""What the client is asked for, in turn; base64 of `Username:` and `Password:`, which is what clients look for."""


class IgnoredLogin:
    """
    Plays the mail server's part in USER, PASS and AUTH, and forgets what it hears.

    `open` is True while the client's next line is no command but its turn in an AUTH exchange.
    """

    __slots__ = ("_prompts", "open")

    def __init__(self) -> None:
        self.open = False
        self._prompts: list[bytes] = []

    def answer(self, command: Command) -> bytes:
        """The reply to USER, PASS or AUTH."""
        if command.keyword == "AUTH":
            return self._begin(command.arguments)
        return b"+OK\r\n" if command.keyword == "USER" else ACCEPTED

    def answer_line(self, line: bytes) -> bytes:
        """The reply to a line inside an AUTH exchange; `*` gives it up."""
        if line == b"*":
            return self.give_up(b"-ERR AUTH cancelled\r\n")
        return self._next()

    def give_up(self, reply: bytes) -> bytes:
        """The same reply; the exchange, if there was one, is over."""
        self.open = False
        return reply

    def _begin(self, arguments: tuple[bytes, ...]) -> bytes:
        if not arguments:
            return b"-ERR no mechanism is offered\r\n"
        prompts = _PROMPTS.get(arguments[0].upper())
        if prompts is None:
            return b"-ERR unknown mechanism\r\n"
        if len(arguments) > 2:
            return b"-ERR invalid argument\r\n"
        self._prompts = list(prompts[len(arguments) - 1 :])
        return self._next()

    def _next(self) -> bytes:
        self.open = bool(self._prompts)
        return b"+ " + self._prompts.pop(0) + b"\r\n" if self._prompts else ACCEPTED
