"""
From a destination of one tenant to a logged-in stream: look up, connect, log in; once more after a refused token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectError,
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
    RefusedLogin,
    RefusedSession,
    Unreachable,
)
from mailproxy.names import classify_lookup_failure
from mailproxy.tls import ClientTLS, StrictClientTLS
from mailproxy.upstream.stream import UpstreamStream

MakeStream = Callable[[Login, "StrictClientTLS | None"], UpstreamStream]


class UpstreamFactory(ClientFactory):
    """Builds the one protocol of one connection."""

    noisy = False

    def __init__(self, stream: UpstreamStream) -> None:
        self.stream = stream

    def buildProtocol(self, addr: object) -> Any:  # noqa: ARG002, D102 - Twisted's
        return self.stream


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
    ) -> None:
        self._reactor = reactor
        self._logins = logins
        self._tls = tls
        self._make_stream = make_stream
        self._is_ours = is_ours
        self._login_seconds = login_seconds
        self._connect_seconds = connect_seconds

    def open(self) -> Deferred[UpstreamStream]:
        """
        A stream that is logged in; it fails with a `MailProxyError`.  Cancelling ends the attempt.
        """
        return _Attempt(self, self._reactor, self._login_seconds).start()

    async def login(self) -> Login:
        """Where to log in now, and as whom."""
        return await self._logins.login()

    async def replace(self, refused: Login) -> Login | None:
        """What to try once after a refusal."""
        return await self._logins.replace(refused)

    async def connect(self, login: Login, attempt: _Attempt) -> UpstreamStream:
        """One connection, one login."""
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
        attempt.doing = f"connecting to {destination.host}:{destination.port}"
        await self._connected(endpoint, stream, login)
        attempt.stream = stream
        return await stream.ready

    async def _connected(self, endpoint: Any, stream: UpstreamStream, login: Login) -> None:
        try:
            await endpoint.connect(UpstreamFactory(stream))
        except DNSLookupError as error:
            raise await classify_lookup_failure(self._reactor, login.destination.host) from error
        except (ConnectError, TimeoutError) as error:
            raise Unreachable(
                f"no connection to {login.destination.host}:{login.destination.port}: {_why(error)}"
            ) from error
        if self._is_ours(stream.transport.getPeer(), stream.transport.getHost()):
            stream.abort()
            raise LoopDetected(f"{login.destination.host}:{login.destination.port} is one of our own listeners")


class _Attempt:
    """
    One call of `Connector.open`: its deadline, and what it was doing when that passed.
    """

    def __init__(self, connector: Connector, clock: IReactorTime, seconds: float) -> None:
        self._connector = connector
        self._seconds = seconds
        self._late = False
        self._result: Deferred[UpstreamStream] | None = None
        self._deadline = Deadline(clock, self._expired)
        self.doing = "looking up the destination"
        self.stream: UpstreamStream | None = None

    def start(self) -> Deferred[UpstreamStream]:
        """Run until there is a stream, an error, or no time left."""
        self._deadline.set(self._seconds)
        self._result = Deferred.fromCoroutine(self._run())
        return self._result.addBoth(self._done)

    async def _run(self) -> UpstreamStream:
        login = await self._connector.login()
        try:
            return await self._connector.connect(login, self)
        except RefusedLogin as error:
            if error.temporary:
                raise
            self.doing, self.stream = "getting a fresh token", None
            fresh = await self._connector.replace(login)
            if fresh is None:
                raise
        return await self._connector.connect(fresh, self)

    def _expired(self) -> None:
        self._late = True
        assert self._result is not None
        self._result.cancel()

    def _done(self, result: UpstreamStream | Failure) -> UpstreamStream | Failure:
        self._deadline.clear()
        if not self._late or not isinstance(result, Failure):
            return result
        return Failure(self._lateness())

    def _lateness(self) -> MailProxyError:
        seconds = self._seconds
        if self.stream is not None:
            return RefusedSession(f"no login within {seconds:g} s: we were {self.stream.doing}")
        if self.doing.startswith("connecting"):
            return Unreachable(f"no connection within {seconds:g} s: we were {self.doing}")
        return DestinationUnavailable(f"no credentials within {seconds:g} s: we were {self.doing}")


def _why(error: Exception) -> str:
    words = {
        ConnectionRefusedError: "connection refused",
        NoRouteError: "no route to the host",
        TCPTimedOutError: "no answer in time",
        TimeoutError: "no answer in time",
    }
    return next((text for kind, text in words.items() if isinstance(error, kind)), type(error).__name__)
