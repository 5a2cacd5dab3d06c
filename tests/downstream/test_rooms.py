"""Places: taken once, given back once, counted by everybody whose limit they touch, and forgotten when free."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from mailproxy.downstream.newcomers import SPEAK_UP_SECONDS
from mailproxy.downstream.rooms import MAX_TURNED_AWAY, Limit, Place, Rooms, client_of


def at(host, port=4711):
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


HERE = at("192.0.2.1")
HOSTS = ["10.0.0.1", "10.0.0.2", "2001:db8::1"]
LOCAL = UNIXAddress("/run/mail")


def fill(door, count, address=LOCAL, now=0.0):
    """Clients that have spoken."""
    places = [door.enter(address, now) for _ in range(count)]
    assert all(isinstance(place, Place) for place in places)
    return places


def test_without_limits_there_is_always_a_place():
    rooms = Rooms(tenants=5)
    fill(rooms.door("acme"), 1000, HERE)
    assert not rooms.door("acme").crowded


def test_in_all_there_are_so_many_places():
    rooms = Rooms(sessions=2)
    one, other = rooms.door("acme"), rooms.door("umbrella")
    place, _ = *fill(one, 1), *fill(other, 1)
    assert one.enter(HERE, 0.0) is Limit.EVERYWHERE
    assert other.enter(HERE, 0.0) is Limit.EVERYWHERE
    place.leave()
    fill(other, 1)


def test_a_refusal_takes_no_place_anywhere():
    rooms = Rooms(sessions=10, per_client=1)
    door = rooms.door("acme", 5)
    places = fill(door, 1, HERE)
    before = dict(rooms.taken)
    for _ in range(20):
        assert door.enter(HERE, 0.0) is Limit.CLIENT
    assert dict(rooms.taken) == before
    places[0].leave()
    assert not rooms.taken


def test_a_tenant_has_its_own_limit_over_all_its_listeners_and_leaves_the_others_alone():
    rooms = Rooms(sessions=10, per_tenant=3, tenants=3)
    smtp, pop3, umbrella, ours = rooms.door("acme"), rooms.door("acme"), rooms.door("umbrella"), rooms.door(None)
    fill(smtp, 2)
    fill(pop3, 1)
    assert smtp.enter(HERE, 0.0) is Limit.TENANT
    assert pop3.enter(HERE, 0.0) is Limit.TENANT
    fill(umbrella, 3)
    fill(ours, 3)
    assert ours.enter(HERE, 0.0) is Limit.TENANT


@pytest.mark.parametrize(("sessions", "tenants", "most"), [(10, 2, 5), (11, 3, 5), (1, 2, 1), (10, 1, 10)])
def test_one_of_several_tenants_gets_half_of_all_places_where_nothing_else_is_said(sessions, tenants, most):
    door = Rooms(sessions=sessions, tenants=tenants).door("acme")
    fill(door, most)
    assert isinstance(door.enter(HERE, 0.0), Limit)


def test_without_a_limit_in_all_there_is_no_half_of_it():
    fill(Rooms(tenants=2).door("acme"), 1000)


def test_a_listener_has_its_own_limit_which_can_change():
    rooms = Rooms()
    door, other = rooms.door("acme", 2), rooms.door("acme", 2)
    places = fill(door, 2)
    assert door.enter(HERE, 0.0) is Limit.LISTENER
    fill(other, 2)
    door.limit = 3
    places += fill(door, 1)
    door.limit = 1
    for place in places[:2]:
        place.leave()
        assert door.enter(HERE, 0.0) is Limit.LISTENER
    places[2].leave()
    fill(door, 1)


def test_a_client_has_its_own_limit_over_all_listeners():
    rooms = Rooms(per_client=2)
    one, other = rooms.door("acme"), rooms.door(None)
    fill(one, 1, HERE)
    fill(other, 1, at("192.0.2.1", 9999))
    assert one.enter(HERE, 0.0) is Limit.CLIENT
    fill(one, 2, at("192.0.2.2"))


def test_the_narrowest_limit_is_named_first():
    rooms = Rooms(sessions=1, per_tenant=1, per_client=1)
    door = rooms.door("acme", 1)
    fill(door, 1, HERE)
    assert door.enter(HERE, 0.0) is Limit.CLIENT
    assert door.enter(at("192.0.2.2"), 0.0) is Limit.LISTENER
    assert rooms.door("acme").enter(at("192.0.2.2"), 0.0) is Limit.TENANT
    assert rooms.door("umbrella").enter(at("192.0.2.2"), 0.0) is Limit.EVERYWHERE


def test_each_limit_is_named_with_its_key_in_the_configuration():
    keys = {"max_sessions", "max_sessions_per_tenant", "max_sessions_per_listener", "max_sessions_per_client"}
    assert {limit.value.split("(")[1].rstrip(")") for limit in Limit} == keys


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%lo", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_one_client_is_an_address_or_the_first_half_of_it(host, client):
    assert client_of(at(host)) == client


def test_who_has_no_address_has_no_limit_of_its_own():
    assert client_of(LOCAL) is None
    assert client_of(None) is None
    fill(Rooms(per_client=1).door("acme"), 100, LOCAL)


def test_a_place_can_be_given_back_once():
    rooms = Rooms(sessions=2)
    door = rooms.door("acme")
    first, _ = fill(door, 2)
    first.leave()
    first.leave()
    fill(door, 1)
    assert door.enter(HERE, 0.0) is Limit.EVERYWHERE


def test_new_limits_count_at_once_and_nobody_loses_a_place():
    rooms = Rooms(sessions=4, per_client=1)
    door = rooms.door("acme")
    places = fill(door, 4)
    rooms.resize(sessions=2, tenants=2)
    places.pop().leave()
    assert isinstance(door.enter(HERE, 0.0), Limit)
    rooms.resize()
    fill(door, 10, HERE)


def test_a_million_clients_that_come_and_go_leave_nothing():
    rooms = Rooms(sessions=10, per_client=3)
    for number in range(3000):
        fill(rooms.door(f"tenant {number}"), 1, at(f"10.0.{number // 256}.{number % 256}"))[0].leave()
    assert not rooms.taken


@pytest.mark.parametrize("limits", [{"sessions": 8}, {"sessions": 100, "per_tenant": 8}])
def test_it_is_crowded_when_more_than_three_quarters_are_taken(limits):
    rooms = Rooms(**limits)
    door = rooms.door("acme")
    places = fill(door, 6)
    assert not door.crowded
    places += fill(door, 1)
    assert door.crowded
    assert rooms.door("umbrella").crowded is ("per_tenant" not in limits)
    places[0].leave()
    assert not door.crowded


def test_only_so_many_are_seen_off_at_a_time_in_the_whole_process():
    rooms = Rooms(sessions=1)
    one, other = rooms.door("acme"), rooms.door(None)
    places = [door.see_off() for door in (one, other) for _ in range(MAX_TURNED_AWAY // 2)]
    assert None not in places
    assert one.see_off() is None
    assert other.see_off() is None
    places[0].leave()
    assert other.see_off() is not None
    fill(one, 1)  # they take no place of anybody


# Who says nothing makes room


def lend(door, address=LOCAL, now=0.0):
    """A client that says nothing; the limits for whose sake it loses its place are collected."""
    place = door.enter(address, now)
    assert isinstance(place, Place)
    lost = []
    place.lend(lost.append, now)
    return place, lost


def losses(*lent):
    return [lost for _, lost in lent]


def test_who_has_been_silent_for_longest_makes_room():
    door = Rooms(sessions=3).door("acme")
    first, second, third = (lend(door, now=float(number)) for number in range(3))
    fill(door, 1, now=4.0)
    assert losses(first, second, third) == [[Limit.EVERYWHERE], [], []]
    fill(door, 1, now=4.0)
    assert losses(first, second, third) == [[Limit.EVERYWHERE], [Limit.EVERYWHERE], []]


def test_nobody_is_hurried_who_has_just_come():
    door = Rooms(sessions=1).door("acme")
    _, lost = lend(door, now=10.0)
    assert door.enter(HERE, 10.0 + SPEAK_UP_SECONDS - 0.01) is Limit.EVERYWHERE
    assert not lost
    fill(door, 1, now=10.0 + SPEAK_UP_SECONDS)
    assert lost


def test_who_has_spoken_keeps_its_place():
    rooms = Rooms(sessions=2)
    door = rooms.door("acme")
    first, second = lend(door), lend(door)
    first[0].keep()
    first[0].keep()
    fill(door, 1, now=100.0)
    assert losses(first, second) == [[], [Limit.EVERYWHERE]]
    assert door.enter(HERE, 100.0) is Limit.EVERYWHERE
    assert not len(rooms.newcomers)


def test_who_has_left_is_not_asked():
    rooms = Rooms(sessions=1)
    door = rooms.door("acme")
    place, lost = lend(door)
    place.leave()
    fill(door, 1, now=100.0)
    assert door.enter(HERE, 100.0) is Limit.EVERYWHERE
    assert not lost
    assert not len(rooms.newcomers)


def test_a_place_that_was_lost_is_given_back_once():
    rooms = Rooms(sessions=1)
    door = rooms.door("acme")
    place, _ = lend(door)
    [other] = fill(door, 1, now=5.0)
    place.leave()
    place.keep()
    assert rooms.taken[Limit.EVERYWHERE, None] == 1
    other.leave()
    assert not rooms.taken


def test_its_place_is_free_when_it_hears_of_it():
    rooms = Rooms(sessions=1)
    door = rooms.door("acme")
    seen = []
    door.enter(LOCAL, 0.0).lend(lambda limit: seen.append(dict(rooms.taken)), 0.0)
    fill(door, 1, now=5.0)
    assert seen == [{}]


def test_one_makes_room_in_all_rooms_that_are_full():
    rooms = Rooms(sessions=3, per_tenant=2, per_client=1)
    umbrella, acme = rooms.door("umbrella"), rooms.door("acme", 2)
    others = lend(umbrella, at("192.0.2.9"))
    bystander, silent = lend(acme, at("192.0.2.8"), 1.0), lend(acme, HERE, 2.0)
    fill(acme, 1, HERE, now=9.0)
    assert losses(others, bystander, silent) == [[], [], [Limit.CLIENT]]


def test_where_nobody_is_in_all_rooms_that_are_full_one_makes_room_in_each():
    rooms = Rooms(per_client=1)
    one, other = rooms.door("acme", 1), rooms.door("acme", 5)
    here, there = lend(other, HERE), lend(one, at("192.0.2.2"))
    fill(one, 1, HERE, now=9.0)
    assert losses(here, there) == [[Limit.CLIENT], [Limit.LISTENER]]
    assert sum(rooms.taken.values()) == 4


def test_nobody_makes_room_for_a_client_that_is_turned_away_after_all():
    rooms = Rooms(per_client=1, sessions=2)
    door = rooms.door("acme", 1)
    silent = lend(rooms.door("acme"), HERE)
    fill(door, 1)
    before = dict(rooms.taken)
    assert door.enter(HERE, 9.0) is Limit.LISTENER
    assert not silent[1]
    assert dict(rooms.taken) == before


@pytest.mark.parametrize("own", ["tenant", "listener"])
def test_whose_own_room_is_full_takes_nothing_from_another_tenant(own):
    rooms = Rooms(per_client=2, per_tenant=2 if own == "tenant" else 0)
    umbrella, acme = rooms.door("umbrella"), rooms.door("acme", 2 if own == "listener" else 0)
    neighbour = lend(umbrella, HERE)
    silent = [lend(acme, HERE, 1.0), lend(acme, at("192.0.2.2"), 2.0)]
    assert acme.enter(HERE, 9.0) is Limit.CLIENT
    assert losses(neighbour, *silent) == [[], [], []]
    fill(acme, 1, at("192.0.2.3"), now=9.0)
    assert losses(neighbour, *silent) == [[], [Limit[own.upper()]], []]


def test_a_tenant_that_takes_all_it_may_makes_room_by_itself_and_the_others_get_in():
    rooms = Rooms(sessions=6, per_tenant=4, tenants=2)
    acme, umbrella = rooms.door("acme"), rooms.door("umbrella")
    theirs = [lend(umbrella) for _ in range(2)]
    flood = [lend(acme, now=float(number)) for number in range(4)]
    for number in range(4):
        fill(acme, 1, now=9.0)
        assert sum(map(len, losses(*flood))) == number + 1
    assert not any(losses(*theirs))
    fill(umbrella, 1, now=9.0)
    assert losses(*theirs) == [[Limit.EVERYWHERE], []]


def test_silence_of_one_tenant_makes_room_for_another_where_only_the_whole_is_full():
    rooms = Rooms(sessions=2, per_tenant=2)
    silent = [lend(rooms.door("acme"), now=float(number)) for number in range(2)]
    fill(rooms.door("umbrella"), 1, now=9.0)
    assert losses(*silent) == [[Limit.EVERYWHERE], []]


def test_nobody_loses_a_place_where_there_are_too_many_already():
    rooms = Rooms(sessions=4, per_client=4)
    door = rooms.door("acme")
    silent = [lend(door, HERE) for _ in range(4)]
    rooms.resize(sessions=3, per_client=4)
    assert door.enter(HERE, 9.0) is Limit.EVERYWHERE
    assert door.enter(LOCAL, 9.0) is Limit.EVERYWHERE
    assert not any(losses(*silent))
    silent[0][0].leave()
    fill(door, 1, HERE, now=9.0)
    assert losses(*silent) == [[], [Limit.EVERYWHERE], [], []]


class Visitor:
    """A client, counted a second time."""

    def __init__(self, world, number, host):
        self.tenant, self.door, self.host, self.since = TENANTS[number], world.doors[number], host, world.now
        self.spoken = False
        self._world = world

    def rooms(self):
        return [(Limit.CLIENT, self.host), (Limit.LISTENER, self.door), (Limit.TENANT, self.tenant), ALL]

    def lose(self, limit):
        assert not self.spoken
        assert self._world.now - self.since >= SPEAK_UP_SECONDS
        self._world.present.remove(self)
        self._world.lost.append(self)


ALL = (Limit.EVERYWHERE, None)
TENANTS = ["acme", "acme", "umbrella"]
LIMITS = {Limit.CLIENT: 3, Limit.TENANT: 4, Limit.EVERYWHERE: 6}


class World:
    """Three listeners, and what happens there."""

    def __init__(self):
        self.now = 0.0
        self.rooms = Rooms(sessions=6, per_tenant=4, per_client=3, tenants=2)
        self.doors = [self.rooms.door(tenant, limit) for tenant, limit in zip(TENANTS, (2, 3, 5), strict=True)]
        self.present, self.lost, self.places = [], [], {}

    def full(self, visitor):
        most = LIMITS | {Limit.LISTENER: visitor.door.limit}
        counts = {room: sum(room in each.rooms() for each in self.present) for room in visitor.rooms()}
        return [room for room, count in counts.items() if count >= most[room[0]]]

    def comes(self, number, host):
        visitor = Visitor(self, number, host)
        full, before = self.full(visitor), list(self.present)
        place = self.doors[number].enter(at(host), self.now)
        lost, self.lost = self.lost, []
        if isinstance(place, Limit):
            assert not lost
            assert place in [room[0] for room in full]
            assert self.gap(full, before) or self.foreign(full, before, visitor.tenant)
            return
        self.places[visitor] = place
        self.present.append(visitor)
        place.lend(visitor.lose, self.now)
        self.check_losses(lost, full, before, visitor)

    def check_losses(self, lost, full, before, visitor):
        """For each room somebody, nobody for nothing, and always who has waited there for longest."""
        assert len(lost) <= len(full)
        assert all(any(room in each.rooms() for each in lost) for room in full)
        firsts = [next((each for each in before if room in each.rooms() and not each.spoken), None) for room in full]
        assert all(each in firsts for each in lost)
        if any(room[0] in (Limit.LISTENER, Limit.TENANT) for room in full):
            assert {each.tenant for each in lost} == {visitor.tenant}

    def gap(self, full, before):
        """Whether there is a room where nobody has been silent for long."""
        return any(
            not any(
                self.now - each.since >= SPEAK_UP_SECONDS for each in before if room in each.rooms() and not each.spoken
            )
            for room in full
        )

    def foreign(self, full, before, tenant):
        """Whether whoever is silent from that client's address is another tenant's, and may stay."""
        first = next(each for each in before if full[0] in each.rooms() and not each.spoken)
        return first.tenant != tenant and any(room[0] in (Limit.LISTENER, Limit.TENANT) for room in full)

    def check(self):
        counts = {}
        for visitor in self.present:
            for room in visitor.rooms():
                counts[room] = counts.get(room, 0) + 1
        assert dict(self.rooms.taken) == counts
        silent = {room for visitor in self.present if not visitor.spoken for room in visitor.rooms()}
        assert len(self.rooms.newcomers) == len(silent)


arrivals = st.tuples(st.integers(0, 2), st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]))
others = st.tuples(st.sampled_from(["speaks", "leaves"]), st.integers(0, 5))
pauses = st.sampled_from([0.0, 0.0, 0.4, SPEAK_UP_SECONDS])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(pauses, arrivals | others), max_size=60))
def test_whoever_comes_speaks_goes_and_makes_room_the_counts_are_right(events):
    world = World()
    for pause, (what, which) in events:
        world.now += pause
        if isinstance(what, int):
            world.comes(what, which)
        elif world.present:
            visitor = world.present[which % len(world.present)]
            if what == "speaks":
                visitor.spoken = True
                world.places[visitor].keep()
            else:
                world.present.remove(visitor)
                world.places[visitor].leave()
        world.check()
    for visitor, place in world.places.items():
        place.leave()
        visitor.spoken = True
    assert not world.rooms.taken
    assert not len(world.rooms.newcomers)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(HOSTS), st.booleans()), max_size=40))
def test_no_limit_is_ever_passed_and_all_is_free_in_the_end(events):
    rooms = Rooms(sessions=6, per_tenant=4, per_client=3, tenants=2)
    doors = [rooms.door("acme", 2), rooms.door("acme", 3), rooms.door("umbrella", 5)]
    taken = []
    for number, host, comes in events:
        if comes:
            place = doors[number].enter(at(host), 0.0)
            if isinstance(place, Place):
                taken.append((number, host, place))
        elif taken:
            taken.pop(0)[2].leave()
        assert len(taken) <= 6
        assert sum(number < 2 for number, _, _ in taken) <= 4
        assert all(sum(each == number for each, _, _ in taken) <= doors[number].limit for number in range(3))
        assert all(sum(each == host for _, each, _ in taken) <= 3 for _, host, _ in taken)
    for _, _, place in taken:
        place.leave()
    assert not rooms.taken
