"""
A connection to a mail server: until the login is done it belongs to `twisted.mail`'s client, then it is a bare stream.

`UpstreamStream` is what both protocols share: the one error that ends a login, the hand-over that loses no octet,
and the two ways to end a connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IHandshakeListener, IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.deadline import Deadline
from mailproxy.destination.model import Login
from mailproxy.errors import ConnectionLost, MailProxyError, RefusedSession, TLSFailed, UpstreamTimeout, Violation
from mailproxy.tls import describe_tls_failure, keep_session
from mailproxy.upstream.channel import Channel
from mailproxy.upstream.farewells import Farewells
from mailproxy.upstream.words import words_of
from mailproxy.wire.introduction import Introduction
from mailproxy.wire.proxyprotocol import Version, format_header


class StreamOwner(Protocol):
    """Whoever owns the bare stream after the login."""

    def upstream_received(self, chunk: bytes) -> None:
        """Octets of the mail server."""

    def upstream_lost(self, error: MailProxyError) -> None:
        """The connection has ended, and not because the owner said so."""

    def upstream_wanted(self) -> None:
        """Others wait for a connection like this; an owner that does not need it at the moment may let go of it."""


@implementer(IHandshakeListener)
class UpstreamStream:
    """
    The base of the upstream protocols; a mixin that goes before `twisted.mail`'s class.

    A subclass feeds on `converse`, calls `logged_in` or `fail` once, and names in `doing` what it is waiting for.
    What it needs for the login only, it forgets in `forget_login`: most streams rest, or wait for their session.
    """

    # With slots, since `twisted.mail`'s class has a dictionary: up to 30 attributes in it take a sixth of what 31 take.
    __slots__ = (
        "_ended",
        "_governed",
        "_handshaking",
        "_leaving",
        "_owner",
        "_releasing",
        "arrived",
        "born",
        "capabilities",
        "channel",
        "concealed",
        "doing",
        "farewells",
        "gone",
        "introduction",
        "login",
        "messages",
        "quoted",
        "ready",
        "refusals",
        "reused",
        "secured",
        "send_proxy",
        "shown",
        "tls_at_once",
    )

    transport: Any
    farewell: bytes = b""
    """What `release` says; nothing where a word would have consequences."""

    def __init__(self, clock: IReactorTime, login: Login, *, over_tls: bool) -> None:
        self.login = login
        self.farewells: Farewells | None = None
        """Hears of the goodbye, if anybody does."""
        self.tls_at_once: object | None = None
        """What TLS begins with before the first octet; None where it begins later, or never."""
        self.introduction: Introduction | None = None
        """Of which client the mail server is told, where it is told of one."""
        self.send_proxy: Version | None = None
        """Of the header that tells it before anything else is said; None for no header."""
        self.arrived: Deferred[None] | None = None
        """Fires once there is a TCP connection, if anybody waits for it."""
        self.channel: Channel | None = None
        """What it was made with."""
        self.reused = False
        """Whether an owner had it, and let go of it."""
        self.messages = 0
        """How many mail transactions its owners have begun."""
        self.refusals = 0
        """How often the mail server has said no on it since it last took a message."""
        self.born = 0.0
        """When it was logged in, in seconds of the reactor."""
        self.gone: Callable[[UpstreamStream], None] | None = None
        """Hears of the end of a connection that was logged in, whoever wanted it."""
        self.ready: Deferred[UpstreamStream] = Deferred(self._cancelled)
        """Fires with the stream once it is logged in, or fails with an `UpstreamError`."""
        self.capabilities: object = None
        words = words_of(login.credentials)
        self.quoted = words.quoted
        """What the mail server said, for the log: without the credentials that it was sent."""
        self.concealed = words.concealed
        """What the mail server said, for the client: without the credentials that it was sent."""
        self.doing = "waiting for the TLS handshake" if over_tls else "waiting for the greeting"
        self.secured = False
        self.shown = False
        """Whether the credentials are on their way to the mail server, or were."""
        self._handshaking = over_tls
        self._owner: StreamOwner | None = None
        self._ended = False
        self._releasing = False
        self._governed = False
        self._leaving = Deadline(clock)

    # Login

    def connectionMade(self) -> None:
        """The TCP connection is there; over implicit TLS the handshake begins."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self._acknowledge_at_once()
        if self.send_proxy is not None:
            known = None if self.introduction is None else self.introduction.addresses
            self.transport.write(format_header(self.send_proxy, known))
        if self.tls_at_once is not None:
            self.begin_tls(self.tls_at_once)
        super().connectionMade()  # type: ignore[misc]  # the twisted.mail class behind this mixin
        arrived, self.arrived = self.arrived, None
        if arrived is not None:
            arrived.callback(None)

    def begin_tls(self, options: object) -> None:
        """
        TLS starts on the open connection.  Whoever calls it has seen that no octet is waiting.
        """
        self._handshaking = True
        self.doing = "waiting for the TLS handshake"
        self.transport.startTLS(options)

    def handshakeCompleted(self) -> None:
        """The peer is verified: only now anything that it says counts."""
        self.secured = True
        self._handshaking = False
        self._acknowledge_at_once()
        self.tls_ready()

    def _acknowledge_at_once(self) -> None:
        """
        What comes now is acknowledged without delay: a server whose small packets wait for that (Nagle) would hold
        its greeting back for 40 ms.  The system goes back to its habit by itself.
        """
        connection = getattr(self.transport, "socket", None)
        if connection is not None and hasattr(socket, "TCP_QUICKACK"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def tls_ready(self) -> None:
        """The handshake is done."""

    def converse(self, chunk: bytes) -> None:
        """Octets that belong to the login."""
        raise NotImplementedError  # a subclass says what

    def logged_in(self, capabilities: object, *, pending: bool) -> None:
        """
        The login is done; `pending` octets behind its last reply were asked for by nobody.
        """
        if pending:
            self.fail(Violation("the mail server spoke out of turn after the login").having_seen("upstream_desync"))
        elif not self.ready.called:
            if self.secured:
                keep_session(self.transport)
            self.capabilities = capabilities
            self.tls_at_once = None
            self.forget_login()
            self.ready.callback(self)

    def forget_login(self) -> None:
        """The login is done, and what it has needed is not needed any more."""

    def fail(self, error: MailProxyError) -> None:
        """The login has failed for this reason, the first one counts; the connection ends at once."""
        self.abort()
        if not self.ready.called:
            self.ready.errback(error.having_seen(*self.tls_seen))

    @property
    def tls_seen(self) -> tuple[str, ...]:
        """What has become of TLS, in the words of the statistics; nothing where it was not begun."""
        if self.secured:
            return ("upstream_tls",)
        return ("upstream_tls_failed",) if self._handshaking else ()

    def _cancelled(self, _ready: object) -> None:
        self.abort()
        self.ready.errback(UpstreamTimeout(f"gave up while {self.doing}"))

    # The bare stream

    def hand_over(self, owner: StreamOwner, producer: IPushProducer) -> None:
        """From now on octets and the end of the connection are told to `owner`, and a full buffer to `producer`."""
        self._owner = owner
        self._governed = True
        self.transport.registerProducer(producer, True)

    def rest(self, owner: StreamOwner | None) -> None:
        """Its owner lets go of it: `owner` hears of what comes before the next one, and nobody is held back by it."""
        self._unregister()
        self._owner = owner
        if not self._ended:
            self.transport.resumeProducing()

    def ask_for(self) -> None:
        """Its owner hears that others want it."""
        if self._owner is not None:
            self._owner.upstream_wanted()

    def write(self, raw: bytes) -> None:
        """Send exact octets."""
        self.transport.write(raw)

    def dataReceived(self, data: bytes) -> None:  # noqa: D102 - Twisted's
        if self._owner is not None:
            self._owner.upstream_received(data)
        elif self._releasing:
            self.transport.loseConnection()
        elif not (self._ended or self.ready.called):
            self.converse(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: D102 - Twisted's
        self._leaving.clear()
        self.transport = None
        if self.farewells is not None:
            self.farewells.ended(self)
        owner, self._owner = self._owner, None
        self._tell_end(owner, reason)
        gone, self.gone = self.gone, None
        if gone is not None:
            gone(self)

    def _tell_end(self, owner: StreamOwner | None, reason: Failure) -> None:
        if self._ended:
            return
        self._ended = True
        if owner is not None:
            owner.upstream_lost(ConnectionLost("the mail server closed the connection"))
        elif not self.ready.called:
            self.ready.errback(self._login_lost(reason).having_seen(*self.tls_seen))

    def _login_lost(self, reason: Failure) -> MailProxyError:
        if isinstance(reason.value, ConnectionClosed):
            return RefusedSession(f"the mail server closed the connection while we were {self.doing}")
        return TLSFailed(describe_tls_failure(reason))

    # Ends

    def abort(self) -> None:
        """The connection ends at once, without a word; the owner hears no more."""
        self._ended = True
        self._owner = None
        self._leaving.clear()
        if self.transport is not None:
            self._unregister()
            self.transport.abortConnection()

    def release(self, seconds: float) -> None:
        """The mail server hears our farewell and has `seconds` to answer and close; the owner hears no more."""
        if self._ended:
            return
        self._owner = None
        self._ended = self._releasing = True
        if self.farewells is not None:
            self.farewells.began(self)
        self._unregister()
        self.transport.resumeProducing()
        self._leaving.set(seconds, self.abort)
        if self.farewell:
            self.transport.write(self.farewell)
        else:
            self.transport.loseConnection()

    def _unregister(self) -> None:
        """A TLS transport with a producer never finishes to close."""
        if self._governed:
            self._governed = False
            self.transport.unregisterProducer()
