"""
A client's connection: lines and octets, every wait with an end.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE_SECONDS = 90.0
"""How long a client waits for anything; the proxy's own timeouts have to be shorter."""

T = TypeVar("T")


class Lost(Exception):
    """The other side has closed or reset the connection, and nothing that it said is left unread."""


class Late(Exception):
    """There was no answer in time."""


class Conversation(asyncio.Protocol):
    """
    One connection.

    `waited` is told how long each wait for the other side was.
    """

    def __init__(self, waited: Callable[[float, str], None], patience: float = PATIENCE_SECONDS) -> None:
        self._waited = waited
        self._patience = patience
        self._unread = bytearray()
        self._ended = False
        self._held_back = False
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(
        cls, port: int, source: str, waited: Callable[[float, str], None], patience: float = PATIENCE_SECONDS
    ) -> Conversation:
        """
        The connection is there, the greeting not read.

        Raises:
            OSError: nobody listens.
        """
        loop = asyncio.get_running_loop()
        connection = socket.socket()
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.bind((source, 0))
            await loop.sock_connect(connection, ("127.0.0.1", port))
            _, conversation = await loop.create_connection(lambda: cls(waited, patience), sock=connection)
        except BaseException:
            connection.close()
            raise
        return conversation

    async def write(self, octets: bytes) -> None:
        """
        The octets are on their way.

        Raises:
            Lost, Late: they are not.
        """
        if self._ended:
            raise Lost
        self._transport.write(octets)
        await self._in_time(self._flushed, "taking octets")

    async def read_line(self, what: str) -> bytes:
        """The next line, with its CRLF; `what` is it that is waited for."""
        return await self._read_through(b"\n", what)

    async def read_reply(self, what: str) -> bytes:
        """The next SMTP reply, all lines of it."""
        reply = b""
        while True:
            line = await self.read_line(what)
            reply += line
            if line[3:4] != b"-":
                return reply

    async def read_body(self, what: str) -> bytes:
        """The rest of a multi-line POP3 response, with LF line ends and without doubled dots and final dot."""
        self._unread[:0] = b"\r\n"  # the status line's, behind which a dot may stand at once
        body = await self._read_through(b"\r\n.\r\n", what)
        lines = body[: -len(b".\r\n")].replace(b"\r\n", b"\n")
        return lines.replace(b"\n..", b"\n.")[1:]

    async def ask(self, line: str, what: str = "") -> bytes:
        """The SMTP reply to a command."""
        await self.write(line.encode() + b"\r\n")
        return await self.read_reply(what or line.partition(" ")[0])

    async def closed(self, what: str) -> bytes:
        """The other side has closed; what it said before."""
        await self._in_time(self._end, what)
        return bytes(self._unread)

    @property
    def ended(self) -> bool:
        """Whether the other side has closed."""
        return self._ended

    def close(self) -> None:
        """The connection ends in the ordinary way."""
        self._transport.close()

    def abort(self) -> None:
        """The connection ends at once, with a reset; one that has ended already stays as it is."""
        if self._transport.is_closing():
            return
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=65536)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._wake()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, reason: Exception | None) -> None:
        self._ended = True
        self._wake()

    def pause_writing(self) -> None:
        self._held_back = True

    def resume_writing(self) -> None:
        self._held_back = False
        self._wake()

    # Waiting

    async def _in_time(self, work: Callable[[], Awaitable[T]], what: str) -> T:
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._patience):
                return await work()
        except TimeoutError:
            raise Late(what) from None
        finally:
            self._waited(asyncio.get_running_loop().time() - began, what)

    async def _read_through(self, end: bytes, what: str) -> bytes:
        async def work() -> bytes:
            place = 0
            while (found := self._unread.find(end, place)) < 0:
                if self._ended:
                    raise Lost(what)
                place = max(0, len(self._unread) - len(end))
                await self._next_event()
            taken = bytes(self._unread[: found + len(end)])
            del self._unread[: found + len(end)]
            return taken

        return await self._in_time(work, what)

    async def _flushed(self) -> None:
        while self._held_back and not self._ended:
            await self._next_event()
        if self._ended:
            raise Lost

    async def _end(self) -> None:
        while not self._ended:
            await self._next_event()

    async def _next_event(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
