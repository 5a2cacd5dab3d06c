"""
The sessions of a mail client, word by word.
"""

from __future__ import annotations

import base64
import socket
import ssl
import time
from collections.abc import Callable

from attrs import define, field

from tests.bench.engine import READ, Broken, Steps
from tests.bench.letters import HEAD_OCTETS, Letters, head
from tests.bench.orders import Order
from tests.bench.streams import AGAIN, Step, connect, expect, read, shake_hands, write

_EHLO = b"EHLO client\r\n"
_MAIL = b"MAIL FROM:<%s@client.test>\r\n"
_RCPT = b"RCPT TO:<bench@sink.test>\r\n"
_GROUP = b"MAIL FROM:<bench@client.test>\r\n" + _RCPT * 2 + b"DATA\r\n"
_MULTILINE_END = b"\r\n.\r\n"
_SLOW_BUFFER_OCTETS = 64 << 10
_BUFFER_OCTETS = 256 << 10
_STEPS_A_SECOND = 10
_TURNS = 16


@define
class Visit:
    """One session as it goes: when it began, which mails are acknowledged, and when the last one was."""

    number: int
    began: float = field(factory=time.monotonic)
    taken: int = 0
    octets: int = 0
    taken_at: float = 0.0

    def take(self, octets: int) -> None:
        """One more is acknowledged."""
        self.taken += 1
        self.octets += octets
        self.taken_at = time.monotonic()


class Dialogue:
    """
    Makes sessions for one order; `settled` is told of each that has come to where it is to stay.
    """

    def __init__(self, order: Order, settled: Callable[[], None]) -> None:
        self._order = order
        self._settled = settled
        self._letters = Letters(order.octets)
        self._mail = _MAIL % (b"slow" if order.slow else b"bench")
        self._context = ssl.create_default_context(cafile=order.ca_file) if order.ca_file else None
        login = f"\0{order.user}\0{order.password}".encode()
        self._login = b"AUTH PLAIN " + base64.b64encode(login) + b"\r\n"
        self._buffer = bytearray(_BUFFER_OCTETS)

    def open(self, port: int) -> socket.socket:
        """A connection for one session."""
        return connect(port, _SLOW_BUFFER_OCTETS if self._order.read_rate else 0)

    @property
    def secured(self) -> bool:
        """Whether the client speaks first, in its handshake."""
        return self._context is not None

    def steps(self, connection: socket.socket, visit: Visit) -> Steps:
        """The session."""
        try:
            if self._context:
                connection = self._context.wrap_socket(
                    connection, do_handshake_on_connect=False, server_hostname=self._order.server_name
                )
                yield from shake_hands(connection)
            talk = self._smtp if self._order.protocol == "smtp" else self._pop3
            yield from talk(connection, visit)
        finally:
            connection.close()

    # SMTP

    def _smtp(self, connection: socket.socket, visit: Visit) -> Steps:
        yield from expect(connection, b"220", ready=True)
        if self._order.hold >= 0:
            yield from self._stay(connection, visit)
        yield from self._ask(connection, _EHLO, b"250")
        if self._context:
            yield from self._ask(connection, self._login, b"235")
        for number in range(visit.number, visit.number + self._order.mails):
            yield from (self._group if self._order.group else self._envelope)(connection)
            yield from self._content(connection, number)
            visit.take(self._order.octets)
        yield from self._ask(connection, b"QUIT\r\n", b"221")

    def _envelope(self, connection: socket.socket) -> Steps:
        yield from self._ask(connection, self._mail, b"250")
        yield from self._ask(connection, _RCPT, b"250")
        yield from self._ask(connection, b"DATA\r\n", b"354")

    def _group(self, connection: socket.socket) -> Steps:
        yield from self._ask(connection, _GROUP, b"250", b"250", b"250", b"354")

    def _content(self, connection: socket.socket, number: int) -> Steps:
        """A small mail goes out at once; a large one is not copied for the sake of its first line."""
        rest = self._letters.rest
        if self._order.octets <= _BUFFER_OCTETS:
            yield from write(connection, head(number) + rest)
        else:
            first = _BUFFER_OCTETS - HEAD_OCTETS
            yield from write(connection, head(number) + rest[:first])
            yield from write(connection, memoryview(rest)[first:])
        yield from expect(connection, b"250")

    def _ask(self, connection: socket.socket, command: bytes, *codes: bytes) -> Steps:
        yield from write(connection, command)
        yield from expect(connection, *codes)

    def _stay(self, connection: socket.socket, visit: Visit) -> Steps:
        """
        Until the process ends.

        Raises:
            Broken: the other side did not want that.
        """
        if visit.number < self._order.first + self._order.hold:
            yield from self._ask(connection, _EHLO, b"250")
            yield from self._ask(connection, self._mail, b"250")
            yield from self._ask(connection, _RCPT, b"250")
        self._settled()
        raise Broken(f"said while idle: {(yield from read(connection))!r}")

    # POP3

    def _pop3(self, connection: socket.socket, visit: Visit) -> Steps:
        yield from self._status(connection, ready=True)
        if self._context:
            yield from self._tell(connection, self._login)
        else:
            yield from self._tell(connection, b"USER bench\r\n")
            yield from self._tell(connection, b"PASS bench\r\n")
        yield from self._tell(connection, b"STAT\r\n")
        if self._order.hold >= 0:
            self._settled()
            raise Broken(f"said while idle: {(yield from read(connection))!r}")
        yield from write(connection, b"LIST\r\n")
        yield from self._response(connection)
        yield from write(connection, b"RETR %d\r\n" % self._order.message)
        visit.take((yield from self._response(connection)))
        yield from self._tell(connection, b"QUIT\r\n")

    def _tell(self, connection: socket.socket, command: bytes) -> Steps:
        yield from write(connection, command)
        yield from self._status(connection)

    def _status(self, connection: socket.socket, *, ready: bool = False) -> Steps:
        words = yield from read(connection, ready=ready)
        while not words.endswith(b"\n"):
            words += yield from read(connection)
        if not words.startswith(b"+OK"):
            raise Broken(f"+OK was expected: {words[:100]!r}")

    def _response(self, connection: socket.socket) -> Step[int]:
        """The octets of a whole multi-line response; nothing follows it, so that its end is the end of what comes."""
        buffer, at_most = self._buffer, self._most
        view, total, tail = memoryview(buffer)[:at_most], 0, b""
        while not tail.endswith(_MULTILINE_END):
            yield self._pause
            for _ in range(_TURNS):
                try:
                    count = connection.recv_into(view)
                except AGAIN:
                    break
                if not count:
                    raise Broken("closed in the middle of a response")
                if not total and not buffer.startswith(b"+"):
                    raise Broken(f"+OK was expected: {bytes(view[:100])!r}")
                total += count
                tail = (tail + buffer[max(0, count - 5) : count])[-5:]
                if count < at_most and not self._context:
                    break
        return total

    @property
    def _most(self) -> int:
        """Octets at a time; a slow reader takes a whole second in ten steps of several turns each."""
        if rate := self._order.read_rate:
            return rate // _STEPS_A_SECOND // _TURNS
        return _BUFFER_OCTETS

    @property
    def _pause(self) -> int | float:
        """What a reader waits for."""
        return 1 / _STEPS_A_SECOND if self._order.read_rate else READ
