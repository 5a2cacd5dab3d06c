"""
Connections that nobody uses at the moment.

A connection that rests is not asked anything: whatever the mail server says now, were it a polite 421, ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorTime

from mailproxy.deadline import Deadline
from mailproxy.errors import MailProxyError, MalformedReply
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.smtp import ReplyParser

RSET_SECONDS = 20.0
"""How long a mail server has to answer RSET."""


class Resting:
    """
    A connection at rest, of which `Shelf` has a bounded number.

    Args:
        stream: rests.
        since: when it began to, in seconds of the reactor.
        spoiled: called once when it can be of no use any more; it is ended then.
    """

    def __init__(self, stream: UpstreamStream, since: float, spoiled: Callable[[Resting], None]) -> None:
        self.stream = stream
        self.since = since
        self._spoiled = spoiled
        stream.rest(self)

    def upstream_received(self, chunk: bytes) -> None:  # noqa: ARG002 - whatever it is
        """The mail server has said something that nobody asked for."""
        self.stream.abort()
        self._spoiled(self)

    def upstream_lost(self, error: MailProxyError) -> None:  # noqa: ARG002 - whatever it is
        """The mail server is gone."""
        self._spoiled(self)

    def upstream_wanted(self) -> None:
        """It is free for everybody who may have it."""

    def evict(self) -> None:
        """There is no room for it any more."""
        self._spoiled(self)


class Shelf:
    """
    All that rests in the whole process, and takes descriptors and memory meanwhile.

    Args:
        places: how many there are; another one takes that of the one that has rested longest.
    """

    def __init__(self, places: int = 0) -> None:
        self._places = places
        self._resting: dict[Resting, None] = {}

    def __len__(self) -> int:
        return len(self._resting)

    @property
    def closed(self) -> bool:
        """Whether nothing may rest at all."""
        return self._places == 0

    def resize(self, places: int) -> None:
        """From now on there are so many."""
        self._places = places
        self._shrink()

    def put(self, resting: Resting) -> None:
        """It rests; it may be evicted at once."""
        self._resting[resting] = None
        self._shrink()

    def take(self, resting: Resting) -> None:
        """It does not any more."""
        self._resting.pop(resting, None)

    def _shrink(self) -> None:
        while len(self._resting) > self._places:
            oldest = next(iter(self._resting))
            del self._resting[oldest]
            oldest.evict()


class Reset:
    """
    RSET on a connection whose last transaction was broken off; ends with one call of `done` or of `failed`.

    Args:
        clock: bounds it.
        stream: is asked.
        done: the mail server has forgotten the transaction, and said nothing else.
        failed: it has not; the stream is ended.
    """

    def __init__(
        self,
        clock: IReactorTime,
        stream: UpstreamStream,
        done: Callable[[UpstreamStream], None],
        failed: Callable[[UpstreamStream], None],
    ) -> None:
        self._stream = stream
        self._done = done
        self._failed = failed
        self._parser = ReplyParser()
        self._deadline = Deadline(clock)
        self._deadline.set(RSET_SECONDS, partial(self._end, good=False))
        stream.rest(self)
        stream.write(b"RSET\r\n")

    def upstream_received(self, chunk: bytes) -> None:
        """Octets of the reply."""
        self._parser.feed(chunk)
        try:
            reply = self._parser.next_reply()
        except MalformedReply:
            self._end(good=False)
            return
        if reply is not None:
            self._end(good=reply.code == 250 and not self._parser.pending)

    def upstream_lost(self, error: MailProxyError) -> None:  # noqa: ARG002 - whatever it is
        """The mail server is gone."""
        self._end(good=False)

    def upstream_wanted(self) -> None:
        """It will be free in a moment."""

    def _end(self, *, good: bool) -> None:
        self._deadline.clear()
        if good:
            self._done(self._stream)
        else:
            self._stream.abort()
            self._failed(self._stream)
