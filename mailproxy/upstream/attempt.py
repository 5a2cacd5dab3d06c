"""
One attempt to get a logged-in stream: its deadline, what it is doing, and its one answer.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from mailproxy.deadline import Deadline
from mailproxy.destination.model import Login
from mailproxy.errors import (
    DestinationUnavailable,
    LimitReached,
    MailProxyError,
    NameLookupFailed,
    RefusedLogin,
    RefusedSession,
    Unreachable,
)
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.introduction import Introduction

_LATE = {
    DestinationUnavailable: "credentials",
    LimitReached: "turn",
    NameLookupFailed: "answer of the name service",
    Unreachable: "connection",
    RefusedSession: "login",
}
"""What there was not in time, for each way of being late."""


class Steps(Protocol):
    """What an attempt consists of."""

    async def login(self) -> Login:
        """Where to log in now, and as whom."""

    async def replace(self, refused: Login) -> Login | None:
        """What to try once after a refusal."""

    async def try_login(self, login: Login, attempt: Attempt) -> UpstreamStream:
        """One connection, one login."""


class Attempt:
    """
    Args:
        steps: to take.
        clock: tells the time.
        seconds: for all of it.
        client: of whom the mail server is told, where it is told of anybody.
    """

    def __init__(self, steps: Steps, clock: IReactorTime, seconds: float, client: Introduction | None = None) -> None:
        self.client = client
        self._steps = steps
        self._clock = clock
        self._seconds = seconds
        self._deadline = Deadline(clock)
        self._answer: Deferred[UpstreamStream] = Deferred(lambda _: self._stop())
        self._expired = False
        self._since: float | None = None
        self._kept_waiting: tuple[str, type[MailProxyError]] | None = None
        self._login: Deferred[UpstreamStream] | None = None
        self._refusal: RefusedLogin | None = None
        self.stream: UpstreamStream | None = None
        self.over = False
        """Nobody waits for it any more."""
        self.begin("looking up the destination", DestinationUnavailable)

    def start(self) -> Deferred[UpstreamStream]:
        """Run until there is a stream, an error, or no time left."""
        self._deadline.set(self._seconds, self._expire)
        self._work = Deferred.fromCoroutine(self._run())
        self._work.addCallbacks(self._succeeded, self._failed)
        return self._answer

    def begin(self, doing: str, late: type[MailProxyError], *, at_server: bool = False) -> None:
        """Another step begins; being late in it is this error.  `at_server` says that it is up to the mail server."""
        self._doing = doing
        self._late = late
        self._begun = self._clock.seconds()
        self.stream = None
        if not at_server:
            self._since = None
        elif self._since is None:
            self._since = self._clock.seconds()

    def admitted(self) -> None:
        """It is our turn; where waiting for it took most of the time, that is why there is too little left."""
        late = self._clock.seconds() - self._begun > self._seconds / 2
        self._kept_waiting = (self._doing, self._late) if late else None

    async def log_in(self, login: Coroutine[Deferred[Any], Any, UpstreamStream]) -> UpstreamStream:
        """
        What the login brings, or the error with which `refused` ended it.

        Raises:
            MailProxyError: there is no stream.
        """
        self._refusal = None
        self._login = Deferred.fromCoroutine(login)
        try:
            return await self._login
        except BaseException:
            if self._refusal is not None and not self.over:
                raise self._refusal from None
            raise
        finally:
            self._login = None

    @property
    def stopped(self) -> bool:
        """Whether somebody else has ended what is going on."""
        return self.over or self._refusal is not None

    def refused(self, error: RefusedLogin) -> None:
        """As `trials.Contender`."""
        shown = self.stream is not None and self.stream.shown
        if self._login is not None and not shown:
            self._refusal = error
            self._login.cancel()

    def verdict(self, error: BaseException) -> tuple[BaseException, bool]:
        """
        What an error of ours says to others, and whether it is that the mail server used up the time.

        An attempt that was ended has found nothing out, unless most of its time was the mail server's.
        """
        if not self.stopped:
            return error, False
        if self._expired and self._since is not None and self._clock.seconds() - self._since >= self._seconds / 2:
            return self._late_error(), True
        return CancelledError(), False

    async def _run(self) -> UpstreamStream:
        login = await self._steps.login()
        try:
            return await self._steps.try_login(login, self)
        except RefusedLogin as error:
            if error.temporary:
                raise
            self.begin("getting a fresh token", DestinationUnavailable)
            fresh = await self._steps.replace(login)
            if fresh is None:
                raise
        return await self._steps.try_login(fresh, self)

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

    def _expire(self) -> None:
        self._expired = True
        self._stop()
        self._answer.errback(self._late_error())

    def _stop(self) -> None:
        self._end()
        self._work.cancel()

    def _end(self) -> None:
        self.over = True
        self._deadline.clear()

    def _late_error(self) -> MailProxyError:
        doing, late = self._doing, self._late
        if self.stream is not None:
            doing, late = self.stream.doing, RefusedSession
        if self._kept_waiting is not None:
            doing, late = self._kept_waiting
        seconds = round(self._seconds, 1)  # what is left of them, where others were waited for
        seen = () if self.stream is None else self.stream.tls_seen
        return late(f"no {_LATE[late]} within {seconds:g} s: we were {doing}").having_seen(*seen)
