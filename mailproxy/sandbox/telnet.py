"""
Somebody at a terminal: types lines, reads lines, and keeps a transcript.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

from mailproxy.observe.text import printable

SECONDS = 30.0
"""How long the other side may be silent."""

_LINE_LIMIT = 64 * 1024


class Unexpected(Exception):
    """The other side did not say what it should have said."""


class NobodyThere(Unexpected):
    """Nobody listens on the port."""


class Telnet:
    """
    One connection without TLS, login or any cleverness.

    `say` gets every line that was sent (`C: `) or received (`S: `).

    Raises (the constructor, too):
        Unexpected: the other side does not do its part.
    """

    def __init__(self, port: int, say: Callable[[str], None]) -> None:
        self._say = say
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        except OSError as error:
            raise NobodyThere(f"no connection to port {port}: {error}") from None
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def type(self, line: str) -> None:
        """Send a line."""
        self._say(f"C: {line}")
        try:
            self._socket.sendall(line.encode() + b"\r\n")
        except OSError as error:
            raise Unexpected(f"the connection is gone: {error}") from None

    def read(self) -> str:
        """The next line; whatever is not ASCII or would move the cursor is escaped."""
        try:
            line = self._lines.readline(_LINE_LIMIT)
        except OSError as error:
            raise Unexpected(f"no answer: {error}") from None
        if not line.endswith(b"\r\n"):
            raise Unexpected("the connection was closed" if not line else "a line without an end")
        text = printable(line[:-2].expandtabs(), _LINE_LIMIT)
        self._say(f"S: {text}")
        return text

    def expect_reply(self, code: str) -> None:
        """Read an SMTP reply, all its lines, which has to have this code."""
        line = self.read()
        while line[3:4] == "-":
            line = self.read()
        if not line.startswith(code):
            raise Unexpected(f"wanted {code}, got: {line}")

    def expect_ok(self) -> None:
        """Read the first line of a POP3 response, which has to be a positive one."""
        line = self.read()
        if not line.startswith("+OK"):
            raise Unexpected(f"wanted +OK, got: {line}")

    def read_rest(self) -> list[str]:
        """The lines of a multi-line POP3 response behind its first one."""
        lines = []
        while (line := self.read()) != ".":
            lines.append(line.removeprefix("."))
        return lines

    def expect_end(self) -> None:
        """Nothing follows, and the connection is closed."""
        try:
            rest = self._lines.readline(_LINE_LIMIT)
        except OSError as error:
            raise Unexpected(f"the connection was not closed: {error}") from None
        if rest:
            raise Unexpected("more than was asked for")
