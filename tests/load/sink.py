"""
A mail server that takes everything and is in nobody's way: `python -m tests.load.sink FOLDER SMTP POP3 CONTROL`.

Both protocols are behind TLS from the first octet, with `FOLDER/sink.pem` and `.key`; any login will do.  The
recipient says what happens: a message for `hold-2.5@…` is answered 2.5 s after its end.  Every mailbox has the same
messages, of `MESSAGE_OCTETS` each.  A connection to CONTROL gets a report as one line of JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import ssl
import sys
from collections import Counter
from pathlib import Path

from attrs import define, field

MESSAGES, MESSAGE_OCTETS = 20, 4 << 20
_SEND_BUFFER_OCTETS = 64 << 10
"""More would let this machine's processor encrypt hundreds of megabytes at once that nobody reads."""

_LINE = b"0123456789" * 7 + b"\r\n"
_PIECE = _LINE * 900
_END = b"\r\n.\r\n"
_MARKER = re.compile(rb"^X-Load: (\S+)\r$", re.MULTILINE)


@define
class Ledger:
    """What arrived: SHA-256 by marker; and figures."""

    messages: dict[str, str] = field(factory=dict)
    figures: Counter[str] = field(factory=Counter)

    def report(self) -> bytes:
        """One line."""
        return json.dumps({"messages": self.messages, "figures": self.figures}).encode() + b"\n"


class _Server(asyncio.Protocol):
    """Lines in, replies out."""

    greeting = b""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.unread = bytearray()

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.ledger.figures[f"{type(self).__name__} connections"] += 1
        transport.write(self.greeting)

    def data_received(self, data: bytes) -> None:
        self.unread += data
        self.proceed()

    def proceed(self) -> None:
        """Every whole line is answered."""
        while (end := self.unread.find(b"\n")) >= 0 and self.wants_lines():
            line = bytes(self.unread[:end]).rstrip()
            del self.unread[: end + 1]
            self.line(line)

    def wants_lines(self) -> bool:
        """Whether a line is what comes next."""
        return True

    def line(self, line: bytes) -> None:
        """Answer a command."""
        raise NotImplementedError


class SMTP(_Server):
    """Takes mail."""

    greeting = b"220 sink ESMTP\r\n"
    _EHLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 104857600\r\n250 AUTH PLAIN LOGIN\r\n"

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._in_content = False
        self._digest = hashlib.sha256()
        self._head = b""
        self._hold = 0.0

    def wants_lines(self) -> bool:
        return not self._in_content

    def proceed(self) -> None:
        if self._in_content:
            self._content()
        super().proceed()

    def line(self, line: bytes) -> None:
        verb = line.split(b" ")[0].upper()
        match verb:
            case b"EHLO":
                self.transport.write(self._EHLO)
            case b"AUTH":
                self.transport.write(b"235 2.7.0 ok\r\n")
            case b"RCPT":
                hold = re.search(rb"<hold-([0-9.]+)@", line)
                self._hold = float(hold[1]) if hold else 0.0
                self.transport.write(b"250 2.1.5 ok\r\n")
            case b"DATA":
                self._in_content, self._digest, self._head = True, hashlib.sha256(), b""
                self.transport.write(b"354 go on\r\n")
                self._content()
            case b"QUIT":
                self.transport.write(b"221 2.0.0 bye\r\n")
                self.transport.close()
            case _:
                self.transport.write(b"250 2.0.0 ok\r\n")

    def _content(self) -> None:
        """What may be the beginning of the end waits for more."""
        end = self.unread.find(_END)
        taken = end + 2 if end >= 0 else max(0, len(self.unread) - len(_END) + 1)
        self._digest.update(self.unread[:taken])
        if len(self._head) < 200:
            self._head += bytes(self.unread[: min(taken, 200)])
        del self.unread[:taken]
        if end >= 0:
            del self.unread[: len(_END) - 2]
            self._in_content = False
            self._arrived()

    def _arrived(self) -> None:
        marker = _MARKER.search(self._head)
        name = marker[1].decode() if marker else f"without marker {self._head[:40]!r}"
        self.ledger.figures["messages"] += 1
        self.ledger.figures["messages doubled"] += name in self.ledger.messages
        self.ledger.messages[name] = self._digest.hexdigest()
        reply = f"250 2.0.0 taken {name}\r\n".encode()
        asyncio.get_running_loop().call_later(self._hold, self.transport.write, reply)

    def connection_lost(self, reason: Exception | None) -> None:
        self.ledger.figures["connections lost inside a message"] += self._in_content


class POP3(_Server):
    """Has large messages."""

    greeting = b"+OK sink\r\n"

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._left = 0
        self._held_back = False

    def line(self, line: bytes) -> None:
        match line.split(b" ")[0].upper():
            case b"CAPA":
                self.transport.write(b"+OK\r\nUSER\r\nUIDL\r\nTOP\r\nSASL PLAIN\r\n.\r\n")
            case b"AUTH" if line.count(b" ") == 1:
                self.transport.write(b"+ \r\n")
            case b"STAT":
                self.transport.write(f"+OK {MESSAGES} {MESSAGES * MESSAGE_OCTETS}\r\n".encode())
            case b"RETR":
                self.transport.write(b"+OK\r\n")
                self._left = MESSAGE_OCTETS // len(_PIECE)
                self._send()
            case b"QUIT":
                self.ledger.figures["POP3 QUIT"] += 1
                self.transport.write(b"+OK bye\r\n")
                self.transport.close()
            case _:
                self.transport.write(b"+OK\r\n")

    def pause_writing(self) -> None:
        self._held_back = True

    def resume_writing(self) -> None:
        self._held_back = False
        self._send()

    def _send(self) -> None:
        while self._left and not self._held_back:
            self._left -= 1
            self.transport.write(_PIECE if self._left else _PIECE + b".\r\n")


class _Control(asyncio.Protocol):
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def connection_made(self, transport) -> None:
        transport.write(self._ledger.report())
        transport.close()


async def main(folder: Path, smtp: int, pop3: int, control: int) -> None:
    """It serves until it is ended."""
    ledger = Ledger()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "sink.pem", folder / "sink.key")
    loop = asyncio.get_running_loop()
    for server, port in ((SMTP, smtp), (POP3, pop3)):
        listening = socket.create_server(("127.0.0.1", port), backlog=4096)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_OCTETS)
        await loop.create_server(lambda server=server: server(ledger), sock=listening, ssl=context, backlog=4096)
    await loop.create_server(lambda: _Control(ledger), "127.0.0.1", control)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
