"""
The real proxy between clients and mail servers that all mean harm.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from attrs import frozen

from tests.support.liars import Liar, Lie
from tests.support.proxy import Proxy, running
from tests.support.scripted import serving
from tests.support.scripts import Household
from tests.support.waiting import until

_RECORD = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[(?:-|[A-Za-z0-9_.]+#(?:debug|info|warn|error))\] [ -~]+"
)

NO_POOL = "[pool]\nenabled = false"
"""A table for whoever wants to see what one session does at the mail server."""


@frozen
class Siege:
    """A proxy with a listener for SMTP and one for POP3, and the liars behind them."""

    proxy: Proxy
    smtp: Liar
    pop3: Liar
    servers: Mapping[str, int]
    """The liars' ports."""

    def port(self, protocol: str) -> int:
        """Where clients of this protocol go."""
        return self.proxy.ports["acme", protocol]

    def connect(self, protocol: str) -> Client:
        """A client, which has read no greeting yet."""
        return Client(socket.create_connection(("127.0.0.1", self.port(protocol)), timeout=20), self)

    def wait_until_read(self, protocol: str) -> None:
        """The proxy has read all that the mail server has sent."""
        until(lambda: not _unread_octets(None, self.servers[protocol]), "the proxy to read the mail server's octets")


class Client:
    """Sends octets, and reads what comes back."""

    def __init__(self, connection: socket.socket, siege: Siege) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self._place = len(siege.proxy.log)
        self._port = connection.getsockname()[1]
        self._siege = siege
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @property
    def outcome(self) -> str:
        """The word that this session has ended with."""
        own = rf"session [0-9a-f]+ from 127\.0\.0\.1:{self._port}: ended: "
        return self._siege.proxy.wait_for_log(own, self._place).rpartition("ended: ")[2]

    def wait_for_log(self, words: str) -> None:
        """The proxy has said so since this client came."""
        self._siege.proxy.wait_for_log(words, self._place)

    def send(self, octets: bytes) -> None:
        """They are on their way; a proxy that has gone away already does not matter."""
        try:
            self.connection.sendall(octets)
        except (BrokenPipeError, ConnectionResetError):
            return

    def trickle(self, octets: bytes) -> None:
        """One octet after the other, each when the proxy has read the one before."""
        theirs = self.connection.getpeername()[1]
        for place in range(len(octets)):
            self.send(octets[place : place + 1])
            until(lambda: not _unread_octets(theirs, self._port), "the proxy to read an octet")

    def read_line(self) -> bytes:
        """The next line, without its CRLF; empty when there is none any more."""
        while b"\n" not in self._unread:
            chunk = self._receive()
            if not chunk:
                break
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line.removesuffix(b"\r")

    def read_reply(self) -> bytes:
        """All lines of the next reply of SMTP, joined by LF."""
        lines = [self.read_line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.read_line())
        return b"\n".join(lines)

    def read_all(self) -> bytes:
        """Everything up to the end of the connection, be it a close or a reset."""
        octets, self._unread = self._unread, b""
        while chunk := self._receive():
            octets += chunk
        return octets

    def ask(self, line: bytes) -> bytes:
        """The reply to a line."""
        self.send(line + b"\r\n")
        return self.read_reply()

    def _receive(self) -> bytes:
        try:
            return self.connection.recv(65536)
        except ConnectionResetError:
            return b""


def _unread_octets(port: int | None, peer: int) -> int:
    """How many octets wait to be read at this end of connections with that one; None is for any port."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    ends = ((int(row[1].partition(":")[2], 16), int(row[2].partition(":")[2], 16), row[4]) for row in rows)
    waiting = [
        int(queues.partition(":")[2], 16) for own, other, queues in ends if other == peer and port in (None, own)
    ]
    return sum(waiting)


def greeted(siege: Siege, protocol: str = "smtp", lies: Mapping[bytes, Lie] | None = None) -> Client:
    """A client that has read its greeting; the mail server tells these lies, and the other one none."""
    liars = {"smtp": siege.smtp, "pop3": siege.pop3}
    for name, liar in liars.items():
        liar.tell((lies or {}) if name == protocol else {})
    client = siege.connect(protocol)
    assert client.read_line().startswith((b"220 ", b"+OK"))
    return client


@contextmanager
def besieged(folder: Path, top: str = "", tables: str = "") -> Iterator[Siege]:
    """Such a proxy; in the end it has crashed nowhere, and each line of its log is one."""
    smtp, pop3 = Liar(), Liar()
    with ExitStack() as stack:
        ports = {
            "smtp": stack.enter_context(serving(smtp.smtp)),
            "pop3": stack.enter_context(serving(pop3.pop3)),
        }
        house = Household(folder, top, tables)
        for protocol, port in ports.items():
            house.add(protocol, protocol, port)
        proxy = stack.enter_context(running(house))
        yield Siege(proxy, smtp, pop3, ports)
    check_log(house.folder / "proxy.log")


def check_log(path: Path) -> None:
    """Each record is one line of printable ASCII, and every session has ended once."""
    text = path.read_bytes().decode("ascii")
    for line in text.removesuffix("\n").split("\n"):
        assert _RECORD.fullmatch(line), line
    began = set(re.findall(r" session ([0-9a-f]+) from ", text))
    ended = re.findall(r" session ([0-9a-f]+) from [^ ]+: ended: [a-z0-9_]+\n", text)
    assert sorted(began) == sorted(ended)
    assert "internal_error" not in text
