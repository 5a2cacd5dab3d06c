"""
Large messages pass through; they are never held, however slow the receiver is.
"""

from __future__ import annotations

import hashlib
import random
import socket
import time
from collections.abc import Iterator

import pytest

from tests.integration.conftest import Launch, NewSetup
from tests.support.accounts import ACME
from tests.support.bed import MAIL_HOST, Bed
from tests.support.procfs import forget_peak, peak, resident
from tests.support.proxy import Proxy
from tests.support.routes import basic
from tests.support.scripted import Visit, serving
from tests.support.setup import FILES
from tests.support.terminal import Terminal, bare_socket

pytestmark = pytest.mark.integration

MEBI = 1 << 20
SIZE = 200 * MEBI
ALLOWED_GROWTH = 8 * MEBI

SLOW_OCTETS = 6 * MEBI
SLOW_PAUSE_SECONDS = 0.02
"""The receiver takes 16 KiB and rests so long, until it has `SLOW_OCTETS`: 8 s.  Then it takes what it can."""

SMALL_BUFFER = 64 * 1024


def _lines() -> Iterator[bytes]:
    """Text of `SIZE` octets or a little more, in pieces of about 1 MiB; some lines begin with a (stuffed) dot."""
    letters = random.Random(20).randbytes(MEBI * 3 // 4).hex().encode()
    piece = b"".join(
        (b".." if at % 5 == 0 else b"") + letters[start : start + 998 - 40] + b"\r\n"
        for at, start in enumerate(range(0, len(letters), 998 - 40))
    )
    for _ in range(-(-SIZE // len(piece))):
        yield piece


class Receiver:
    """Takes octets slowly at first, and knows the SHA-256 of all of them up to the final dot."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.octets = 0
        self.ended = False
        self._tail = b"\r\n"

    def take(self, chunk: bytes) -> None:
        """More octets; `ended` says whether CRLF, dot, CRLF has come."""
        self.octets += len(chunk)
        self.digest.update(chunk)
        self._tail = (self._tail + chunk)[-5:]
        self.ended = self._tail == b"\r\n.\r\n"

    def limit(self) -> int:
        """How much to take next; slow as long as it has to be."""
        if self.octets >= SLOW_OCTETS:
            return MEBI
        time.sleep(SLOW_PAUSE_SECONDS)
        return 16 * 1024


def _receive(visit: Visit) -> Receiver:
    receiver = Receiver()
    if early := visit.take_unread():
        receiver.take(early)
    while not receiver.ended:
        receiver.take(visit.read_some(receiver.limit()))
    return receiver


def _expected() -> str:
    digest = hashlib.sha256()
    for piece in _lines():
        digest.update(piece)
    digest.update(b".\r\n")
    return digest.hexdigest()


class SMTPServer:
    """Takes one large message."""

    def __init__(self) -> None:
        self.received: list[Receiver] = []

    def __call__(self, visit: Visit) -> None:
        visit.log_in_smtp()
        while (verb := visit.read_line()[:4].upper()) != b"QUIT":
            if verb == b"DATA":
                visit.send(b"354 go on\r\n")
                self.received.append(_receive(visit))
            visit.send(b"250 2.0.0 ok\r\n")
        visit.send(b"221 2.0.0 bye\r\n")


def _pop3_server(visit: Visit) -> None:
    """Has one large message."""
    visit.log_in_pop3()
    while (verb := visit.read_line()[:4].upper()) != b"QUIT":
        if verb == b"CAPA":
            visit.send_capabilities()
            continue
        visit.send(b"+OK\r\n")
        if verb == b"RETR":
            for piece in _lines():
                visit.send(piece)
            visit.send(b".\r\n")
    visit.send(b"+OK bye\r\n")


class _Servers:
    def __init__(self, proxy: Proxy, smtp: SMTPServer) -> None:
        self.proxy = proxy
        self.smtp = smtp


@pytest.fixture(scope="module")
def servers(bed: Bed, new_setup: NewSetup, launch: Launch) -> Iterator[_Servers]:
    """Both scripted servers, and the proxy in front of them."""
    setup = new_setup()
    issued = bed.authority.issue(MAIL_HOST).write(setup.folder, "scripted")
    tls = dict(zip(("certificate", "key"), issued, strict=True))
    smtp = SMTPServer()
    with serving(smtp, **tls, buffer_octets=SMALL_BUFFER) as smtps, serving(_pop3_server, **tls) as pop3s:
        setup.add(ACME.tenant, basic("big-smtps", "smtps", smtps, ACME), FILES)
        setup.add(ACME.tenant, basic("big-pop3s", "pop3s", pop3s, ACME), FILES)
        yield _Servers(launch(setup), smtp)


def _open_smtp(terminal: Terminal) -> None:
    assert terminal.read_reply().startswith(b"220 ")
    assert terminal.ask("EHLO client.test").startswith(b"250 ")


def _begin_message(terminal: Terminal) -> None:
    assert terminal.ask("MAIL FROM:<a@b.test>").startswith(b"250 ")
    assert terminal.ask("RCPT TO:<c@d.test>").startswith(b"250 ")
    assert terminal.ask("DATA").startswith(b"354 ")


def _send_pieces(connection: socket.socket) -> None:
    for piece in _lines():
        connection.sendall(piece)


def test_a_large_message_to_a_slow_mail_server(servers: _Servers) -> None:
    pid = servers.proxy.pid
    with bare_socket(servers.proxy.ports[ACME.tenant, "big-smtps"]) as terminal:
        terminal.connection.settimeout(60)
        _open_smtp(terminal)
        _begin_message(terminal)
        before = resident(pid)
        forget_peak(pid)
        _send_pieces(terminal.connection)
        assert terminal.ask(".").startswith(b"250 ")
        grown = peak(pid) - before
        terminal.ask("QUIT")
    (received,) = servers.smtp.received
    assert received.digest.hexdigest() == _expected()
    assert grown < ALLOWED_GROWTH, f"{grown / MEBI:.1f} MiB"


def test_a_large_message_to_a_slow_mail_client(servers: _Servers) -> None:
    pid = servers.proxy.pid
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", servers.proxy.ports[ACME.tenant, "big-pop3s"]))
        visit = Visit(connection)
        assert visit.read_line().startswith(b"+OK")
        before = resident(pid)
        forget_peak(pid)
        visit.send(b"RETR 1\r\n")
        assert visit.read_line().startswith(b"+OK")
        received = _receive(visit)
        grown = peak(pid) - before
        visit.send(b"QUIT\r\n")
        assert visit.read_line().startswith(b"+OK")
    assert received.digest.hexdigest() == _expected()
    assert grown < ALLOWED_GROWTH, f"{grown / MEBI:.1f} MiB"
