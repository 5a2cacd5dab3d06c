"""
From a destination of one tenant to a logged-in stream: look up, connect, log in; once more after a refused token.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

from twisted.internet import error as tcp
from twisted.internet.defer import Deferred

from mailproxy.destination.model import Destination, Login, LoginSource, TLSMode
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
from mailproxy.observe.observation import HoldOffFigures
from mailproxy.observe.text import printable
from mailproxy.sockets import connecting
from mailproxy.tls import ClientTLS, Resumption, StrictClientTLS
from mailproxy.upstream.attempt import Attempt
from mailproxy.upstream.channel import Channel
from mailproxy.upstream.dial import dial, look_up
from mailproxy.upstream.holdoff import HoldOffSettings, copied
from mailproxy.upstream.reach import Reach
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.upstream.trials import Trials
from mailproxy.upstream.turns import Turns
from mailproxy.upstream.witness import Witness
from mailproxy.wire.introduction import Introduction

MakeStream = Callable[[Login, "StrictClientTLS | None"], UpstreamStream]


class Connector:
    """
    Opens streams to the mail server of one destination, as one tenant.

    Args:
        reactor: connects, resolves names and tells the time.
        way: everything that the configuration says of the destination and the tenant.
        logins: where to log in, and as whom; this tenant's own.
        tls: for the connections.
        make_stream: the protocol for a login; it is given the options for STARTTLS where it will need them.
        is_ours: whether an address that we connected to, from another, is one of our own listeners.
        login_seconds: for all of it, from the look-up to the end of the login.
        connect_seconds: for a TCP connection where the destination does not say.
        random: gives numbers from 0 to 1.
        max_pending_logins: attempts under way at a time; further ones wait their turn, within `login_seconds`.
        hold_off: how long to leave a mail server alone.
        connecting: makes of the reactor what TCP connections come from.
    """

    def __init__(  # noqa: PLR0913 - all that is decided about connections is decided in one place
        self,
        reactor: Any,
        way: Hashable,
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
        connecting: Callable[[Any], Any] = connecting,
    ) -> None:
        self._reactor = reactor
        self._connecting = connecting(reactor)
        self._resumption = Resumption(reactor.seconds)
        self._way = way
        self._channel: Channel | None = None
        self._logins = logins
        self._tls = tls
        self._make_stream = make_stream
        self._is_ours = is_ours
        self._login_seconds = login_seconds
        self._connect_seconds = connect_seconds
        self._reach = Reach(reactor, random, hold_off)
        self._trials = Trials(reactor, random, hold_off)
        self._turns = Turns(max_pending_logins)
        self.witness = Witness(reactor.seconds, self._held_until)
        self._diagnoses = Diagnoses(lambda host: classify_lookup_failure(reactor, host))

    def open(self, seconds: float | None = None, *, client: Introduction | None = None) -> Deferred[UpstreamStream]:
        """
        A stream that is logged in; it fails with a `MailProxyError`.  Cancelling ends the attempt, and fires at once.

        `seconds`: there is less time than usual.  `client`: of whom the mail server is told, as the stream knows how.
        """
        return Attempt(self, self._reactor, self._login_seconds if seconds is None else seconds, client).start()

    def held_off(self) -> HoldOffFigures:
        """Whether mail server and login are left alone at the moment."""
        return HoldOffFigures(server=self._reach.held_off, login=self._trials.held_off)

    async def channel(self) -> Channel:
        """What a connection would be made with now; the same object as long as nothing has changed."""
        return self._same(Channel(self._way, await self.login(), self._tls.trust()))

    def _same(self, channel: Channel) -> Channel:
        if self._channel != channel:
            self._channel = channel
        return self._channel

    async def login(self) -> Login:
        """Where to log in now, and as whom."""
        try:
            return await self._logins.login()
        except MailProxyError as error:
            self.witness.failed(error)
            raise

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
        self.witness.begins(login)
        try:
            stream = await self.log_in(login, attempt)
        except BaseException as error:
            found, late = attempt.verdict(error)
            self.witness.failed(found)
            self._reach.leave(destination, attempt, found, late=late)
            raise
        self.witness.succeeded(stream)
        self._reach.leave(destination, attempt, None)
        return stream

    def _held_until(self) -> float | None:
        pauses = [until for until in (self._reach.held_until, self._trials.held_until) if until is not None]
        return max(pauses, default=None)

    async def log_in(self, login: Login, attempt: Attempt) -> UpstreamStream:
        """One connection, one login, now, whatever happened before and whoever waits."""
        destination = login.destination
        try:
            trust = self._tls.trust()
            options = self._tls.options(destination.host, destination.tls, resumption=self._resumption)
        except ValueError as error:
            raise DestinationUnusable("host", str(error)) from error
        implicit = destination.tls.mode is TLSMode.IMPLICIT
        stream = self._make_stream(login, None if implicit else options)
        stream.tls_at_once = options if implicit else None
        stream.channel = self._same(Channel(self._way, login, trust))
        stream.introduction = attempt.client
        await self._dial(stream, destination, attempt)
        attempt.stream = stream
        return await stream.ready

    async def addresses(self, destination: Destination) -> list[Any]:
        """
        Where the mail server may be; at least one address.

        Raises:
            MailProxyError: the name service knows none, or does not answer.
        """
        addresses = await look_up(self._reactor, destination.host, destination.port)
        if not addresses:
            wrong = await self._diagnoses.of(destination.host)
            raise copied(wrong, str(wrong))
        return addresses

    async def _dial(self, stream: UpstreamStream, destination: Destination, attempt: Attempt) -> None:
        host, port = destination.host, destination.port
        if not _is_host_name(host):
            raise DestinationUnusable("host", f"{printable(host)} is no host name")
        attempt.begin(f"looking up {host}", NameLookupFailed, at_server=True)
        addresses = await self.addresses(destination)
        attempt.begin(f"connecting to {host}:{port}", Unreachable, at_server=True)
        seconds = destination.timeouts.connect or self._connect_seconds
        try:
            await dial(self._connecting, addresses, seconds, stream)
        except (tcp.ConnectError, tcp.TimeoutError, OSError) as error:
            raise _no_connection(host, port, error) from error
        if self._is_ours(stream.transport.getPeer(), stream.transport.getHost()):
            stream.abort()
            raise LoopDetected(f"{host}:{port} is one of our own listeners")


@lru_cache
def _is_host_name(host: str) -> bool:
    """Whether a name service can be asked for it: no label is empty, or longer than 63 octets."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _no_connection(host: str, port: int, error: Exception) -> MailProxyError:
    """Whose fault it is that there is no connection, and why there is none."""
    number = getattr(error, "osError", None) or getattr(error, "errno", None)
    if number in OUT_OF_RESOURCES:
        return LimitReached(f"no connection to {host}:{port}: {os.strerror(number).lower()}")
    return Unreachable(f"no connection to {host}:{port}: {_why(error)}")


def _why(error: Exception) -> str:
    words = {
        tcp.ConnectionRefusedError: "connection refused",
        tcp.NoRouteError: "no route to the host",
        tcp.TCPTimedOutError: "no answer in time",
        tcp.TimeoutError: "no answer in time",
    }
    return next((text for kind, text in words.items() if isinstance(error, kind)), type(error).__name__)
