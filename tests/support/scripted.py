"""
Mail servers that do exactly what a test says: a function in a thread for each connection.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define, field

from tests.support.ports import free_port

_PATIENCE_SECONDS = 60.0


@define
class Visit:
    """
    One connection, seen from the mail server.
    """

    connection: socket.socket
    _unread: bytearray = field(factory=bytearray)

    def send(self, octets: bytes) -> None:
        """The octets are on their way."""
        self.connection.sendall(octets)

    def read_line(self) -> bytes:
        """
        The next line, without its CRLF.

        Raises:
            ConnectionError: the proxy has closed.
        """
        while (end := self._unread.find(b"\n")) < 0:
            self._unread += self.read_some(65536)
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line.removesuffix(b"\r")

    def take_unread(self) -> bytes:
        """What came behind the last line."""
        rest = bytes(self._unread)
        self._unread.clear()
        return rest

    def put_back(self, octets: bytes) -> None:
        """These are read again."""
        self._unread[:0] = octets

    def read_some(self, limit: int) -> bytes:
        """At least one octet, and no more than `limit`."""
        chunk = self.connection.recv(limit)
        if not chunk:
            raise ConnectionResetError("the proxy has closed the connection")
        return chunk

    def log_in_smtp(self) -> None:
        """Greeting, EHLO and AUTH PLAIN with any password are behind us."""
        self.send(b"220 scripted ESMTP\r\n")
        while (line := self.read_line().upper()).startswith(b"EHLO"):
            self.send(b"250-scripted\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n")
        assert line.startswith(b"AUTH PLAIN"), line[:10]
        if line == b"AUTH PLAIN":
            self.send(b"334 \r\n")
            self.read_line()
        self.send(b"235 2.7.0 ok\r\n")

    def log_in_pop3(self) -> None:
        """Greeting, CAPA and a login by any password are behind us."""
        self.send(b"+OK scripted\r\n")
        while True:
            match self.read_line().upper().split(b" ")[0]:
                case b"CAPA":
                    self.send_capabilities()
                case b"USER":
                    self.send(b"+OK\r\n")
                case b"PASS":
                    self.send(b"+OK logged in\r\n")
                    return
                case other:
                    raise AssertionError(other)

    def send_capabilities(self) -> None:
        """The answer to CAPA."""
        self.send(b"+OK\r\nUSER\r\nUIDL\r\nTOP\r\n.\r\n")


Script = Callable[[Visit], None]


@contextmanager
def serving(
    script: Script, *, certificate: Path | None = None, key: Path | None = None, buffer_octets: int = 0
) -> Iterator[int]:
    """
    The port on which every connection runs the script; with a certificate behind TLS from the first octet.

    A script that ends badly makes the test fail at the end; the proxy's going away does not.  `buffer_octets` is how
    much the kernel may hold for us.
    """
    port = free_port()
    server = _Server(script, _context(certificate, key))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if buffer_octets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_octets)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        acceptor = threading.Thread(target=server.accept, args=(listener,))
        acceptor.start()
        try:
            yield port
        finally:
            server.stop(listener)
            acceptor.join()
    assert not server.failures, server.failures


@define
class _Server:
    script: Script
    context: ssl.SSLContext | None
    failures: list[BaseException] = field(factory=list)
    connections: set[socket.socket] = field(factory=set)
    threads: list[threading.Thread] = field(factory=list)

    def accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(_PATIENCE_SECONDS)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self.threads = [each for each in self.threads if each.is_alive()] + [thread]
            thread.start()

    def stop(self, listener: socket.socket) -> None:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()

    def _serve(self, connection: socket.socket) -> None:
        self.connections.add(connection)
        secured = connection
        try:
            if self.context:
                secured = self.context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=True)
                self.connections.add(secured)
            self.script(Visit(secured))
        except (OSError, ssl.SSLError):
            pass  # the proxy went away, or did not believe our certificate
        except BaseException as failure:  # noqa: BLE001 - it is told at the end of the test
            self.failures.append(failure)
        finally:
            self.connections -= {connection, secured}
            secured.close()


def _context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
