"""
From a destination of one tenant to a logged-in stream: look up, connect, log in; once more after a refused token.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,  # noqa: A004 - Twisted's own, which is not the builtin
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
    TimeoutError,  # noqa: A004 - as above
)
from twisted.internet.protocol import ClientFactory

from mailproxy.destination.model import Login, LoginSource, TLSMode
from mailproxy.errors import (
    DestinationUnusable,
    LimitReached,
    LoopDetected,
    MailProxyError,
    NameLookupFailed,
    RefusedSession,
    Unreachable,
)
from mailproxy.names import OUT_OF_RESOURCES, Diagnoses, classify_lookup_failure
from mailproxy.observe.text import printable
from mailproxy.tls import ClientTLS, StrictClientTLS
from mailproxy.upstream.attempt import Attempt
from mailproxy.upstream.holdoff import HoldOffSettings, copied
from mailproxy.upstream.reach import Reach
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.upstream.trials import Trials
from mailproxy.upstream.turns import Turns

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
        max_pending_logins: attempts under way at a time; further ones wait their turn, within `login_seconds`.
        hold_off: how long to leave a mail server alone.
    """

    def __init__(  # noqa: PLR0913 - all that is decided about connections is decided in one place
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
        max_pending_logins: int,
        hold_off: HoldOffSettings,
    ) -> None:
        self._reactor = reactor
        self._logins = logins
        self._tls = tls
        self._make_stream = make_stream
        self._is_ours = is_ours
        self._login_seconds = login_seconds
        self._connect_seconds = connect_seconds
        self._reach = Reach(reactor, random, hold_off)
        self._trials = Trials(reactor, random, hold_off)
        self._turns = Turns(max_pending_logins)
        self._diagnoses = Diagnoses(lambda host: classify_lookup_failure(reactor, host))

    def open(self) -> Deferred[UpstreamStream]:
        """
        A stream that is logged in; it fails with a `MailProxyError`.  Cancelling ends the attempt, and fires at once.
        """
        return Attempt(self, self._reactor, self._login_seconds).start()

    async def login(self) -> Login:
        """Where to log in now, and as whom."""
        return await self._logins.login()

    async def replace(self, refused: Login) -> Login | None:
        """What to try once after a refusal."""
        return await self._logins.replace(refused)

    async def try_login(self, login: Login, attempt: Attempt) -> UpstreamStream:
        """
        One connection, one login, if it may be tried now.

        Others may have to find out first whether the login is good, and we may have to wait for our turn.
        """
        self._reach.check(login.destination)
        attempt.begin("waiting for another session to try the same login", RefusedSession)
        await self._trials.enter(login, attempt)
        try:
            stream = await attempt.log_in(self._in_turn(login, attempt))
        except BaseException as error:
            found, late = attempt.verdict(error)
            self._trials.leave(login, attempt, found, late=late)
            raise
        self._trials.leave(login, attempt, None)
        return stream

    async def _in_turn(self, login: Login, attempt: Attempt) -> UpstreamStream:
        attempt.begin("waiting for our turn to log in", LimitReached)
        await self._turns.take()
        attempt.admitted()
        try:
            return await self._if_reached(login, attempt)
        finally:
            self._turns.give_back()

    async def _if_reached(self, login: Login, attempt: Attempt) -> UpstreamStream:
        destination = login.destination
        self._reach.enter(destination, attempt)
        try:
            stream = await self._connect(login, attempt)
        except BaseException as error:
            found, late = attempt.verdict(error)
            self._reach.leave(destination, attempt, found, late=late)
            raise
        self._reach.leave(destination, attempt, None)
        return stream

    async def _connect(self, login: Login, attempt: Attempt) -> UpstreamStream:
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
        attempt.begin(f"connecting to {destination.host}:{destination.port}", Unreachable, at_server=True)
        await self._connected(endpoint, stream, login, attempt)
        attempt.stream = stream
        return await stream.ready

    async def _connected(self, endpoint: Any, stream: UpstreamStream, login: Login, attempt: Attempt) -> None:
        host, port = login.destination.host, login.destination.port
        try:
            await endpoint.connect(UpstreamFactory(stream))
        except DNSLookupError as error:
            if attempt.stopped:  # what Twisted says when it is cancelled while it looks the name up
                attempt.begin(f"looking up {host}", NameLookupFailed, at_server=True)
                raise CancelledError from error
            wrong = await self._diagnoses.of(host)
            raise copied(wrong, str(wrong)) from error
        except (ConnectError, TimeoutError, OSError) as error:
            raise _no_connection(host, port, error) from error
        except ValueError as error:
            raise DestinationUnusable("host", f"{printable(host)} is no host name") from error
        if self._is_ours(stream.transport.getPeer(), stream.transport.getHost()):
            stream.abort()
            raise LoopDetected(f"{host}:{port} is one of our own listeners")


def _no_connection(host: str, port: int, error: Exception) -> MailProxyError:
    """Whose fault it is that there is no connection, and why there is none."""
    number = getattr(error, "osError", None) or getattr(error, "errno", None)
    if number in OUT_OF_RESOURCES:
        return LimitReached(f"no connection to {host}:{port}: {os.strerror(number).lower()}")
    return Unreachable(f"no connection to {host}:{port}: {_why(error)}")


def _why(error: Exception) -> str:
    words = {
        ConnectionRefusedError: "connection refused",
        NoRouteError: "no route to the host",
        TCPTimedOutError: "no answer in time",
        TimeoutError: "no answer in time",
    }
    return next((text for kind, text in words.items() if isinstance(error, kind)), type(error).__name__)
