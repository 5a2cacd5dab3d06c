"""
Pools of several tenants on one shelf, whatever happens in whatever order.

Every connection is watched: who has it, and what it was made with.
"""

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mailproxy.destination.model import Password
from mailproxy.errors import DestinationUnavailable, RefusedSession
from mailproxy.upstream.resting import Shelf
from tests.support.transports import Network
from tests.upstream.pools import CHANNEL, LOGIN_SECONDS, QUIT_SECONDS, Bed, Borrower

TENANTS = st.sampled_from([0, 0, 1])
NUMBERS = st.integers(0, 20)
SECONDS = st.sampled_from([0.1, 1.0, 5.0, 19.0, 31.0, 100.0])
PATIENCE = 2 * LOGIN_SECONDS + 0.1
"""A claim has ended by then: an attempt that was begun for one behind it may be the last one to fail."""


class Watched(Borrower):
    """A session that takes nothing on trust."""

    def __init__(self, tenant, machine, **more):
        self.tenant = tenant
        self.machine = machine
        self.begun = tenant.clock.seconds()
        self.known = tenant.generations[-1]
        self.fresh = more.get("fresh", False)
        super().__init__(tenant.pool, **more)

    @property
    def waits(self):
        return not (self.claim.called or self.error)

    def _served(self, stream):
        since = self.tenant.generations.index(self.known)
        wrong = {
            "of another tenant": stream.channel not in self.tenant.ours,
            "with a login from before": stream.channel not in self.tenant.generations[since:],
            "that has ended": stream.transport is None,
            "that another one has": any(each.stream is stream for each in self.machine.borrowers),
            "that was not sound": stream in self.machine.unsound,
            "that has spoken at rest": stream in self.machine.spoken,
            "that is not fresh": self.fresh and stream.reused,
        }
        self.machine.wrong += [what for what, it_is in wrong.items() if it_is]
        super()._served(stream)
        if self.machine.hasty:
            self.give_back()


class Tenant(Bed):
    def __init__(self, name, shelf, network, **more):
        self.name = name
        self.ours = set()
        self.generations = []
        super().__init__(shelf=shelf, network=network, channel=evolve(CHANNEL, way=name), **more)
        self.change()

    def change(self):
        password = Password("alice", f"password {len(self.generations)}")
        channel = evolve(self.connector.now, login=evolve(self.connector.now.login, credentials=password))
        self.connector.now = channel
        self.generations.append(channel)
        self.ours.add(channel)


