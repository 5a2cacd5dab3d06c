"""
Sessions that wait for a connection, in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from mailproxy.deadline import Deadline
from mailproxy.errors import DestinationUnavailable, LimitReached, MailProxyError
from mailproxy.upstream.channel import Channel
from mailproxy.upstream.stream import UpstreamStream


class Claim:
    """
    One session's wait.

    Args:
        clock: bounds it.
        number: greater than that of any claim, and of any attempt, before it.
        seconds: how long it waits at most.
        left: called when the session does not want to wait any more.
        fresh: only a connection that nobody has used will do.
    """

    def __init__(
        self, clock: IReactorTime, number: int, seconds: float, left: Callable[[Claim], None], *, fresh: bool
    ) -> None:
        self.answer: Deferred[UpstreamStream] = Deferred(lambda _: self._leave())
        self.until = clock.seconds() + seconds
        self._seconds = seconds
        self._number = number
        self._fresh = fresh
        self.channel: Channel | None = None
        """What its connection has to be made with; None while that is being looked up."""
        self._deadline = Deadline(clock)
        self._left = left

    def accepts(self, stream: UpstreamStream, begun: int | None = None) -> bool:
        """
        Whether the connection is one that this session may have.

        `begun` is the number of the attempt that has just made it.  One that was begun behind this claim has looked up
        by itself what to use: who has a token that nobody keeps would wait for its equal for ever.
        """
        if begun is not None and begun > self._number:
            return True
        return self.channel == stream.channel and not (self._fresh and stream.reused)

    def bound(self, expired: Callable[[Claim], None]) -> None:
        """It does not wait for ever."""
        self._deadline.set(self._seconds, partial(expired, self))

    def late(self) -> MailProxyError:
        """Why there was nothing in time."""
        within = f"within {self._seconds:g} s"
        if self.channel is None:
            return DestinationUnavailable(f"no credentials {within}")
        return LimitReached(f"no connection {within}: all that there may be to the mail server are in use")

    def serve(self, stream: UpstreamStream) -> None:
        """It has its connection."""
        self._deadline.clear()
        self.answer.callback(stream)

    def fail(self, error: BaseException | Failure) -> None:
        """It gets none."""
        self._deadline.clear()
        self.answer.errback(error)

    def _leave(self) -> None:
        self._deadline.clear()
        self._left(self)


class Claims:
    """The queue of them."""

    def __init__(self) -> None:
        self._waiting: dict[Claim, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._waiting)

    def __contains__(self, claim: Claim) -> bool:
        return claim in self._waiting

    def add(self, claim: Claim) -> None:
        """It waits behind all others."""
        self._waiting[claim] = None

    def drop(self, claim: Claim) -> None:
        """It does not wait any more."""
        self._waiting.pop(claim, None)

    def first(self, stream: UpstreamStream, begun: int | None = None) -> Claim | None:
        """Who has waited longest of those that may have this connection; it does not wait any more."""
        claim = next((each for each in self._waiting if each.accepts(stream, begun)), None)
        if claim is not None:
            del self._waiting[claim]
        return claim

    def ready(self) -> list[Claim]:
        """Those that know what their connection has to be made with, who has waited longest first."""
        return [claim for claim in self._waiting if claim.channel is not None]
