"""
What builds the connections of one listener: one destination of one tenant.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import ServerFactory

from mailproxy.downstream.protocol import SessionProtocol
from mailproxy.downstream.rooms import Door, Limit, Place
from mailproxy.downstream.surroundings import Surroundings
from mailproxy.downstream.turnedaway import Dismissed, Refusals, TurnedAway
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.actions import Session


class SessionFactory(ServerFactory):
    """
    Builds a `SessionProtocol` for each connection, and knows those that live.

    Args:
        around: what the sessions share.
        log: of the listener.
        door: gives out places.
    """

    noisy = False
    crowded: bytes
    """What a client is told that finds no place."""
    shutdown: bytes
    """What a client is told that comes when the listener is about to go away."""

    def __init__(self, around: Surroundings, log: ListenerLog, door: Door) -> None:
        self._around = around
        self._door = door
        self._refusals = Refusals(around.clock, log)
        self._draining = False
        self._all_gone: list[Deferred[None]] = []
        self.log = log
        self.sessions: dict[SessionProtocol, Place] = {}
        """In the order in which they came, which is also that in which they are ended."""
        self.turned_away: dict[TurnedAway | SessionProtocol, Place | None] = {}
        """Clients that are not gone yet; those that had a place and made room have none."""

    def make_session(self) -> Session:
        """A new session for a new client."""
        raise NotImplementedError  # a subclass says what

    def buildProtocol(self, addr: Any) -> TwistedProtocol:
        """The protocol for a client; where there is no place for it, one that says so."""
        if self._draining:
            self.log.session(_place(addr)).ended("shutdown")
            return self._turn_away(self.shutdown)
        place = self._door.enter(addr, self._around.clock.seconds())
        if isinstance(place, Limit):
            self._refusals.turned_away(_place(addr), place)
            return self._turn_away(self.crowded)
        try:
            return self._let_in(addr, place)
        except BaseException:
            place.leave()
            raise

    def drain(self) -> Deferred[None]:
        """
        The listener goes away: sessions end when they are in the middle of nothing, and who comes now is told so.
        Fires when all connections are gone.
        """
        self._draining = True
        for protocol in list(self.sessions):
            protocol.drain()
        for other in list(self.turned_away):
            other.drain()
        return self.emptied()

    def cut(self, *, last: bool) -> None:
        """The time to drain is over; only who waits for a mail server's last word waits on, until `last`."""
        for protocol in list(self.sessions):
            protocol.cut(last=last)

    def stop(self) -> Deferred[None]:
        """Every connection ends now; fires when all are gone."""
        for protocol in list(self.sessions):
            protocol.stop()
        for other in list(self.turned_away):
            other.give_up()
        return self.emptied()

    def emptied(self) -> Deferred[None]:
        """Fires when all connections are gone, which may be at once."""
        waiting: Deferred[None] = Deferred()
        self._all_gone.append(waiting)
        self._look_round()
        return waiting

    def _let_in(self, addr: Any, place: Place) -> SessionProtocol:
        session = self.make_session()
        log, hurried = self.log.session(_place(addr)), self._door.crowded
        protocol = SessionProtocol(session, self._around, log, self._gone, self._turn_changed, hurried=hurried)
        protocol.client = addr
        self.sessions[protocol] = place
        self._turn_changed(protocol, silent=True)
        return protocol

    def _turn_changed(self, protocol: SessionProtocol, *, silent: bool) -> None:
        """It is, or is no longer, up to a client to say its first line; while it is, its place is only lent."""
        place = self.sessions.get(protocol)
        if place is None:
            return
        if silent:
            place.lend(partial(self._make_room, protocol), self._around.clock.seconds())
        else:
            place.keep()

    def _make_room(self, protocol: SessionProtocol, limit: Limit) -> None:
        """Another client, maybe of another listener, has met that limit and gets the place."""
        del self.sessions[protocol]
        self.turned_away[protocol] = None
        self._refusals.made_room(protocol.peer, limit)
        protocol.make_room(self.crowded)

    def _turn_away(self, words: bytes) -> TurnedAway:
        place = self._door.see_off()
        patience = Dismissed if place is None else TurnedAway
        protocol = patience(words, self._around, self.log, self._turned_away_gone)
        self.turned_away[protocol] = place
        return protocol

    def _gone(self, protocol: SessionProtocol) -> None:
        place = self.sessions.pop(protocol, None)
        self.turned_away.pop(protocol, None)
        if place is not None:
            place.leave()
        self._look_round()

    def _turned_away_gone(self, protocol: TurnedAway) -> None:
        place = self.turned_away.pop(protocol)
        if place is not None:
            place.leave()
        self._look_round()

    def _look_round(self) -> None:
        """Who waits for that all are gone hears of it."""
        if self._all_gone and not self.sessions and not self.turned_away:
            self._refusals.stop()
            waiting, self._all_gone = self._all_gone, []
            for each in waiting:
                each.callback(None)


def _place(addr: Any) -> str:
    """Where a client comes from, for the log."""
    if not hasattr(addr, "port"):
        return "a local socket"
    return f"[{addr.host}]:{addr.port}" if ":" in addr.host else f"{addr.host}:{addr.port}"
