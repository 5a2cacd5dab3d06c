"""
How many sessions there may be at a time: in all, of one tenant, at one listener, of one client.

A client's own limit counts by address.  Of an IPv6 address the first 64 bits count, which is what one customer of a
provider has at least: who counted each address by itself would count nothing.  Who comes through a local socket has no
address, and no limit of its own.

Where a room is full, a newcomer that says nothing makes room for the next client, see `newcomers`.  What that frees has
to be enough: nobody loses a place for a client that is turned away after all.

What is counted is made on demand and forgotten when it is back at nothing, so that a million clients that come and go
take no room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from enum import Enum
from ipaddress import IPv6Address
from typing import Any

from attrs import define, field

from mailproxy.downstream.newcomers import SPEAK_UP_SECONDS, Newcomers

MAX_TURNED_AWAY = 100
"""So many clients at a time, in the whole process, are seen off with patience; each takes one descriptor."""

_CROWDED = 0.75
"""From this share of the places on, who comes in has less time."""


class Limit(Enum):
    """Which limit a client has met; the value is what the log says of it, with the key in `[limits]`."""

    __hash__ = object.__hash__  # each is one object

    CLIENT = "of one client (max_sessions_per_client)"
    LISTENER = "at one listener (max_sessions_per_listener)"
    TENANT = "of one tenant (max_sessions_per_tenant)"
    EVERYWHERE = "in all (max_sessions)"


Room = tuple[Limit, Hashable]
"""What a limit counts, and whose."""

_EVERYWHERE: Room = (Limit.EVERYWHERE, None)


@define(eq=False)
class Place:
    """What one client takes, lent since when; it can be given back once, and more often without harm."""

    _rooms: Rooms
    _taken: tuple[Hashable, ...]
    since: float = 0.0
    _evict: Callable[[Limit], None] | None = None

    def lend(self, evict: Callable[[Limit], None], now: float) -> None:
        """From now until it is kept, somebody may need it more; then `evict` is told which limit that one has met."""
        self._evict = evict
        self.since = now
        self._rooms.newcomers.add(self, self._taken)

    def keep(self) -> None:
        """It is the client's until that leaves, or it is lent again."""
        if self._evict is not None:
            self._evict = None
            self._rooms.newcomers.remove(self, self._taken)

    def make_room(self, limit: Limit) -> None:
        """It was lent, and is needed."""
        evict = self._evict
        assert evict is not None, "a place that is kept was taken away"
        self.leave()
        evict(limit)

    def is_in(self, room: Hashable) -> bool:
        """Whether it counts there."""
        return room in self._taken

    def leave(self) -> None:
        """Somebody else may have it."""
        self.keep()
        taken, self._taken = self._taken, ()
        self._rooms.give_back(taken)


