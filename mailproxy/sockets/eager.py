"""
Writing without waiting for the reactor.

Twisted's transports collect what is written, ask the reactor to tell them when the socket takes it, are told so in the
next turn, send, and ask the reactor to be quiet again: two system calls and a turn of the loop for a socket that
would have taken it at once, as it nearly always does.  Here `write` sends, and only what the socket does not take goes
the old way.

What a protocol sees is the same: order, producers, errors.  Three cases go the old way on purpose:

- Something waits already: order counts.
- The producer is one that has to be asked for each piece: it is asked when the reactor finds the socket writable.
- The socket refuses: the reactor finds the same error, after it has read what the peer had said before.  So an error
  never comes out of `write`, and the last words of a peer that closed are not lost to it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from errno import EAGAIN, ENOBUFS, EWOULDBLOCK

from twisted.internet import tcp
from twisted.internet.error import ConnectionLost
from twisted.internet.main import CONNECTION_LOST

UNSENT_OCTETS = 128 * 1024
"""
How many octets the system takes before it has sent those before them.  It takes megabytes otherwise for a peer that
reads slowly, and a producer hears that late of it.
"""

_LATER = (EAGAIN, EWOULDBLOCK, ENOBUFS)


def bound_unsent(sock: socket.socket) -> None:
    """
    The system takes `UNSENT_OCTETS` for a connection, where it knows how; what is accepted at a port is as the port is.
    """
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):  # a socket of another kind, or a system that knows the name only
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_OCTETS)


class Eager(tcp.Connection):
    """
    A mixin before `tcp.Client` or `tcp.Server`.

    A streaming producer hears that it should pause only when the socket takes no more.  One that writes until it is
    told to stop, from memory, gets there after what the system has room for, and not after one buffer.
    """

    def write(self, data: bytes) -> None:
        """Octets are sent; those that the socket does not take now, when it does."""
        if self.TLS:  # Twisted's layer is on top of us, and seals octets itself
            super().write(data)
            return
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if data and self.connected and not self._writeDisconnected and not self._aborting:
            if not self._must_wait():
                sent = self.writeSomeData(data)
                if sent == len(data):
                    return
                data = data[sent:] if isinstance(sent, int) else data
            self._keep(data)
            self.startWriting()

    def loseWriteConnection(self) -> None:
        """The peer hears that we are done, at once where nothing waits for the socket."""
        if self.TLS or self._must_wait() or not self.connected or self._writeDisconnecting:
            super().loseWriteConnection()
        else:
            self._writeDisconnecting = self._writeDisconnected = True
            self._closeWriteConnection()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """All of them are written as one."""
        self.write(b"".join(iovec))

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """As many octets as the socket takes now are sent, of `SEND_LIMIT` at most; how many, or what is wrong."""
        try:
            return self.socket.send(data if len(data) <= self.SEND_LIMIT else memoryview(data)[: self.SEND_LIMIT])
        except OSError as error:
            return 0 if error.errno in _LATER else CONNECTION_LOST

    def _unsent(self) -> int:
        """How many octets wait for the socket."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def _must_wait(self) -> bool:
        if self._tempDataLen or self.dataBuffer:
            return True
        return self.producer is not None and not self.streamingProducer

    def _keep(self, data: bytes) -> None:
        self._tempDataBuffer.append(data)
        self._tempDataLen += len(data)
        self._maybePauseProducer()
