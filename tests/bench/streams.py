"""
Octets over sockets that do not block, in the clear or over TLS, as steps of a session.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from typing import TypeVar

from tests.bench.engine import READ, WRITE, Broken

RECORD_OCTETS = 16 << 10
"""The most that one TLS record holds: who asks for less leaves octets behind that the kernel knows nothing of."""

_SLICE_OCTETS = 256 << 10
_MOST_SHOWN = 100

AGAIN = (BlockingIOError, ssl.SSLWantReadError)

T = TypeVar("T")
Step = Generator[int | float, None, T]


def connect(port: int, receive_buffer: int = 0) -> socket.socket:
    """A connection to loopback is being made."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect_ex(("127.0.0.1", port))
    return connection


def shake_hands(connection: ssl.SSLSocket) -> Step[None]:
    """TLS has begun."""
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            yield READ
        except ssl.SSLWantWriteError:
            yield WRITE
        else:
            return


def write(connection: socket.socket, octets: bytes | memoryview) -> Step[None]:
    """The kernel has all of them."""
    try:
        sent = connection.send(octets[:_SLICE_OCTETS])
    except (BlockingIOError, ssl.SSLWantWriteError):
        sent = 0
    if sent == len(octets):
        return
    left = memoryview(octets)[sent:]
    while left:
        try:
            left = left[connection.send(left[:_SLICE_OCTETS]) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            yield WRITE


def read(connection: socket.socket, *, ready: bool = False) -> Step[bytes]:
    """
    What has come, up to a record.

    Args:
        connection: whose.
        ready: the kernel has said already that something is there.

    Raises:
        Broken: nothing will come any more.
    """
    if not ready:
        yield READ
    while True:
        try:
            chunk = connection.recv(RECORD_OCTETS)
        except AGAIN:
            yield READ
            continue
        if not chunk:
            raise Broken("closed by the other side")
        return chunk


def expect(connection: socket.socket, *codes: bytes, ready: bool = False) -> Step[None]:
    """
    One SMTP reply for each code has come, and has it.

    Raises:
        Broken: there was another one.
    """
    words = yield from read(connection, ready=ready)
    while not words.endswith(b"\n") or len(finals := _finals(words)) < len(codes):
        words += yield from read(connection)
    if len(finals) != len(codes) or not all(map(bytes.startswith, finals, codes)):
        raise Broken(f"{b' '.join(codes).decode()} was expected: {words[:_MOST_SHOWN]!r}")


def _finals(words: bytes) -> list[bytes]:
    return [line for line in words.split(b"\r\n")[:-1] if line[3:4] != b"-"]