class Rooms:
    """
    The places of the whole process, which all listeners share.

    The arguments are those of `resize`.
    """

    def __init__(self, *, sessions: int = 0, per_tenant: int = 0, per_client: int = 0, tenants: int = 1) -> None:
        self.limits: dict[Limit, int] = {}
        self.taken: Counter[Hashable] = Counter()
        """What is not there is nothing."""
        self.newcomers: Newcomers[Place] = Newcomers()
        self.resize(sessions=sessions, per_tenant=per_tenant, per_client=per_client, tenants=tenants)

    def resize(self, *, sessions: int = 0, per_tenant: int = 0, per_client: int = 0, tenants: int = 1) -> None:
        """
        From now on these are the limits; who has a place keeps it, though it be one too many.

        Args:
            sessions: in all; 0 is no limit, here and below.
            per_tenant: of each tenant; 0 is half of `sessions` where there are several, so that none can shut the
                others out.
            per_client: of each client address.
            tenants: how many of them have listeners; the provider itself is one.
        """
        half = max(1, sessions // 2) if sessions and tenants > 1 else 0
        self.limits = {Limit.CLIENT: per_client, Limit.TENANT: per_tenant or half, Limit.EVERYWHERE: sessions}

    @property
    def sessions(self) -> int:
        """How many places are taken in all."""
        return self.taken[_EVERYWHERE]

    def door(self, tenant: str | None, limit: int = 0) -> Door:
        """The way in of a listener: whose it is (None: the provider's), and how many it may let in."""
        return Door(self, tenant, limit)

    def see_off(self) -> Place | None:
        """The place of a client that is turned away; None when there are too many of them already."""
        return self.take(["turned away"]) if self.taken["turned away"] < MAX_TURNED_AWAY else None

    def take(self, rooms: Iterable[Hashable]) -> Place:
        """A place in each of these rooms, whether or not they are full."""
        taken = tuple(rooms)
        for room in taken:
            self.taken[room] += 1
        return Place(self, taken)

    def give_back(self, rooms: Iterable[Hashable]) -> None:
        """One place less is taken in each of these rooms."""
        for room in rooms:
            self.taken[room] -= 1
            if not self.taken[room]:
                del self.taken[room]


@define(eq=False)
class Door:
    """
    The way in of one listener.  `limit` is its own, and may be set anew; 0 is none.
    """

    _rooms: Rooms
    _tenant: str | None
    limit: int = field(default=0)
    _of_tenant: Room = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._of_tenant = (Limit.TENANT, self._tenant)

    def enter(self, address: Any, now: float) -> Place | Limit:
        """
        A place for a client from this address, or which limit does not allow it: then nothing is taken.

        Where a room is full, somebody who has been silent there for too long has made room.  `now` is in seconds.
        """
        rooms = self._rooms_of(address)
        lenders = self._lenders([room for room in rooms if self._is_full(room)], now)
        if isinstance(lenders, Limit):
            return lenders
        for place, limit in lenders.items():
            place.make_room(limit)
        return self._rooms.take(rooms)

    @property
    def crowded(self) -> bool:
        """Whether more than three quarters of all places, or of the tenant's, are taken."""
        return any(
            self._rooms.taken[room] > _CROWDED * most
            for room in (self._of_tenant, _EVERYWHERE)
            if (most := self._rooms.limits[room[0]])
        )

    def see_off(self) -> Place | None:
        """As `Rooms.see_off`."""
        return self._rooms.see_off()

    def _lenders(self, full: list[Room], now: float) -> dict[Place, Limit] | Limit:
        """
        Who makes room in these rooms, at most one for each; or the first of the limits that nobody makes room for.

        Whose own rooms are full takes nothing from other tenants, be it from the very same client.
        """
        own = any(room[0] in (Limit.LISTENER, Limit.TENANT) for room in full)
        lenders: dict[Place, Limit] = {}
        for room in full:
            if self._rooms.taken[room] > self._most(room):
                return room[0]  # one place more would not be enough
            if not any(place.is_in(room) for place in lenders):
                place = self._rooms.newcomers.first(room)
                if place is None or now - place.since < SPEAK_UP_SECONDS or (own and not place.is_in(self._of_tenant)):
                    return room[0]
                lenders[place] = room[0]
        return lenders

    def _rooms_of(self, address: Any) -> list[Room]:
        """The narrowest first: it says most about who is at fault."""
        client = client_of(address)
        own: list[Room] = [] if client is None else [(Limit.CLIENT, client)]
        return [*own, (Limit.LISTENER, self), self._of_tenant, _EVERYWHERE]

    def _is_full(self, room: Room) -> bool:
        most = self._most(room)
        return bool(most) and self._rooms.taken[room] >= most

    def _most(self, room: Room) -> int:
        return self.limit if room[0] is Limit.LISTENER else self._rooms.limits[room[0]]


def client_of(address: Any) -> str | None:
    """Who counts as one client; None for who has no address, like a program at a local socket."""
    host: str | None = getattr(address, "host", None)
    if host is None or ":" not in host:
        return host
    known = IPv6Address(host)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return f"{IPv6Address(int(known) >> 64 << 64)}/64"
