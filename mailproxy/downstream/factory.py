"""
What builds the connections of one listener: one destination of one tenant.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import ServerFactory

from mailproxy.downstream.connection import ClientConnection
from mailproxy.downstream.gate import Gate
from mailproxy.downstream.protocol import SessionProtocol
from mailproxy.downstream.rooms import Door, Limit, Place
from mailproxy.downstream.surroundings import Surroundings
from mailproxy.downstream.turnedaway import Dismissed, Refusals, TurnedAway
from mailproxy.downstream.whereabouts import place_of
from mailproxy.flight.flights import Flight
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.actions import Session
from mailproxy.wire.proxyprotocol import Addresses


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
        self._gate = Gate(around.balancers, around, log, self._welcome, self._look_round) if around.balancers else None
        self._draining = False
        self._all_gone: list[Deferred[None]] = []
        self.log = log
        self.sessions: dict[SessionProtocol, Place] = {}
        """In the order in which they came, which is also that in which they are ended."""
        self.turned_away: dict[TurnedAway | SessionProtocol, Place | None] = {}
        """Clients that are not gone yet; those that had a place and made room have none."""

    @property
    def flights(self) -> Sequence[Flight]:
        """The last sessions that ended badly, the last one first; none where they are not recorded."""
        return () if self._around.flights is None else self._around.flights.latest()

    def make_session(self) -> Session:
        """A new session for a new client."""
        raise NotImplementedError  # a subclass says what

    def buildProtocol(self, addr: Any) -> TwistedProtocol | None:
        """The protocol for a client, or for whoever has to say first where the client is; None for nobody."""
        return self._welcome(addr) if self._gate is None else self._gate.enter(addr)

    def _welcome(self, addr: Any, addresses: Addresses | None = None) -> ClientConnection:
        """The protocol for a client; where there is no place for it, one that says so."""
        if self._draining:
            self.log.session(place_of(addr)).ended("shutdown")
            return self._turn_away(self.shutdown)
        place = self._door.enter(addr, self._around.clock.seconds())
        if isinstance(place, Limit):
            self._refusals.turned_away(place_of(addr), place)
            return self._turn_away(self.crowded)
        try:
            return self._let_in(addr, place, addresses)
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
        if self._gate is not None:
            self._gate.drain()
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
        if self._gate is not None:
            self._gate.stop()
        return self.emptied()

    def emptied(self) -> Deferred[None]:
        """Fires when all connections are gone, which may be at once."""
        waiting: Deferred[None] = Deferred()
        self._all_gone.append(waiting)
        self._look_round()
        return waiting

    def _let_in(self, addr: Any, place: Place, addresses: Addresses | None) -> SessionProtocol:
        session = self.make_session()
        log, hurried = self.log.session(place_of(addr)), self._door.crowded
        protocol = SessionProtocol(session, self._around, log, self._gone, self._turn_changed, hurried=hurried)
        protocol.addresses = addresses
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
        awaited = self._gate is not None and self._gate.waiting
        if self._all_gone and not (self.sessions or self.turned_away or awaited):
            self._refusals.stop()
            self.log.settle()
            if self._gate is not None:
                self._gate.silence()
            waiting, self._all_gone = self._all_gone, []
            for each in waiting:
                each.callback(None)
