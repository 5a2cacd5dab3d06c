"""
Connections to one mail server for one login, used by one session after the other.

Theory of operation
-------------------

Most sessions send one small message, and nearly all that it costs is the connection upstream: handshake and login.  So
a connection goes on to the next session when the one before has left it in good order:

    attempt --logged in--> in use --left, sound--> at rest --claimed--> in use
                                  --left inside a transaction--> RSET --250--> at rest
                                  --aborted, worn out, unsound--> gone
                                                   at rest --spoken, closed, too old--> gone

Whoever comes claims a connection: one at rest, if it was made with exactly what would be used now (`Channel`), the
youngest first, so that the oldest may go.  Else one is made.  Claims are not tied to attempts: a connection that is
free goes to who has waited longest, and an attempt that nobody needs any more ends at rest.  There are never fewer
attempts than claims that know what they want, unless there may be no more connections: then claims wait, and sessions
that hold a connection between two transactions are asked to let go of it.

One pool belongs to one destination of one tenant, and nothing in it is ever seen by another.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from itertools import count
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.deadline import Deadline
from mailproxy.errors import MailProxyError
from mailproxy.observe.observation import PoolFigures
from mailproxy.upstream.channel import Channel
from mailproxy.upstream.claims import Claim, Claims
from mailproxy.upstream.hosted import most_connections
from mailproxy.upstream.known import Known
from mailproxy.upstream.resting import Reset, Resting, Shelf
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.smtp import Extensions

MOST_REFUSALS = 5
"""
So often the mail server may have said no since it last took a message.  It counts that for the connection, whoever it
was: Postfix answers more and more slowly from the tenth time on, and hangs up at the twentieth.
"""

_log = Logger(namespace="mailproxy.upstream")


@frozen
class PoolSettings:
    """
    How long connections are kept, and how many.

    `connections` 0 is as many as the mail server's service is known to allow, else as many as sessions need.  What is
    known is divided among `workers`; the other numbers are this process's own.
    """

    connections: int
    messages: int
    age_seconds: float
    idle_seconds: float
    min_idle: int
    workers: int = 1


class Makes(Protocol):
    """Makes connections; `upstream.connector.Connector` does."""

    def open(self, seconds: float) -> Deferred[UpstreamStream]:
        """A stream that is logged in within so many seconds."""

    async def channel(self) -> Channel:
        """What a connection would be made with now."""


class Pool:
    """
    The way to a mail server; see `downstream.surroundings.Upstreams`.

    Args:
        clock: tells the time.
        connector: makes connections.
        settings: bounds.
        shelf: for those at rest, of the whole process.
        wait_seconds: how long a session waits for a connection.
        quit_seconds: how long the mail server has to answer our farewell.
        worked: hears of each connection that comes back in good order.
    """

    def __init__(
        self,
        clock: IReactorTime,
        connector: Makes,
        settings: PoolSettings,
        shelf: Shelf,
        *,
        wait_seconds: float,
        quit_seconds: float,
        worked: Callable[[], None] | None = None,
    ) -> None:
        self._clock = clock
        self._connector = connector
        self._worked = worked
        self._settings = settings
        self._shelf = shelf
        self._wait_seconds = wait_seconds
        self._quit_seconds = quit_seconds
        self._claims = Claims()
        self._numbers = count(1)
        """Of claims and attempts, which came before which."""
        self._attempts: dict[Deferred[UpstreamStream], int] = {}
        self._streams: dict[UpstreamStream, None] = {}
        self._resting: list[Resting] = []
        """The youngest connection last."""
        self._most: int | None = settings.connections or None
        self._channel: Channel | None = None
        """What was looked up last."""
        self._known = Known(clock)
        self._warm_from: float | None = None
        """From then on connections are kept ready; None before anybody has wanted one."""
        self._made_so_far = self._reused_so_far = 0
        self._closed = False
        self._serving = False
        self._sweep = Deadline(clock)
        self._next_sweep: float | None = None

    # What sessions ask for

    def open(self, *, fresh: bool = False) -> Deferred[UpstreamStream]:
        """
        A stream that is logged in; it fails with a `MailProxyError`.  Cancelling gives the claim up.

        Args:
            fresh: one that nobody has used before.
        """
        claim = Claim(self._clock, next(self._numbers), self._wait_seconds, self._left, fresh=fresh)
        self._claims.add(claim)
        looking = Deferred.fromCoroutine(self._connector.channel())
        looking.addCallbacks(self._looked_up, self._not_looked_up, callbackArgs=(claim,), errbackArgs=(claim,))
        if claim in self._claims:
            claim.bound(self._late)
        return claim.answer

    def take_back(
        self, stream: UpstreamStream, *, messages: int, taken: bool, refusals: int, reset: bool, sound: bool
    ) -> None:
        """
        A session is done with it.

        Args:
            stream: of `open`; nothing is under way on it.
            messages: how many mail transactions this session has begun.
            taken: the mail server has taken a message.
            refusals: how often it has said no, since it last did.
            reset: a transaction is open.
            sound: nothing speaks against its use by others.
        """
        if sound and self._worked is not None:
            self._worked()
        stream.reused = True
        stream.messages += messages
        stream.refusals = refusals + (0 if taken else stream.refusals)
        unwanted = self._closed or (self._shelf.closed and not self._claims)
        if unwanted or not sound or self._worn(stream):
            stream.release(self._quit_seconds)
        elif reset:
            Reset(self._clock, stream, self._free, self._ended)
        else:
            self._free(stream)

    def known(self) -> object:
        """What the mail server has offered lately, or None."""
        return self._known.look()

    def figures(self) -> PoolFigures:
        """How it is at this moment."""
        return PoolFigures(
            resting=len(self._resting),
            in_use=len(self._streams) - len(self._resting),
            opening=len(self._attempts),
            waiting=len(self._claims),
            made=self._made_so_far,
            reused=self._reused_so_far,
        )

    def close(self) -> None:
        """Nobody will ask any more: what rests says goodbye, and what comes back will."""
        self._closed = True
        self._sweep.clear()
        for attempt in list(self._attempts):
            attempt.cancel()
        for resting in self._resting[:]:
            self._dismiss(resting)

    # Claims

    def _looked_up(self, channel: Channel, claim: Claim) -> None:
        claim.channel = channel
        if channel is not self._channel:
            self._channel = channel
            self._known.hold_against(channel.login.destination)
            known = most_connections(channel.login.destination.host, self._settings.workers)
            self._most = self._settings.connections or known
            self._drop_others(channel)
        self._serve()

    def _not_looked_up(self, failure: Failure, claim: Claim) -> None:
        if claim in self._claims:
            self._claims.drop(claim)
            self._known.forget()
            claim.fail(failure)
            self._spare()

    def _late(self, claim: Claim) -> None:
        """Its time is up; where there is an attempt for it, that ends now as well, and says what it was waiting for."""
        if claim in self._claims.ready()[: len(self._attempts)]:
            return
        self._claims.drop(claim)
        claim.fail(claim.late())
        self._spare()

    def _left(self, claim: Claim) -> None:
        self._claims.drop(claim)
        self._spare()

    def _spare(self) -> None:
        """An attempt that nobody waits for is given up, the last one first."""
        if len(self._attempts) > len(self._claims.ready()) + self._missing():
            next(reversed(self._attempts)).cancel()

    def _serve(self) -> None:
        """
        Whoever can have a connection has it; for the others there are attempts, as many as there may be.

        A session that is served can come back for more before we are through, which must not start another round.
        """
        if self._serving or self._closed:
            return
        self._serving = True
        try:
            while self._hand_out():
                pass
            while self._short() and self._room():
                self._try()
        finally:
            self._serving = False
        if self._starved():
            self._ask_for_more()

    def _hand_out(self) -> bool:
        """One connection goes to one claim; whether it did.  What comes of that can change all that rests and waits."""
        for resting in reversed(self._resting if self._claims else ()):
            claim = self._claims.first(resting.stream) if self._in_time(resting) else None
            if claim is not None:
                self._stop_resting(resting)
                self._reused_so_far += resting.stream.reused
                claim.serve(resting.stream)
                return True
        return False

    def _starved(self) -> bool:
        """Whether there are fewer attempts than claims."""
        return len(self._attempts) < len(self._claims.ready())

    def _short(self) -> bool:
        """Whether there are fewer attempts than wanted."""
        return len(self._attempts) < len(self._claims.ready()) + self._missing()

    def _missing(self) -> int:
        """How many connections should be at rest and are not."""
        warm = self._warm_from is not None and self._clock.seconds() >= self._warm_from and not self._shelf.closed
        return max(0, self._settings.min_idle - len(self._resting)) if warm else 0

    def _room(self) -> bool:
        return self._most is None or len(self._streams) + len(self._attempts) < self._most

    def _ask_for_more(self) -> None:
        """What rests is of no use to who waits, and those who hold a connection may not need it."""
        if self._resting:
            self._dismiss(self._resting[0])
            return
        for stream in list(self._streams):
            stream.ask_for()
            if not self._starved():
                return

    # Attempts

    def _try(self) -> None:
        if self._warm_from is None:
            self._warm_from = self._clock.seconds()
        attempt = self._connector.open(self._seconds_left())
        self._attempts[attempt] = next(self._numbers)
        attempt.addCallbacks(self._made, self._not_made, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _seconds_left(self) -> float:
        """How long the next attempt may take: it is for the first claim that has none."""
        claim = next(iter(self._claims.ready()[len(self._attempts) :]), None)
        return self._wait_seconds if claim is None else max(0.0, claim.until - self._clock.seconds())

    def _made(self, stream: UpstreamStream, attempt: Deferred[UpstreamStream]) -> None:
        begun = self._attempts.pop(attempt)
        assert stream.channel is not None
        stream.capabilities = self._known.learn(stream.channel.login.destination, stream.capabilities)
        self._streams[stream] = None
        self._made_so_far += 1
        stream.born = self._clock.seconds()
        stream.gone = self._ended
        self._free(stream, begun)

    def _not_made(self, failure: Failure, attempt: Deferred[UpstreamStream]) -> None:
        """The error is for one who waits, if there are not attempts enough for all."""
        del self._attempts[attempt]
        if failure.check(CancelledError) is not None:
            return
        self._known.forget()
        self._put_off()
        if self._starved():
            claim = self._claims.ready()[0]
            self._claims.drop(claim)
            claim.fail(failure)
        elif failure.check(MailProxyError) is None:
            _log.failure("internal error while a connection was made", failure)
        self._serve()

    def _put_off(self) -> None:
        """Connections are kept ready again after a while: what is the matter now may be so in a moment, too."""
        self._warm_from = self._clock.seconds() + self._settings.idle_seconds
        if self._settings.min_idle:
            self._sweep_by(self._warm_from)

    # Connections

    def _free(self, stream: UpstreamStream, begun: int | None = None) -> None:
        """Nobody uses it: it goes to who has waited longest, or rests.  `begun` is of the attempt that has made it."""
        if stream.channel is not self._channel:
            self._channel = None  # whether it is of use to anybody, the next look-up says
        claim = self._claims.first(stream, begun)
        if claim is not None:
            stream.rest(None)
            self._reused_so_far += stream.reused
            claim.serve(stream)
        elif self._closed:
            stream.release(self._quit_seconds)
        else:
            self._rest(stream)

    def _rest(self, stream: UpstreamStream) -> None:
        resting = Resting(stream, self._clock.seconds(), self._spoiled)
        insort(self._resting, resting, key=_born)
        self._shelf.put(resting)
        self._sweep_by(self._until(resting))
        self._serve()

    def _worn(self, stream: UpstreamStream) -> bool:
        own = stream.capabilities.limit("MAILMAX") if isinstance(stream.capabilities, Extensions) else 0
        most = min(own or self._settings.messages, self._settings.messages)
        if self._clock.seconds() - stream.born >= self._settings.age_seconds:
            return True
        return stream.messages >= most or stream.refusals >= MOST_REFUSALS

    def _until(self, resting: Resting) -> float:
        """When it has rested for long enough, or is too old."""
        return min(resting.since + self._settings.idle_seconds, resting.stream.born + self._settings.age_seconds)

    def _in_time(self, resting: Resting) -> bool:
        return self._clock.seconds() < self._until(resting)

    def _spoiled(self, resting: Resting) -> None:
        """The mail server, or want of room, has ended it."""
        self._put_off()
        self._dismiss(resting)

    def _dismiss(self, resting: Resting) -> None:
        """It is gone, or has to go."""
        if resting in self._resting:
            self._stop_resting(resting)
            resting.stream.release(self._quit_seconds)

    def _stop_resting(self, resting: Resting) -> None:
        self._resting.remove(resting)
        self._shelf.take(resting)

    def _drop_others(self, channel: Channel) -> None:
        """What was made with anything else will not be asked for any more."""
        for resting in self._resting[:]:
            if resting.stream.channel != channel:
                self._dismiss(resting)

    def _ended(self, stream: UpstreamStream) -> None:
        """The connection is no more."""
        self._streams.pop(stream, None)
        self._serve()

    # Time

    def _sweep_by(self, when: float) -> None:
        """Whatever is due then is seen to."""
        if not self._closed and (self._next_sweep is None or when < self._next_sweep):
            self._next_sweep = when
            self._sweep.set(max(0.0, when - self._clock.seconds()), self._swept)

    def _swept(self) -> None:
        self._next_sweep = None
        for resting in self._resting[:]:
            if not self._in_time(resting):
                self._dismiss(resting)
        for resting in self._resting:
            self._sweep_by(self._until(resting))
        if self._settings.min_idle and self._warm_from is not None and self._warm_from > self._clock.seconds():
            self._sweep_by(self._warm_from)
        self._serve()


def _born(resting: Resting) -> float:
    return resting.stream.born
