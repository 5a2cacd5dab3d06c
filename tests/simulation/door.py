"""
Who may come in: the limits of sessions, counted a second time.
"""

from __future__ import annotations

from attrs import frozen

from mailproxy.downstream.newcomers import SPEAK_UP_SECONDS
from mailproxy.downstream.turnedaway import TurnedAway


@frozen(eq=False)
class Seat:
    """A session that was let in: at which factory of the proxy, whose, from where, and when."""

    protocol: object
    factory: object
    client: object
    host: str
    since: float

    @property
    def place(self):
        return self.client.place

    @property
    def taken(self):
        return self.protocol in self.factory.sessions


class Doorkeeper:
    """
    Args:
        world: knows the limits in force.
    """

    def __init__(self, world):
        self._world = world
        self._seats = []
        self.turned_away = self.made_room = 0

    def let_in(self, listening, client, peer):
        """What the proxy makes of a client that connects; it must be turned away exactly when there is no place."""
        before = self.taken()
        full = [name for name, (most, count) in self._counts(client.place, peer.host).items() if count >= most]
        factory = listening.factory.keeper.factory
        protocol = listening.factory.buildProtocol(peer)
        if isinstance(protocol, TurnedAway):
            self.turned_away += 1
            if not full:
                self._world.forbid(f"{client.name} was turned away, though no limit is reached")
            return protocol
        for seat in before:
            if not seat.taken:
                self._has_made_room(seat, full)
        self._seats.append(Seat(protocol, factory, client, peer.host, self._world.reactor.seconds()))
        over = [name for name, (most, count) in self._counts(client.place, peer.host).items() if count > most]
        if over:
            self._world.forbid(f"{client.name} was let in, though these limits are reached: {over}")
        return protocol

    def taken(self):
        """The seats that somebody has."""
        self._seats = [seat for seat in self._seats if seat.taken]
        return self._seats

    def _has_made_room(self, seat, full):
        """Only who could have said something, and has not, makes room, and only where that is needed."""
        self.made_room += 1
        tap, silent = seat.client.tap, self._world.reactor.seconds() - seat.since
        if not full:
            self._world.forbid(f"{seat.client.name} makes room, though no limit is reached")
        if tap.is_heard or silent < SPEAK_UP_SECONDS:
            self._world.forbid(f"{seat.client.name}, who is no silent newcomer, makes room")
        shakes_hands = seat.place.encryption == "implicit" and not tap.is_secured
        if not (tap.is_greeted or shakes_hands):
            self._world.forbid(f"{seat.client.name} makes room, though it had to wait for its greeting")

    def _counts(self, place, host):
        """The limits that there are for a client from this host, each with what counts."""
        limits, taken = self._world.config.limits, self.taken()
        per_tenant = limits.max_sessions_per_tenant
        if not per_tenant and len({each.tenant for each in self._world.places.values()}) > 1:
            per_tenant = max(1, limits.max_sessions // 2)
        counts = {
            "in all": (limits.max_sessions, len(taken)),
            "of the tenant": (per_tenant, len([seat for seat in taken if seat.place.tenant == place.tenant])),
            "at the listener": (
                limits.max_sessions_per_listener,
                len([seat for seat in taken if seat.place.owner == place.owner]),
            ),
            "of the client": (limits.max_sessions_per_client, len([seat for seat in taken if seat.host == host])),
        }
        return {name: (most, count) for name, (most, count) in counts.items() if most}
