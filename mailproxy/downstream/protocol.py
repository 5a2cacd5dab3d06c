"""
The connection of one mail client: it runs a session, and carries out what the session decides.

One class for SMTP and POP3: what differs is the session.  Here are the sockets, the clock and the flow of octets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.deadline import Deadline
from mailproxy.errors import LimitReached, MailProxyError, UpstreamTimeout
from mailproxy.observe.sessions import SessionLog
from mailproxy.relay import Backpressure, Intake
from mailproxy.session.actions import (
    AbortDownstream,
    AbortUpstream,
    Action,
    CloseDownstream,
    OpenUpstream,
    ReleaseUpstream,
    Report,
    SendDownstream,
    SendUpstream,
    Session,
    Waiting,
)

MAX_DRAINED_OCTETS = 1024 * 1024
"""How much a client may go on sending behind the reply that ends its session before it is cut off."""

HANDSHAKE_SECONDS = 30.0
"""How long a client may take for the TLS handshake, where the listener wants one."""

_SESSION = "the session"
"""Who holds an intake while the session does not want to read."""

_UPSTREAM_WAITS = frozenset(
    {
        Waiting.UPSTREAM_REPLY,
        Waiting.UPSTREAM_DATA_REPLY,
        Waiting.UPSTREAM_FINAL_REPLY,
        Waiting.UPSTREAM_RSET_REPLY,
        Waiting.UPSTREAM_QUIT_REPLY,
        Waiting.UPSTREAM_BODY,
    }
)


class Upstream(Protocol):
    """A logged-in stream to a mail server; `upstream.stream.UpstreamStream` provides it."""

    capabilities: object
    transport: Any
    login: Any

    def hand_over(self, owner: Any, producer: Any) -> None:
        """Octets and the end of the connection are told to `owner` from now on, a full buffer to `producer`."""

    def write(self, raw: bytes) -> None:
        """Send exact octets."""

    def quoted(self, text: bytes) -> str:
        """Words of the mail server, fit for the log."""

    def concealed(self, text: bytes) -> bytes:
        """Words of the mail server, fit for its client."""

    def abort(self) -> None:
        """End at once."""

    def release(self, seconds: float) -> None:
        """End politely."""


@frozen
class Surroundings:
    """
    What all sessions of one listener share.

    `open_upstream` is this tenant's own way to this destination; its Deferred fires at once when it is cancelled.
    `timeouts` are seconds; a wait without an entry is bounded elsewhere.
    """

    clock: IReactorTime
    open_upstream: Callable[[], Deferred[Any]]
    timeouts: Mapping[Waiting, float]
    stall_seconds: float
    close_seconds: float
    upstream_quit_seconds: float


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class SessionProtocol(TwistedProtocol):
    """
    Joins one mail client to a session.

    Args:
        session: decides.
        around: what the listener's sessions share.
        log: of this session.
        done: called once, when the connection is gone and nothing is left to do for the session.
    """

    transport: Any

    def __init__(
        self, session: Session, around: Surroundings, log: SessionLog, done: Callable[[SessionProtocol], None]
    ) -> None:
        self._session = session
        self._around = around
        self._log = log
        self._done = done
        self._upstream: Upstream | None = None
        self._opening: Deferred[Any] | None = None
        self._deadline = Deadline(around.clock)
        self._closing = Deadline(around.clock)
        self._armed: tuple[int, bool] | None = None
        self._timeouts = around.timeouts
        self._pumping = False
        self._ended = False
        self._connected = False
        self._read_closed = False
        self._drained = 0

    # The mail client

    def connectionMade(self) -> None:
        """The client is connected; the session begins, behind TLS once the handshake is done."""
        self._connected = True
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self._intake = Intake(self.transport)
        self._to_downstream = self._backpressure(self._downstream_stalled)
        self._to_downstream.govern([self._intake])
        if ISSLTransport.providedBy(self.transport):
            self._closing.set(HANDSHAKE_SECONDS, self._give_up)
        else:
            self._begin()

    def handshakeCompleted(self) -> None:
        """The client is connected behind TLS."""
        self._closing.clear()
        self._begin()

    def _begin(self) -> None:
        # Not before the handshake: TLS would call itself full, and we would not read what it waits for.
        self.transport.registerProducer(self._to_downstream, True)
        self._tell(self._session.start)

    def dataReceived(self, data: bytes) -> None:
        """Octets of the client."""
        if not self._ended:
            self._tell(self._session.receive_downstream, data)
            return
        self._drained += len(data)
        if self._drained > MAX_DRAINED_OCTETS:
            self._give_up()

    def readConnectionLost(self) -> None:
        """The client has closed its sending side."""
        self._read_closed = True
        if self._ended:
            self.transport.loseConnection()
        else:
            self._tell(self._session.downstream_ended)

    def writeConnectionLost(self) -> None:
        """Our sending side is closed: we only wait for the client to close, too."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - the session cannot use it
        """The client is gone."""
        self._connected = False
        self._closing.clear()
        self._to_downstream.stopProducing()
        if self._ended:
            self._finish()
        else:
            self._tell(self._session.downstream_lost)

    # The mail server

    def upstream_received(self, chunk: bytes) -> None:
        """Octets of the mail server."""
        self._tell(self._session.receive_upstream, chunk)

    def upstream_lost(self, error: MailProxyError) -> None:
        """The mail server is gone."""
        self._forget_upstream()
        self._log.failed(error, self._session.waiting.value)
        self._tell(self._session.upstream_lost, error)

    def _opened(self, upstream: Upstream) -> None:
        self._opening = None
        self._upstream = upstream
        self._to_upstream = self._backpressure(self._upstream_stalled)
        self._to_upstream.govern([self._intake])
        self._upstream_intake = Intake(upstream.transport)
        self._to_downstream.govern([self._intake, self._upstream_intake])
        self._obey(upstream.login.destination.timeouts)
        self._log.quote = upstream.quoted
        self._session.conceal = upstream.concealed
        upstream.hand_over(self, self._to_upstream)
        self._tell(self._session.upstream_opened, upstream.capabilities)

    def _not_opened(self, failure: Failure) -> None:
        if self._opening is None:
            return  # we gave it up ourselves
        self._opening = None
        if not isinstance(failure.value, MailProxyError):
            failure.raiseException()
        self._log.failed(failure.value, "no session at the mail server")
        self._tell(self._session.upstream_failed, failure.value)

    def _obey(self, timeouts: Any) -> None:
        """The destination's own timeouts, where it has any, bound the waits for its mail server."""
        own = {} if timeouts.read is None else dict.fromkeys(_UPSTREAM_WAITS, timeouts.read)
        self._timeouts = {**self._around.timeouts, **own}
        if timeouts.write is not None:
            self._to_upstream.stall_seconds = timeouts.write

    def _forget_upstream(self) -> None:
        self._upstream = None
        self._to_upstream.stopProducing()
        self._to_downstream.govern([self._intake])

    def _upstream_stalled(self) -> None:
        upstream = self._upstream
        if upstream is not None:
            upstream.abort()
            self.upstream_lost(UpstreamTimeout("the mail server takes no more octets"))

    def _downstream_stalled(self) -> None:
        self._log.failed(LimitReached("the client takes no more octets"), self._session.waiting.value)
        self.transport.abortConnection()

    # The session's decisions

    def _tell(self, hear: Callable[..., None], *args: object) -> None:
        """The session hears of something, and what it decides is carried out; an error of ours ends it."""
        try:
            hear(*args)
            self._carry_out()
        except Exception:  # noqa: BLE001 - whatever it was: both legs end, nothing is half done
            self._log.crashed()
            self._crash()

    def _carry_out(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while (action := self._session.next_action()) is not None:
                _DEEDS[type(action)](self, action)
        finally:
            self._pumping = False
        if not self._ended:
            self._mind_reading()
            self._mind_the_clock()

    def _send_downstream(self, action: SendDownstream) -> None:
        if self._connected:
            self.transport.write(action.raw)

    def _send_upstream(self, action: SendUpstream) -> None:
        if self._upstream is not None:
            self._upstream.write(action.raw)

    def _open_upstream(self, _action: OpenUpstream) -> None:
        opening = self._opening = self._around.open_upstream()
        opening.addCallbacks(self._opened, self._not_opened)
        opening.addErrback(self._opening_crashed)

    def _opening_crashed(self, failure: Failure) -> None:
        self._log.crashed(failure)
        self._crash()

    def _release_upstream(self, _action: ReleaseUpstream) -> None:
        upstream = self._upstream
        if upstream is not None:
            self._forget_upstream()
            upstream.release(self._around.upstream_quit_seconds)

    def _abort_upstream(self, _action: AbortUpstream) -> None:
        upstream, opening = self._upstream, self._opening
        if upstream is not None:
            self._forget_upstream()
            upstream.abort()
        if opening is not None:
            self._opening = None
            opening.cancel()

    def _close_downstream(self, action: CloseDownstream) -> None:
        """
        What was written is delivered; a client that is still sending is listened to for a while, or its system
        would throw our last reply away.  TLS has no half-close: there we say goodbye and read on until it answers.
        """
        self._end(action.outcome)
        if not self._connected:
            self._finish()
            return
        self._closing.set(self._around.close_seconds, self._give_up)
        self._intake.release(_SESSION)
        self._to_downstream.stopProducing()
        self.transport.unregisterProducer()
        if self._read_closed or ISSLTransport.providedBy(self.transport):
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _abort_downstream(self, action: AbortDownstream) -> None:
        self._end(action.outcome)
        self._give_up()

    def _report(self, action: Report) -> None:
        self._log.report(action.event, action.fields)

    # Ends

    def stop(self) -> None:
        """Both legs end at once; no message is completed by that, and no deletion confirmed."""
        if not self._ended:
            self._abort_upstream(AbortUpstream())
            self._end("shutdown")
        self._give_up()

    def _crash(self) -> None:
        self._abort_upstream(AbortUpstream())
        self._end("internal_error")
        self._give_up()

    def _end(self, outcome: str) -> None:
        self._ended = True
        self._deadline.clear()
        self._log.ended(outcome)

    def _give_up(self) -> None:
        """The client's connection ends now, delivered or not."""
        self._closing.clear()
        if self._connected:
            self.transport.abortConnection()
        else:
            self._finish()

    def _finish(self) -> None:
        self._deadline.clear()
        self._closing.clear()
        self._done(self)

    # Reading and the clock

    def _backpressure(self, stalled: Callable[[], None]) -> Backpressure:
        return Backpressure(
            self._around.clock,
            stall_seconds=self._around.stall_seconds,
            stalled=stalled,
            changed=self._flow_changed,
        )

    def _flow_changed(self) -> None:
        if not self._ended:
            self._mind_the_clock()

    def _mind_reading(self) -> None:
        _set(self._intake, self._session.reading)
        if self._upstream is not None:
            _set(self._upstream_intake, self._session.reading_upstream)

    def _mind_the_clock(self) -> None:
        """
        The current wait has its deadline; while the octets it waits for are held back by the other leg, it has none.
        """
        waiting = self._session.waiting
        suspended = self._held_back(waiting)
        wait = (self._session.wait_serial, suspended)
        if wait == self._armed:
            return
        self._armed = wait
        seconds = None if suspended else self._timeouts.get(waiting)
        if seconds is None:
            self._deadline.clear()
        else:
            self._deadline.set(seconds, self._expired)

    def _held_back(self, waiting: Waiting) -> bool:
        if waiting is Waiting.DOWNSTREAM_CONTENT:
            return self._upstream is not None and self._to_upstream.full
        return waiting in _UPSTREAM_WAITS and self._to_downstream.full

    def _expired(self) -> None:
        self._tell(self._session.expired)


def _set(intake: Intake, reading: bool) -> None:  # noqa: FBT001 - the value of a property
    if reading:
        intake.release(_SESSION)
    else:
        intake.hold(_SESSION)


# ruff: noqa: SLF001 - the table below is the class's own, beside it only because methods must exist first
_DEEDS: Mapping[type[Action], Callable[[SessionProtocol, Any], None]] = {
    SendDownstream: SessionProtocol._send_downstream,
    SendUpstream: SessionProtocol._send_upstream,
    OpenUpstream: SessionProtocol._open_upstream,
    ReleaseUpstream: SessionProtocol._release_upstream,
    AbortUpstream: SessionProtocol._abort_upstream,
    CloseDownstream: SessionProtocol._close_downstream,
    AbortDownstream: SessionProtocol._abort_downstream,
    Report: SessionProtocol._report,
}
