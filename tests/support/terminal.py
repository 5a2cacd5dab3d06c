"""
A person who types SMTP and POP3 by hand.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.programs import program

_PATIENCE_SECONDS = 30.0


class Terminal:
    """
    Lines typed into a connection, and the lines that came back.

    `enter` is what the Enter key puts behind a line.
    """

    def __init__(self, connection: socket.socket, enter: bytes) -> None:
        connection.settimeout(_PATIENCE_SECONDS)
        self.connection = connection
        self._enter = enter
        self._input = connection.makefile("rb")

    def type(self, line: str | bytes) -> None:
        """A line has been sent."""
        octets = line.encode() if isinstance(line, str) else line
        self.connection.sendall(octets + self._enter)

    def read_line(self) -> bytes:
        """The next line, without its end; empty when the other side has closed."""
        return self._input.readline().rstrip(b"\r\n")

    def read_all(self) -> bytes:
        """Everything up to the end of the connection."""
        return self._input.read()

    def read_reply(self) -> bytes:
        """The last line of the next SMTP reply."""
        while (line := self.read_line())[3:4] == b"-":
            pass
        return line

    def ask(self, line: str | bytes) -> bytes:
        """The last line of the SMTP reply, or the one line of the POP3 response, to what was typed."""
        self.type(line)
        return self.read_reply()

    def read_body(self) -> bytes:
        """A multi-line response of POP3, without its end and its byte-stuffing; line ends are LF."""
        lines = []
        # The program telnet shows CRLF as LF.
        while (line := self._input.readline()) not in {b".\r\n", b".\n"}:
            assert line, "the connection ended inside a multi-line response"
            lines.append(line.removeprefix(b".").replace(b"\r\n", b"\n"))
        return b"".join(lines)

    def close(self) -> None:
        """The connection is closed from this side."""
        self._input.close()
        self.connection.close()


@contextmanager
def bare_socket(port: int, *, source: str = "127.0.0.1") -> Iterator[Terminal]:
    """A terminal on a plain TCP connection."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS, source_address=(source, 0))
    terminal = Terminal(connection, b"\r\n")
    try:
        yield terminal
    finally:
        terminal.close()


@contextmanager
def telnet(port: int) -> Iterator[Terminal]:
    """A terminal in front of the program `telnet`, which is connected."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen([program("telnet"), "127.0.0.1", str(port)], stdin=theirs, stdout=theirs)
    terminal = Terminal(ours, b"\n")
    try:
        while not terminal.read_line().startswith(b"Escape character"):
            assert process.poll() is None, "telnet did not connect"
        yield terminal
    finally:
        terminal.close()
        process.terminate()
        process.wait(_PATIENCE_SECONDS)
