"""
How much of a connection is read at a time.

Each portion costs the same work, however large it is: so a stream that flows gets large ones.  A portion that cannot be
passed on lies in memory until it can: so a stream that stops again and again gets small ones, and so does everybody
who has not yet shown how they are.
"""

from __future__ import annotations

from errno import EAGAIN, EWOULDBLOCK
from typing import Any

from twisted.internet import tcp
from twisted.internet.main import CONNECTION_LOST

PORTION_OCTETS = 64 * 1024
"""What is read of a connection in one turn of the reactor."""

LARGE_PORTION_OCTETS = 256 * 1024
"""What is read of one that flows."""

FLOWING_PORTIONS = 16
"""After so many full portions without a long pause a connection flows."""

LONG_PAUSE_SECONDS = 0.1
"""Whoever takes longer for a portion is slow."""


class Portions(tcp.Connection):
    """
    A mixin before `tcp.Client` or `tcp.Server`.
    """

    reactor: Any
    bufferSize = PORTION_OCTETS
    SEND_LIMIT = LARGE_PORTION_OCTETS
    _full_portions = 0
    """In a row, without a long pause."""
    _paused_at = 0.0

    def doRead(self) -> Any:
        """The socket has something for us."""
        try:
            data = self.socket.recv(self.bufferSize)
        except OSError as error:
            return None if error.errno in (EAGAIN, EWOULDBLOCK) else CONNECTION_LOST
        if len(data) == self.bufferSize:
            self._filled()
        return self._dataReceived(data)

    def _filled(self) -> None:
        """A portion was full."""
        self._full_portions += 1
        if self._full_portions == FLOWING_PORTIONS:
            self.bufferSize = LARGE_PORTION_OCTETS

    def _pause_begins(self) -> None:
        self._paused_at = self.reactor.seconds()

    def _pause_ends(self) -> None:
        if self._full_portions and self.reactor.seconds() - self._paused_at > LONG_PAUSE_SECONDS:
            self._full_portions = 0
            self.bufferSize = PORTION_OCTETS
