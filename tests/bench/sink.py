"""
A mail server that is as fast as one can be here: `python -m tests.bench.sink FOLDER SMTP POP3 CONTROL`.

Both protocols are behind TLS from the first octet, with `FOLDER/sink.pem` and `.key`, and want a login.  Mails whose
reverse-path begins with "slow" are read slowly.  Who says "FIRST COUNT" to CONTROL gets one line of JSON: figures, and
which of so many numbers from the first on are not here.
"""

from __future__ import annotations

import gc
import json
import resource
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.engine import READ, Loop, Steps
from tests.bench.ledger import Ledger
from tests.bench.server_pop3 import converse as pop3
from tests.bench.server_smtp import converse as smtp
from tests.bench.streams import read, shake_hands, write

_BACKLOG = 4096
_ACCEPTED_AT_A_TIME = 64

Converse = Callable[[socket.socket, Ledger], Steps]


class Sink:
    """All of its connections, in one loop."""

    def __init__(self, folder: Path) -> None:
        self._loop = Loop()
        self._ledger = Ledger()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(folder / "sink.pem", folder / "sink.key")

    def listen(self, port: int, converse: Converse, *, secured: bool = True) -> None:
        """Connections to the port are taken."""
        listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        listener.setblocking(False)
        serve = (lambda connection: self._secured(connection, converse)) if secured else self._report
        self._loop.start(listener.fileno(), self._accept(listener, serve), READ, _over)

    def run(self) -> None:
        """It serves until it is ended."""
        self._loop.run()

    def _accept(self, listener: socket.socket, serve: Callable[[socket.socket], Steps]) -> Steps:
        while True:
            for _ in range(_ACCEPTED_AT_A_TIME):
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:
                    break
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._loop.start(connection.fileno(), serve(connection), READ, _over)
            yield READ

    def _secured(self, plain: socket.socket, converse: Converse) -> Steps:
        connection: socket.socket = plain
        try:
            connection = tls = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            yield from shake_hands(tls)
            self._ledger.handshakes += 1
            self._ledger.resumed += bool(tls.session_reused)
            yield from converse(connection, self._ledger)
        finally:
            connection.close()

    def _report(self, connection: socket.socket) -> Steps:
        try:
            first, count = map(int, (yield from read(connection, ready=True)).split())
            usage = resource.getrusage(resource.RUSAGE_SELF)
            report = self._ledger.report(first, count) | {"cpu_seconds": usage.ru_utime + usage.ru_stime}
            yield from write(connection, json.dumps(report).encode() + b"\n")
        finally:
            connection.close()


def _over(failure: Exception | None) -> None:
    """Somebody has gone away: that is the proxy's or the generator's business, and they are asked about it."""


def main() -> None:
    """It serves until it is ended."""
    sink = Sink(Path(sys.argv[1]))
    for port, converse in zip(sys.argv[2:4], (smtp, pop3), strict=True):
        sink.listen(int(port), converse)
    sink.listen(int(sys.argv[4]), smtp, secured=False)
    gc.freeze()
    sink.run()


if __name__ == "__main__":
    main()
