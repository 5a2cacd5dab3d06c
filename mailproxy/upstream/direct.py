"""
A connection for each session, which nobody had before and nobody gets after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailproxy.observe.observation import PoolFigures
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.introduction import Introduction


class Direct:
    """
    The way to a mail server without a pool; see `downstream.surroundings.Upstreams`.

    Args:
        connect: opens a connection and logs in; it is given the client that the mail server is to be told of, if any.
        quit_seconds: how long the mail server has to answer our farewell.
    """

    def __init__(self, connect: Callable[..., Deferred[UpstreamStream]], quit_seconds: float) -> None:
        self._connect = connect
        self._quit_seconds = quit_seconds
        self._opening = self._in_use = self._made = 0
        self._offered: object = None
        """What the last connection's mail server offers: most offer the same again, and it is kept once."""

    def open(self, *, fresh: bool = False) -> Deferred[UpstreamStream]:  # noqa: ARG002 - every one is
        """A stream that is logged in; it fails with a `MailProxyError`.  Cancelling ends the attempt."""
        return self._connected()

    def introduce(self, client: Introduction) -> Deferred[UpstreamStream]:
        """The same, and the mail server is told of this client."""
        return self._connected(client=client)

    def take_back(self, stream: UpstreamStream, **_how: object) -> None:
        """The session is done with it, however it has used it: the mail server hears our farewell."""
        stream.release(self._quit_seconds)

    def figures(self) -> PoolFigures:
        """How it is at this moment; nothing is kept, and nobody waits for others."""
        return PoolFigures(in_use=self._in_use, opening=self._opening, made=self._made)

    def _connected(self, **about: Any) -> Deferred[UpstreamStream]:
        self._opening += 1
        return self._connect(**about).addBoth(self._opened)

    def _opened(self, result: UpstreamStream | Failure) -> UpstreamStream | Failure:
        self._opening -= 1
        if isinstance(result, UpstreamStream):
            self._made += 1
            self._in_use += 1
            result.gone = self._gone
            if result.capabilities != self._offered:
                self._offered = result.capabilities
            result.capabilities = self._offered
        return result

    def _gone(self, _: UpstreamStream) -> None:
        self._in_use -= 1

    def known(self) -> object:
        """What the mail server offers is found out by each session itself."""
        return None