class PoolMachine(RuleBasedStateMachine):
    @initialize(
        places=st.sampled_from([4, 4, 2, 1, 0]),
        most=st.sampled_from([0, 0, 1, 2]),
        min_idle=st.sampled_from([0, 0, 1, 3]),
        messages=st.sampled_from([2, 100]),
        quick=st.sampled_from([True, True, False]),
        looks_up=st.sampled_from([False, False, True]),
        hasty=st.booleans(),
    )
    def begin(self, places, most, min_idle, messages, quick, looks_up, hasty):
        self.network = Network()
        self.shelf = Shelf(places)
        self.places = places
        self.most = most
        more = {"connections": most, "min_idle": min_idle, "messages": messages}
        self.tenants = [Tenant(name, self.shelf, self.network, **more) for name in ("acme", "globex")]
        for tenant in self.tenants:
            tenant.connector.manual = not quick
            tenant.connector.lookups = [] if looks_up else None
        self.borrowers = []
        self.unsound, self.spoken = set(), set()
        self.wrong = []
        """Connections that somebody got and should not have."""
        self.hasty = False
        self.may_be_hasty = hasty

    def pick(self, number, having=lambda each: True):
        candidates = [each for each in self.borrowers if having(each)]
        return candidates[number % len(candidates)] if candidates else None

    @rule(tenant=TENANTS, fresh=st.booleans())
    def comes(self, tenant, fresh):
        self.borrowers.append(Watched(self.tenants[tenant], self, fresh=fresh))

    @rule(tenant=TENANTS, fresh=st.booleans(), reset=st.booleans())
    def comes_and_goes(self, tenant, fresh, reset):
        """All goes well."""
        borrower = Watched(self.tenants[tenant], self, fresh=fresh)
        self.borrowers.append(borrower)
        connector = self.tenants[tenant].connector
        while connector.lookups:
            connector.look_up()
        while connector.attempts:
            connector.succeed()
        if borrower.stream:
            borrower.give_back(reset=reset)
        self.a_mail_server_answers_all_that_it_was_asked(tenant)

    @rule(tenant=TENANTS)
    def comes_and_is_in_a_hurry(self, tenant):
        self.hasty = self.may_be_hasty
        self.borrowers.append(Watched(self.tenants[tenant], self))
        self.hasty = False

    @rule(number=NUMBERS)
    def gives_up(self, number):
        borrower = self.pick(number, lambda each: each.waits)
        if borrower is not None:
            borrower.leave()

    @rule(number=NUMBERS, messages=st.integers(0, 2), reset=st.booleans(), sound=st.sampled_from([True, True, False]))
    def gives_back(self, number, messages, reset, sound):
        borrower = self.pick(number, lambda each: each.stream)
        if borrower is not None:
            if not sound:
                self.unsound.add(borrower.stream)
            borrower.give_back(messages=messages, reset=reset, sound=sound)

    @rule(number=NUMBERS)
    def aborts(self, number):
        borrower = self.pick(number, lambda each: each.stream)
        if borrower is not None:
            self.unsound.add(borrower.stream)
            borrower.abort()

    @rule(number=NUMBERS)
    def would_let_go(self, number):
        borrower = self.pick(number)
        if borrower is not None:
            borrower.lets_go = True

    @rule(tenant=TENANTS, number=NUMBERS, good=st.sampled_from([True, True, True, False]))
    def an_attempt_ends(self, tenant, number, good):
        connector = self.tenants[tenant].connector
        if connector.attempts and good:
            connector.succeed(number % len(connector.attempts))
        elif connector.attempts:
            connector.fail(RefusedSession("no"), number % len(connector.attempts))

    @rule(tenant=TENANTS, good=st.sampled_from([True, True, False]))
    def a_look_up_ends(self, tenant, good):
        connector = self.tenants[tenant].connector
        if connector.lookups:
            connector.look_up(None if good else DestinationUnavailable("no"))

    @rule(tenant=TENANTS, at_once=st.booleans())
    def a_password_changes(self, tenant, at_once):
        self.tenants[tenant].change()
        if at_once:
            self.comes(tenant, fresh=False)

    @rule(
        tenant=TENANTS,
        number=st.integers(-2, 20),
        said=st.sampled_from([b"250 ok\r\n", b"250 ok\r\n", b"421 bye\r\n", b"250 a\r\n250 b\r\n", b"2", None]),
    )
    def a_mail_server_speaks_or_goes(self, tenant, number, said):
        self.network.settle()
        servers = [each for each in self.tenants[tenant].connector.servers.items() if each[0].transport is not None]
        if not servers:
            return
        stream, server = servers[number % len(servers)]
        heard = server.hear()
        lent = any(each.stream is stream for each in self.borrowers)
        if said is None:
            server.close()
        else:
            server.say(said)
        if not lent and (said != b"250 ok\r\n" or b"RSET" not in heard):
            self.spoken.add(stream)
        self.network.settle()

    @rule(tenant=TENANTS)
    def mail_servers_do_as_they_are_asked(self, tenant):
        self.a_mail_server_answers_all_that_it_was_asked(tenant)

    def a_mail_server_answers_all_that_it_was_asked(self, tenant):
        self.network.settle()
        for stream, server in self.tenants[tenant].connector.servers.items():
            heard = server.hear() if stream.transport is not None else b""
            if b"QUIT" in heard:
                server.close()
            elif b"RSET" in heard:
                server.say(b"250 ok\r\n")
        self.network.settle()

    @rule(seconds=SECONDS)
    def time_goes_by(self, seconds):
        before = self.network.clock.seconds()
        while self.network.clock.seconds() < before + seconds:
            self.network.advance(min(1.0, before + seconds - self.network.clock.seconds()))
            self.attempts_run_out()

    def attempts_run_out(self):
        for tenant in self.tenants:
            connector = tenant.connector
            for attempt in list(connector.attempts):
                if attempt in connector.attempts and attempt.until <= self.network.clock.seconds():
                    connector.fail(RefusedSession("late"), connector.attempts.index(attempt))

    @rule(places=st.sampled_from([4, 4, 4, 1, 0]))
    def the_shelf_changes(self, places):
        self.places = places
        self.shelf.resize(places)

    @invariant()
    def everybody_gets_what_they_may_have(self):
        assert self.wrong == []

    @invariant()
    def the_bounds_are_kept(self):
        assert len(self.shelf) <= self.places
        self.network.settle()
        for tenant in self.tenants:
            alive = sum(stream.transport is not None for stream in tenant.connector.servers)
            assert not self.most or alive + len(tenant.connector.attempts) <= self.most

    @invariant()
    def nobody_waits_for_ever(self):
        now = self.network.clock.seconds()
        for each in self.borrowers:
            assert not each.waits or now - each.begun <= PATIENCE

    def teardown(self):
        for each in list(self.borrowers):
            if each.waits:
                each.leave()
        for each in list(self.borrowers):
            if each.stream:
                each.give_back()
        for tenant in self.tenants:
            while tenant.connector.lookups:
                tenant.connector.look_up()
            tenant.pool.close()
            assert not tenant.connector.attempts
        assert len(self.shelf) == 0
        self.network.advance(LOGIN_SECONDS + QUIT_SECONDS + 1)
        assert not self.network.transports
        assert not self.network.clock.getDelayedCalls()
        ended = sum(each.claim.called for each in self.borrowers)
        assert ended == len(self.borrowers)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
