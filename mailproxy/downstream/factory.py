"""
What builds the connections of one listener: one destination of one tenant.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from mailproxy.deadline import Deadline
from mailproxy.downstream.protocol import SessionProtocol, Surroundings
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.actions import Session


@define(eq=False)
class Room:
    """
    How many sessions there may be at a time; 0 is no limit.  Several listeners may share one.
    """

    limit: int
    taken: int = field(default=0, init=False)

    @property
    def full(self) -> bool:
        """Whether one more is too many."""
        return bool(self.limit) and self.taken >= self.limit


class SessionFactory(ServerFactory):
    """
    Builds a `SessionProtocol` for each connection, and knows those that live.

    Args:
        around: what the sessions share.
        log: of the listener.
        rooms: every one of them must have a place.
    """

    noisy = False
    crowded: bytes
    """What a client is told that finds no place."""

    def __init__(self, around: Surroundings, log: ListenerLog, rooms: tuple[Room, ...]) -> None:
        self._around = around
        self._rooms = rooms
        self.log = log
        self.sessions: dict[SessionProtocol, None] = {}
        """In the order in which they came, which is also that in which they are stopped."""
        self._all_gone: Deferred[None] | None = None

    def make_session(self) -> Session:
        """A new session for a new client."""
        raise NotImplementedError

    def buildProtocol(self, addr: Any) -> TwistedProtocol:
        """The protocol for a client; over the limit, one that says so."""
        if any(room.full for room in self._rooms):
            self.log.counters.began()
            self.log.counters.ended("too_many_sessions")
            self.log.emit(LogLevel.warn, "too many sessions: a client was turned away")
            return TurnedAway(self.crowded, self._around.clock, self._around.close_seconds)
        for room in self._rooms:
            room.taken += 1
        protocol = SessionProtocol(self.make_session(), self._around, self.log.session(_place(addr)), self._gone)
        self.sessions[protocol] = None
        return protocol

    def stop(self) -> Deferred[None]:
        """Every session ends now; fires when all connections are gone."""
        for protocol in list(self.sessions):
            protocol.stop()
        if not self.sessions:
            return succeed(None)
        self._all_gone = Deferred()
        return self._all_gone

    def _gone(self, protocol: SessionProtocol) -> None:
        if protocol not in self.sessions:
            return
        del self.sessions[protocol]
        for room in self._rooms:
            room.taken -= 1
        if self._all_gone is not None and not self.sessions:
            self._all_gone.callback(None)
            self._all_gone = None


def _place(addr: Any) -> str:
    """Where a client comes from, for the log."""
    if not hasattr(addr, "port"):
        return "a local socket"
    return f"[{addr.host}]:{addr.port}" if ":" in addr.host else f"{addr.host}:{addr.port}"


class TurnedAway(TwistedProtocol):
    """Tells a client that there is no place for it, and closes."""

    transport: Any

    def __init__(self, raw: bytes, clock: IReactorTime, seconds: float) -> None:
        self._raw = raw
        self._seconds = seconds
        self._deadline = Deadline(clock)

    def connectionMade(self) -> None:
        """The client is told at once."""
        self._deadline.set(self._seconds, self._give_up)
        self.transport.write(self._raw)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - it does not matter
        """The client is gone."""
        self._deadline.clear()

    def _give_up(self) -> None:
        self.transport.abortConnection()
