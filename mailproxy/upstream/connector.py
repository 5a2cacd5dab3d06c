"""
From a destination of one tenant to a logged-in stream: look up, connect, log in; once more after a refused token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionRefusedError,  # noqa: A004 - Twisted's own, which is not the builtin
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
    TimeoutError,  # noqa: A004 - as above
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from mailproxy.deadline import Deadline
from mailproxy.destination.model import Login, LoginSource, TLSMode
from mailproxy.errors import (
    DestinationUnavailable,
    DestinationUnusable,
    LoopDetected,
    MailProxyError,
    NameLookupFailed,
    RefusedLogin,
    RefusedSession,
    Unreachable,
)
from mailproxy.names import classify_lookup_failure
from mailproxy.observe.text import printable
from mailproxy.tls import ClientTLS, StrictClientTLS
from mailproxy.upstream.holdoff import HoldOff
from mailproxy.upstream.stream import UpstreamStream

MakeStream = Callable[[Login, "StrictClientTLS | None"], UpstreamStream]


class UpstreamFactory(ClientFactory):
    """Builds the one protocol of one connection, and lets go of it."""

    noisy = False

    def __init__(self, stream: UpstreamStream) -> None:
        self._stream: UpstreamStream | None = stream

    def buildProtocol(self, addr: object) -> Any:  # noqa: ARG002, D102 - Twisted's
        stream, self._stream = self._stream, None
        return stream


class Connector:
    """
    Opens streams to the mail server of one destination, as one tenant.

    Args:
        reactor: connects, resolves names and tells the time.
        logins: where to log in, and as whom; this tenant's own.
        tls: for the connections.
        make_stream: the protocol for a login; it is given the options for STARTTLS where it will need them.
        is_ours: whether an address that we connected to, from another, is one of our own listeners.
        login_seconds: for all of it, from the look-up to the end of the login.
        connect_seconds: for a TCP connection where the destination does not say.
        random: gives numbers from 0 to 1.
    """

    def __init__(
        self,
        reactor: Any,
        logins: LoginSource,
        tls: ClientTLS,
        make_stream: MakeStream,
        *,
        is_ours: Callable[[Any, Any], bool],
        login_seconds: float,
        connect_seconds: float,
        random: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._logins = logins
        self._tls = tls
        self._make_stream = make_stream
        self._is_ours = is_ours
        self._login_seconds = login_seconds
        self._connect_seconds = connect_seconds
        self._hold_off = HoldOff(reactor, random)

    def open(self) -> Deferred[UpstreamStream]:
        """
        A stream that is logged in; it fails with a `MailProxyError`.  Cancelling ends the attempt, and fires at once.
        """
        return _Attempt(self, self._reactor, self._login_seconds).start()

    async def login(self) -> Login:
        """Where to log in now, and as whom."""
        return await self._logins.login()

    async def replace(self, refused: Login) -> Login | None:
        """What to try once after a refusal."""
        return await self._logins.replace(refused)

    async def try_login(self, login: Login, attempt: _Attempt) -> UpstreamStream:
        """One connection, one login, unless this very login was refused a short while ago."""
        self._hold_off.enter(login)
        try:
            stream = await self._connect(login, attempt)
        except BaseException as error:
            self._hold_off.leave(login, error)
            raise
        self._hold_off.leave(login, None)
        return stream

    async def _connect(self, login: Login, attempt: _Attempt) -> UpstreamStream:
        destination = login.destination
        try:
            options = self._tls.options(destination.host, destination.tls)
        except ValueError as error:
            raise DestinationUnusable("host", str(error)) from error
        implicit = destination.tls.mode is TLSMode.IMPLICIT
        stream = self._make_stream(login, None if implicit else options)
        endpoint: Any = HostnameEndpoint(
            self._reactor, destination.host, destination.port, destination.timeouts.connect or self._connect_seconds
        )
        if implicit:
            endpoint = wrapClientTLS(options, endpoint)
        attempt.begin(f"connecting to {destination.host}:{destination.port}", Unreachable)
        await self._connected(endpoint, stream, login, attempt)
        attempt.stream = stream
        return await stream.ready

    async def _connected(self, endpoint: Any, stream: UpstreamStream, login: Login, attempt: _Attempt) -> None:
        host, port = login.destination.host, login.destination.port
        try:
            await endpoint.connect(UpstreamFactory(stream))
        except DNSLookupError as error:
            if attempt.over:  # what Twisted says when it is cancelled while it looks the name up
                attempt.begin(f"looking up {host}", NameLookupFailed)
                raise CancelledError from error
            raise await classify_lookup_failure(self._reactor, host) from error
        except (ConnectError, TimeoutError) as error:
            raise Unreachable(f"no connection to {host}:{port}: {_why(error)}") from error
        except ValueError as error:
            raise DestinationUnusable("host", f"{printable(host)} is no host name") from error
        if self._is_ours(stream.transport.getPeer(), stream.transport.getHost()):
            stream.abort()
            raise LoopDetected(f"{host}:{port} is one of our own listeners")


_LATE = {
    DestinationUnavailable: "credentials",
    NameLookupFailed: "answer of the name service",
    Unreachable: "connection",
    RefusedSession: "login",
}
"""What there was not in time, for each way of being late."""


class _Attempt:
    """
    One call of `Connector.open`: its deadline, what it is doing, and its one answer.
    """

    def __init__(self, connector: Connector, clock: IReactorTime, seconds: float) -> None:
        self._connector = connector
        self._seconds = seconds
        self._deadline = Deadline(clock)
        self._answer: Deferred[UpstreamStream] = Deferred(lambda _: self._stop())
        self.stream: UpstreamStream | None = None
        self.over = False
        """Nobody waits for it any more."""
        self.begin("looking up the destination", DestinationUnavailable)

    def start(self) -> Deferred[UpstreamStream]:
        """Run until there is a stream, an error, or no time left."""
        self._deadline.set(self._seconds, self._expired)
        self._work = Deferred.fromCoroutine(self._run())
        self._work.addCallbacks(self._succeeded, self._failed)
        return self._answer

    def begin(self, doing: str, late: type[MailProxyError]) -> None:
        """Another step begins; being late in it is this error."""
        self._doing = doing
        self._late = late
        self.stream = None

    async def _run(self) -> UpstreamStream:
        login = await self._connector.login()
        try:
            return await self._connector.try_login(login, self)
        except RefusedLogin as error:
            if error.temporary:
                raise
            self.begin("getting a fresh token", DestinationUnavailable)
            fresh = await self._connector.replace(login)
            if fresh is None:
                raise
        return await self._connector.try_login(fresh, self)

    def _succeeded(self, stream: UpstreamStream) -> None:
        if self.over:
            stream.abort()
            return
        self._end()
        self._answer.callback(stream)

    def _failed(self, failure: Failure) -> None:
        if self.over:
            failure.trap(MailProxyError, CancelledError, ConnectingCancelledError)
            return
        self._end()
        self._answer.errback(failure)

    def _expired(self) -> None:
        self._stop()
        self._answer.errback(self._lateness())

    def _stop(self) -> None:
        self._end()
        self._work.cancel()

    def _end(self) -> None:
        self.over = True
        self._deadline.clear()

    def _lateness(self) -> MailProxyError:
        doing, late = self._doing, self._late
        if self.stream is not None:
            doing, late = self.stream.doing, RefusedSession
        return late(f"no {_LATE[late]} within {self._seconds:g} s: we were {doing}")


def _why(error: Exception) -> str:
    words = {
        ConnectionRefusedError: "connection refused",
        NoRouteError: "no route to the host",
        TCPTimedOutError: "no answer in time",
        TimeoutError: "no answer in time",
    }
    return next((text for kind, text in words.items() if isinstance(error, kind)), type(error).__name__)
