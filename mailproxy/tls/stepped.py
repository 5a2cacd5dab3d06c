"""
OpenSSL on a socket, for peers that would keep it busy.

Theory of operation
-------------------

OpenSSL reads on while there is something to read that is not for us: in a handshake, requests for a handshake; behind
it, new keys and tickets.  A peer that sends nothing else, as fast as we read, would keep the process for as long as it
likes, and everybody else waiting.  On the socket there are two ways out of that:

- Behind the handshake OpenSSL gives control back after each record; pyOpenSSL tells it otherwise, and has no word to
  take that back.
- A client's handshake is done in memory, where OpenSSL gets a record at a time, and a bounded number of them in a turn.
  Not one octet behind its last record is read, so that OpenSSL can go on with the socket itself from there.  (A server
  in its handshake takes every such request for an error.)

For both, a name of pyOpenSSL's is used that is not for everybody; `tests/sockets/test_floods.py` notices when it goes.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

from OpenSSL import SSL
from OpenSSL._util import lib as _lib

RECORDS_AT_ONCE = 32
"""How many records of a handshake are read before it is the others' turn; a handshake has about ten."""

_HEADER_OCTETS = 5
"""Of a record; the last two are the length of what follows (RFC 8446 §5.1)."""

_ANY = 65_536


def return_after_each_record(connection: SSL.Connection) -> None:
    """Whoever reads gets control back behind each record, also behind one that is OpenSSL's own."""
    _lib.SSL_clear_mode(connection._ssl, _lib.SSL_MODE_AUTO_RETRY)  # noqa: SLF001 - pyOpenSSL has no public name for it


class SteppedConnection(SSL.Connection):
    """
    A client's connection; its handshake never reads much at a time.

    Args:
        context: says how.
        connection: a socket that does not block; None for Twisted's layer, which reads for OpenSSL.
    """

    def __init__(self, context: SSL.Context, connection: socket.socket | None) -> None:
        super().__init__(context, None)
        self._wire = connection
        self._header = b""
        self._left = 0
        """So many octets of a record have not come yet."""
        self._unsent = b""

    def do_handshake(self) -> None:
        """
        The handshake is done, and OpenSSL reads and writes the socket.

        Raises:
            SSL.WantReadError: the peer has to say more, or it is the others' turn.
            SSL.WantWriteError: the socket is full.
            SSL.Error: it came to nothing.
        """
        if self._wire is None:
            super().do_handshake()
            return
        for _ in range(RECORDS_AT_ONCE):
            if self._take_a_step(self._wire):
                self._go_over(self._wire)
                return
        raise SSL.WantReadError

    def _take_a_step(self, wire: socket.socket) -> bool:
        """OpenSSL has another record, or all that it needs: then it is True."""
        self._send(wire)
        try:
            super().do_handshake()
        except SSL.WantReadError:
            self._send(wire)
            self._feed(wire)
            return False
        except SSL.Error:
            with suppress(SSL.Error):
                self._send(wire)  # the alert
            raise
        self._send(wire)
        return True

    def _send(self, wire: socket.socket) -> None:
        with suppress(SSL.WantReadError):
            self._unsent += self.bio_read(_ANY)
        while self._unsent:
            try:
                sent = wire.send(self._unsent)
            except BlockingIOError:
                raise SSL.WantWriteError from None
            except OSError as error:
                raise _call_failed(error) from None
            self._unsent = self._unsent[sent:]

    def _feed(self, wire: socket.socket) -> None:
        """OpenSSL has more of a record, and nothing of the next."""
        if not self._left:
            self._header += self._receive(wire, _HEADER_OCTETS - len(self._header))
            if len(self._header) < _HEADER_OCTETS:
                return
            self._left = int.from_bytes(self._header[3:])
            self.bio_write(self._header)
            self._header = b""
            if not self._left:
                return
        octets = self._receive(wire, self._left)
        self._left -= len(octets)
        self.bio_write(octets)

    @staticmethod
    def _receive(wire: socket.socket, most: int) -> bytes:
        try:
            octets = wire.recv(most)
        except BlockingIOError:
            raise SSL.WantReadError from None
        except OSError as error:
            raise _call_failed(error) from None
        if not octets:
            raise SSL.SysCallError(-1, "Unexpected EOF")
        return octets

    def _go_over(self, wire: socket.socket) -> None:
        """What pyOpenSSL does for a connection that has a socket from the start."""
        _lib.SSL_set_fd(self._ssl, wire.fileno())
        self._into_ssl = self._from_ssl = None
        self._socket = wire
        self._wire = None


def _call_failed(error: OSError) -> SSL.SysCallError:
    return SSL.SysCallError(error.errno, errno.errorcode.get(error.errno or 0))
