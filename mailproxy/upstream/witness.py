"""
Notes for an operator what a connector finds out about its mail server.
"""

from __future__ import annotations

from collections.abc import Callable

from mailproxy.destination.model import Login, Token
from mailproxy.errors import MailProxyError
from mailproxy.observe.condition import Condition, Credential, Peer, TLSFacts
from mailproxy.observe.text import printable
from mailproxy.tls.resumption import ResumableConnection
from mailproxy.upstream.stream import UpstreamStream

LOOK_SECONDS = 10.0
"""What a connection is made of is looked at again after so long: it takes longer than a note, and seldom changes."""


class Witness:
    """
    Of one connector.

    Args:
        seconds: the time, since 1970.
        held_until: until when the mail server is left alone, or None.
    """

    def __init__(self, seconds: Callable[[], float], held_until: Callable[[], float | None]) -> None:
        self.condition = Condition(held_until)
        self._seconds = seconds
        self._login: Login | None = None
        self._looked_at: float | None = None

    def begins(self, login: Login) -> None:
        """There is an attempt with this login."""
        if login is not self._login:
            self._login = login
            self._looked_at = None
            self._turn_to(login)

    def succeeded(self, stream: UpstreamStream) -> None:
        """It has come through."""
        now = self._seconds()
        self.condition.worked(now)
        if self._looked_at is None or abs(now - self._looked_at) >= LOOK_SECONDS:
            self._looked_at = now
            self.condition.peer = _peer(stream)

    def failed(self, error: BaseException) -> None:
        """It has not, or there was no login to try; who was called off has found out nothing."""
        if isinstance(error, MailProxyError):
            self.condition.failed(self._seconds(), error)

    def worked(self) -> None:
        """A connection has come back in good order."""
        self.condition.worked(self._seconds())

    def _turn_to(self, login: Login) -> None:
        host, port = printable(login.destination.host), login.destination.port
        before = self.condition.peer
        if before is None or (before.host, before.port) != (host, port):
            self.condition.peer = Peer(host, port)
        self.condition.credential = _credential(login)


def _credential(login: Login) -> Credential:
    if login.credentials is None:
        return Credential("none")
    if isinstance(login.credentials, Token):
        return Credential("token", login.credentials.expires_at)
    return Credential("password")


def _peer(stream: UpstreamStream) -> Peer:
    destination = stream.login.destination
    address = getattr(stream.transport.getPeer(), "host", None)
    tls = _tls(stream.transport.getHandle()) if stream.secured else None
    return Peer(printable(destination.host), destination.port, address, tls)


def _tls(connection: object) -> TLSFacts | None:
    if not isinstance(connection, ResumableConnection):
        return None  # something else than OpenSSL secures it, as in simulations
    return TLSFacts(connection.get_protocol_version_name(), connection.get_cipher_name() or "", connection.proven_until)
