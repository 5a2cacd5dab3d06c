"""
The connection of a mail client as such: TLS, the last words, and its ends, each of them with a bound.

Theory of operation.  TLS begins in one way, be it before the first octet of the session or at a command: the listening
endpoint is always a plain one, and `startTLS` puts TLS on top of what was accepted.  From then on the transport
takes octets for TLS, so that what a client, or somebody on the way, has sent ahead in plain text spoils the handshake
and reaches nobody.

    plain --startTLS--> handshaking --handshakeCompleted--> secured
                        handshaking --failed, late, closed--> over

A connection that is over is not closed at once.  What was written has to arrive, and a system throws it away when the
client is still sending and nobody reads that: so the sending side is closed, and the client listened to for a while.

    open --see_off--> waiting for the client to close --it does--> over
                      waiting --does_not_close, deliver--> delivering --our system has taken all--> over
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.deadline import Deadline
from mailproxy.downstream.surroundings import Surroundings
from mailproxy.session.actions import Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.tls import describe_client_tls_failure

MAX_DRAINED_OCTETS = 1024 * 1024
"""How much a client may go on sending behind the reply that ends its session before it is cut off."""


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class ClientConnection(TwistedProtocol):
    """
    What a session and a client that is turned away have in common.  A subclass says what happens when it is `ready`
    and when the client is gone, and calls `see_off` once when it has said all it wants to say.

    Args:
        around: what the listener's connections share.
        hurried: there is a crowd, so that the client has less time to begin.
    """

    __slots__ = (
        "_around",
        "_bound",
        "_connected",
        "_drained",
        "_handshaking",
        "_hurried",
        "_listening",
        "_over_tls",
        "_read_closed",
        "_said_goodbye",
    )

    transport: Any

    def __init__(self, around: Surroundings, *, hurried: bool) -> None:
        self._around = around
        self._hurried = hurried
        self._connected = False
        self._handshaking = False
        self._over_tls = False
        """TLS has begun.  Twisted marks the transport, too, but only once there is one."""
        self._listening = False
        """What the client says matters."""
        self._read_closed = False
        self._said_goodbye = False
        """The client is gone as it should go behind TLS, where there is no half-close."""
        self._drained = 0
        self._bound = Deadline(around.clock)
        """Of the handshake, and in the end of the last words; nobody has both at a time."""

    # What a subclass says

    def ready(self) -> None:
        """The client can be talked to: behind TLS, where that was begun."""
        raise NotImplementedError  # a subclass says what

    def handshake_failed(self, sentence: str) -> None:
        """There will be no TLS with this client; its connection is, or will be, gone."""
        raise NotImplementedError  # a subclass says what

    def client_ended(self) -> None:
        """The client has closed its sending side, and may still read."""

    def client_gone(self) -> None:
        """The client is gone."""
        raise NotImplementedError  # a subclass says what

    def crashed(self) -> None:
        """An exception that nobody foresaw is being handled: the connection ends now."""
        raise NotImplementedError  # a subclass says what

    # From the first octet on

    def connectionMade(self) -> None:
        """The client is connected, and will be ready; behind TLS once the handshake is done."""
        self._connected = True
        try:
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
            if self._around.encryption is Encryption.IMPLICIT and not self._over_tls:
                self.start_tls(hurried=self._hurried)
            else:
                self._listening = True
                self.ready()
        except Exception:  # noqa: BLE001 - whatever it was: a connection that nobody minds would stay for ever
            self.crashed()

    def behind_tls(self) -> None:
        """The connection that it will get is behind TLS already."""
        self._over_tls = True

    def start_tls(self, *, hurried: bool = False) -> None:
        """TLS begins, behind what was written; `ready` says that it is there.  Nobody may hold the intake."""
        if self._read_closed:
            self._fail_handshake("client had closed its side of the connection")
            self.give_up()
            return
        self._listening = False
        self._handshaking = self._over_tls = True
        seconds = self._around.seconds(Waiting.DOWNSTREAM_HANDSHAKE, hurried=hurried)
        self._bound.set(seconds, partial(self._handshake_late, seconds))
        try:
            self.transport.startTLS(self._around.server_tls)
        except Exception:
            self.transport.protocol = self  # a layer that is not whole would not tell us the end
            raise

    def handshakeCompleted(self) -> None:
        """The client is connected behind TLS; what it sends now came through it."""
        if self._handshaking:
            self._handshaking = False
            self._listening = True
            self._bound.clear()
            self.ready()

    def _handshake_late(self, seconds: float) -> None:
        self._fail_handshake(f"no TLS handshake within {seconds:g} s")
        self.give_up()

    def _fail_handshake(self, sentence: str) -> None:
        self._handshaking = self._listening = False
        self.handshake_failed(sentence)

    # To the last

    def see_off(self) -> None:
        """
        What was written is delivered; a client that is still sending is listened to for a while, or its system
        would throw our last reply away.  TLS has no half-close: there we say goodbye and read on until it answers.
        """
        self._listening = self._handshaking = False
        self._bound.set(self._around.close_seconds, self.does_not_close)
        if self._read_closed or self._over_tls:
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def does_not_close(self) -> None:
        """The client has been seen off for a while, and is still there."""
        self.give_up()

    def deliver(self, seconds: float, not_taken: Callable[[], None]) -> None:
        """
        The client is not listened to any longer, and its connection ends as soon as our system has all that was
        written, which it delivers by itself.  When it has not within `seconds`, that is said.
        """
        self._bound.set(seconds, not_taken)
        if self._over_tls:
            self._do_not_wait()
        else:
            self.transport.loseConnection()

    def dismiss(self, raw: bytes) -> None:
        """
        The client is told, and its connection ends without waiting for anything: somebody else needs what it takes.
        In the middle of a handshake it cannot be told.
        """
        if self._handshaking:
            self.give_up()
            return
        self._listening = False
        self._bound.set(self._around.close_seconds, self.give_up)
        try:
            self.transport.write(raw)
            self.transport.loseConnection()
            if self._over_tls:  # which waits for an answer to its goodbye
                self._do_not_wait()
        except Exception:  # noqa: BLE001 - whatever it was: who needs its place has nothing to do with it
            self.crashed()

    def _do_not_wait(self) -> None:
        """Our transports know how; with Twisted's, what is below its layer does not wait."""
        part = getattr(self.transport, "part", None)
        if part is None or self.transport.protocol is not self:
            self.transport.protocol.transport.loseConnection()
        else:
            part()

    def overhear(self, octets: int) -> None:
        """The client goes on talking though all was said."""
        self._drained += octets
        if self._drained > MAX_DRAINED_OCTETS:
            self.give_up()

    def give_up(self) -> None:
        """The connection ends now, delivered or not."""
        self._listening = self._handshaking = False
        self._bound.clear()
        if self._connected:
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Octets that nobody wants."""
        self.overhear(len(data))

    def readConnectionLost(self) -> None:
        """The client has closed its sending side."""
        self._read_closed = True
        if self._listening:
            self.client_ended()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our sending side is closed: we only wait for the client to close, too."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        self._connected = False
        self._said_goodbye = self._listening and self._over_tls and reason.check(ConnectionDone) is not None
        self._bound.clear()
        if self._handshaking:
            self._fail_handshake(describe_client_tls_failure(reason))
        self._listening = False
        self.client_gone()
