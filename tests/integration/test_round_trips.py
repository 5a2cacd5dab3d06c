"""
How often a session waits for the mail server: once for a group of commands, and once for its mail.

The mail server is as far away as can be: it answers nothing before it has seen all that should come without an answer.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import pytest
from attrs import define, field

from tests.support.proxy import running
from tests.support.scripted import Visit, serving
from tests.support.scripts import Household

pytestmark = pytest.mark.integration

GROUP = [b"MAIL FROM:<a@client.test>", *[b"RCPT TO:<b%d@far.test>" % number for number in range(5)], b"DATA"]
CONTENT = [b"Subject: far", b"", b"away", b"."]
SESSIONS = 3
PATIENCE_SECONDS = 30.0


@define
class Far:
    """A mail server that answers flights, not commands; `flights` are those of each connection."""

    flights: list[list[list[bytes]]] = field(factory=list)

    def __call__(self, visit: Visit) -> None:
        """The script of one connection."""
        visit.log_in_smtp()
        seen: list[list[bytes]] = []
        self.flights.append(seen)
        while self._flight(visit, seen, len(GROUP), b"250 ok\r\n" * (len(GROUP) - 1) + b"354 go on\r\n"):
            assert self._flight(visit, seen, len(CONTENT), b"250 2.0.0 taken\r\n")

    def _flight(self, visit: Visit, seen: list[list[bytes]], lines: int, answer: bytes) -> bool:
        """All that comes in a flight was answered at once; False when the proxy says goodbye instead."""
        first = visit.read_line()
        if first == b"QUIT":
            visit.send(b"221 bye\r\n")
            return False
        seen.append([first, *(visit.read_line() for _ in range(lines - 1))])
        assert not visit.take_unread()
        visit.send(answer)
        return True


@contextmanager
def connected(port: int) -> Iterator[tuple[socket.socket, BinaryIO]]:
    """A client, greeted."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection.makefile("rb") as replies:
            assert read_codes(replies, 1) == [b"220"]
            connection.sendall(b"EHLO client.test\r\n")
            assert read_codes(replies, 1) == [b"250"]
            yield connection, replies


def read_codes(replies: BinaryIO, count: int) -> list[bytes]:
    """The codes of so many replies."""
    codes: list[bytes] = []
    while len(codes) < count:
        line = replies.readline()
        assert line, f"closed behind {codes}"
        codes += [line[:3]] if line[3:4] != b"-" else []
    return codes


def send_mail(port: int) -> None:
    """One mail, its commands as a group."""
    with connected(port) as (connection, replies):
        connection.sendall(b"".join(line + b"\r\n" for line in GROUP))
        assert read_codes(replies, len(GROUP)) == [b"250"] * (len(GROUP) - 1) + [b"354"]
        connection.sendall(b"".join(line + b"\r\n" for line in CONTENT))
        assert read_codes(replies, 1) == [b"250"]
        connection.sendall(b"QUIT\r\n")
        assert read_codes(replies, 1) == [b"221"]


@pytest.mark.parametrize(
    ("tables", "connections"), [("", 1), ("[pool]\nenabled = false\n", SESSIONS)], ids=["pool", "no-pool"]
)
def test_a_group_of_the_client_goes_up_in_one_flight(tmp_path: Path, tables: str, connections: int) -> None:
    far = Far()
    with serving(far) as upstream:
        household = Household(tmp_path, tables=tables)
        port = household.add("far", "smtp", upstream)
        with running(household):
            for _ in range(SESSIONS):
                send_mail(port)
    assert len(far.flights) == connections
    assert list(chain(*far.flights)) == [GROUP, CONTENT] * SESSIONS
