"""
The sink's side of a POP3 session: every maildrop has the same three messages, and nothing is deleted.
"""

from __future__ import annotations

import socket

from tests.bench.engine import Steps
from tests.bench.ledger import Ledger
from tests.bench.letters import text
from tests.bench.streams import read, write

_PIECE = text(1 << 20)
SMALL, MIDDLE, LARGE, HUGE = 1, 2, 3, 4
SIZES = {SMALL: 4096, MIDDLE: 1 << 20, LARGE: 25 << 20, HUGE: 100 << 20}
"""Octets by number of the message."""

_SMALL_MESSAGE = b"+OK\r\n" + text(SIZES[SMALL]) + b".\r\n"
_LIST = b"+OK\r\n" + b"".join(b"%d %d\r\n" % each for each in SIZES.items()) + b".\r\n"
_REPLIES = {
    b"CAPA": b"+OK\r\nUSER\r\nUIDL\r\nTOP\r\nPIPELINING\r\nSASL PLAIN\r\n.\r\n",
    b"STAT": b"+OK %d %d\r\n" % (len(SIZES), sum(SIZES.values())),
    b"LIST": _LIST,
    b"NOOP": b"+OK\r\n",
    b"QUIT": b"+OK bye\r\n",
}


def converse(connection: socket.socket, ledger: Ledger) -> Steps:
    """Commands are answered one by one."""
    yield from write(connection, b"+OK sink\r\n")
    unread = b""
    while True:
        while (end := unread.find(b"\n")) < 0:
            unread += yield from read(connection)
        line, unread = unread[:end].rstrip(), unread[end + 1 :]
        verb = line[:4].upper()
        if verb == b"RETR":
            yield from _message(connection, int(line[5:]), ledger)
        elif verb == b"AUTH" and line.count(b" ") == 1:
            yield from write(connection, b"+ \r\n")
        elif verb in _REPLIES:
            yield from write(connection, _REPLIES[verb])
        else:  # a login, or the rest of one
            ledger.logins += 1
            yield from write(connection, b"+OK\r\n")
        if verb == b"QUIT":
            return


def _message(connection: socket.socket, number: int, ledger: Ledger) -> Steps:
    ledger.mails += 1
    ledger.octets += SIZES[number]
    if number == SMALL:
        yield from write(connection, _SMALL_MESSAGE)
        return
    yield from write(connection, b"+OK\r\n")
    for _ in range(SIZES[number] // len(_PIECE)):
        yield from write(connection, _PIECE)
    yield from write(connection, b".\r\n")
