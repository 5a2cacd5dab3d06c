"""
The sink's side of an SMTP session.
"""

from __future__ import annotations

import socket

from tests.bench.engine import READ, Broken, Steps
from tests.bench.ledger import Ledger
from tests.bench.letters import HEAD_OCTETS, number_of
from tests.bench.streams import AGAIN, Step, read, write

_GREETING = b"220 sink ESMTP\r\n"
_KEYWORDS = (b"PIPELINING", b"8BITMIME", b"SIZE 1048576000", b"AUTH PLAIN")
_EHLO = b"250-sink\r\n" + b"".join(b"250-%s\r\n" % each for each in _KEYWORDS) + b"250 ENHANCEDSTATUSCODES\r\n"
_REPLIES = {
    b"EHLO": _EHLO,
    b"AUTH": b"235 2.7.0 ok\r\n",
    b"MAIL": b"250 2.1.0 ok\r\n",
    b"RCPT": b"250 2.1.5 ok\r\n",
    b"DATA": b"354 go on\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"NOOP": b"250 2.0.0 ok\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}
_WITHOUT_LOGIN = frozenset({b"EHLO", b"AUTH", b"NOOP", b"QUIT", b"RSET"})
_TAKEN = b"250 2.0.0 taken\r\n"
_UNKNOWN = b"502 5.5.1 what\r\n"
_LOGIN_FIRST = b"530 5.7.0 log in first\r\n"

_END = b"\r\n.\r\n"
_CARRIED = len(_END) - 1
_BUFFER_OCTETS = 256 << 10
_SLOW_OCTETS_A_SECOND = 64 << 10
_STEPS_A_SECOND = 10
_TURNS = 16

_buffer = bytearray(_CARRIED + _BUFFER_OCTETS)
"""Shared: nobody keeps anything in it while others have their turn."""


def converse(connection: socket.socket, ledger: Ledger) -> Steps:
    """Commands are answered, those that came together with one write, and mails are taken."""
    yield from write(connection, _GREETING)
    unread, known, slow = b"", False, False
    while True:
        unread += yield from read(connection)
        replies = b""
        while (end := unread.find(b"\n")) >= 0:
            line, unread = unread[:end], unread[end + 1 :]
            verb = line[:4].upper()
            if not known and verb not in _WITHOUT_LOGIN:
                replies += _LOGIN_FIRST
                continue
            replies += _REPLIES.get(verb, _UNKNOWN)
            if verb == b"AUTH":
                known = True
                ledger.logins += 1
            elif verb == b"MAIL":
                slow = line[10:].startswith(b"<slow")
            elif verb == b"DATA":
                yield from write(connection, replies)
                unread = yield from _content(connection, ledger, unread, slow=slow)
                replies = _TAKEN
            elif verb == b"QUIT":
                yield from write(connection, replies)
                return
        if replies:
            yield from write(connection, replies)


def _content(connection: socket.socket, ledger: Ledger, unread: bytes, *, slow: bool) -> Step[bytes]:
    """
    A mail was taken; what came behind it.

    Only where there is a dot is its end looked for: finding one octet costs a fraction of finding five.
    """
    most = _SLOW_OCTETS_A_SECOND // _STEPS_A_SECOND // _TURNS if slow else _BUFFER_OCTETS
    total, turns = 0, 0
    first, tail = b"", b"\0\0\r\n"  # the CRLF before the end may be that behind DATA
    while True:
        if unread:
            count, unread = _lay(unread), b""
        else:
            turns = turns % _TURNS + 1
            if turns == 1:
                yield 1 / _STEPS_A_SECOND if slow else READ
            try:
                count = connection.recv_into(memoryview(_buffer)[_CARRIED:], most)
            except AGAIN:
                turns = 0
                continue
        if not count:
            raise Broken("closed in the middle of a mail")
        if len(first) < HEAD_OCTETS:
            first += _buffer[_CARRIED : _CARRIED + min(count, HEAD_OCTETS)]
        _buffer[:_CARRIED] = tail
        if _buffer.find(b".", 0, _CARRIED + count) >= 0 and (end := _buffer.find(_END, 0, _CARRIED + count)) >= 0:
            ledger.take(number_of(first[:HEAD_OCTETS]), total + end + 2 - _CARRIED)
            return bytes(_buffer[end + len(_END) : _CARRIED + count])
        total += count
        tail = bytes(_buffer[count : count + _CARRIED])


def _lay(octets: bytes) -> int:
    """They are in the buffer as if they had just been received."""
    _buffer[_CARRIED : _CARRIED + len(octets)] = octets
    return len(octets)
