"""From a destination to a logged-in stream: every step bounded, every failure named, one more try for a token."""

import errno
import gc
import os
import weakref

import pytest
from twisted.internet import error as failures
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.destination.model import (
    Destination,
    Login,
    MailProtocol,
    Password,
    Timeouts,
    TLSMode,
    TLSSettings,
    Token,
)
from mailproxy.errors import (
    DestinationUnavailable,
    DestinationUnknown,
    DestinationUnusable,
    HostNotFound,
    LacksTLS,
    LimitReached,
    LoopDetected,
    NameLookupFailed,
    RefusedLogin,
    RefusedSession,
    TLSFailed,
    TokenRefused,
    Unreachable,
)
from mailproxy.sandbox.pki import Authority
from mailproxy.tls import ClientTLS, Trust
from mailproxy.upstream import connector as connector_module
from mailproxy.upstream.connector import Connector
from mailproxy.upstream.holdoff import HoldOffSettings
from mailproxy.upstream.stream import UpstreamStream
from tests.support.transports import Network

SECONDS = 20.0
HOST = "mail.test"
V4 = IPv4Address("TCP", "192.0.2.1", 587)
V6 = IPv6Address("TCP", "2001:db8::1", 587)


def destination(mode=TLSMode.REQUIRED, host=HOST, timeouts=None):
    return Destination(
        "d", MailProtocol.SMTP, host, 587, TLSSettings(mode), login=True, timeouts=timeouts or Timeouts()
    )


def with_token(token, **more):
    return Login(destination(**more), Token("alice", token, 1e9))


def with_password(password="sentinel", **more):
    return Login(destination(**more), Password("alice", password))


class Stream(UpstreamStream, Protocol):
    """The test says how its login goes."""

    def __init__(self, clock, login, tls):
        super().__init__(clock, login, over_tls=login.destination.tls.mode is TLSMode.IMPLICIT)
        self.tls = tls

    def converse(self, chunk):
        self.said = chunk


@implementer(IHostnameResolver)
class Resolver:
    def __init__(self):
        self.asked = []

    def resolveHostName(self, receiver, host, portNumber):
        self.asked.append((host, receiver))
        receiver.resolutionBegan(self)
        return self

    def cancel(self):
        pass

    def answer(self, *addresses):
        _, receiver = self.asked[-1]
        for address in addresses:
            receiver.addressResolved(address)
        receiver.resolutionComplete()


class Opening:
    """One session that wants a stream; `result` is None while it waits."""

    def __init__(self, opening):
        self.opening = opening
        self.result = None
        opening.addCallbacks(self._opened, self._failed)

    def _opened(self, stream):
        self.result = stream

    def _failed(self, failure):
        self.result = failure.value


class Always:
    """The same login for everybody, and no other."""

    def __init__(self, login):
        self.current = login
        self.replaced = 0

    async def login(self):
        return self.current

    async def replace(self, refused):
        self.replaced += 1


class Renewed:
    """A token until it is refused, then the next one; fetching that takes until `arrive`."""

    def __init__(self):
        self.number = 1
        self.fetching = None
        self.fetched = 0

    def _current(self):
        return with_token(f"token {self.number}")

    async def login(self):
        return self._current()

    async def replace(self, refused):
        if refused == self._current():
            if self.fetching is None:
                self.fetching = []
                self.fetched += 1
            waiter = Deferred()
            self.fetching.append(waiter)
            await waiter
        return self._current()

    def arrive(self):
        self.number += 1
        waiters, self.fetching = self.fetching, None
        for waiter in waiters:
            waiter.callback(None)


class Logins:
    """Answers are values, errors, or Deferreds of them."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.replaced = []

    async def _next(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def login(self):
        return await self._next()

    async def replace(self, refused):
        self.replaced.append(refused)
        return await self._next()


class Setting:
    """A connector, and everything around it."""

    def __init__(self, *answers, ours=False, max_pending_logins=100):
        self.reactor = MemoryReactorClock()
        self.resolver = Resolver()
        self.reactor.installNameResolver(self.resolver)
        self.network = Network(self.reactor)
        self.logins = Logins(*answers)
        self.streams = []
        self.asked = []
        self.ours = ours
        trust = Trust(platform=False, bundles=(Authority.create().certificate_pem,))
        self.connector = Connector(
            self.reactor,
            "the way",
            self.logins,
            ClientTLS(trust),
            self._make_stream,
            is_ours=self._is_ours,
            login_seconds=SECONDS,
            connect_seconds=15.0,
            random=lambda: 0.0,
            max_pending_logins=max_pending_logins,
            hold_off=HoldOffSettings(),
        )
        self.openings = []

    def _make_stream(self, login, tls):
        self.streams.append(Stream(self.reactor, login, tls))
        return self.streams[-1]

    def _is_ours(self, peer, own):
        self.asked.append((peer, own))
        return self.ours

    def open(self):
        self.outcome = []
        self.opening = self.connector.open()
        self.opening.addBoth(self.outcome.append)
        return self

    def crowd(self, number):
        """So many sessions want a stream at once; the first one is looked at by what is about one."""
        for _ in range(number):
            self.openings.append(Opening(self.connector.open()))
        return self

    def resolve(self, *addresses):
        self.resolver.answer(*addresses or [V4])
        return self

    @property
    def connections(self):
        return self.reactor.tcpClients

    def connected(self, number=-1):
        """The TCP connection is there: the mail server's end of it."""
        host, port, factory, _, _ = self.connections[number]
        protocol = factory.buildProtocol(IPv4Address("TCP", host, port))
        self.server = self.network.plug(protocol, as_tcp=True, begins=True)
        self.network.settle()
        return self

    def unconnected(self, error, number=-1):
        connector = self.reactor.connectors[number]
        self.connections[number][2].clientConnectionFailed(connector, Failure(error))
        return self

    def refuse(self, number=-1, *, temporary=False):
        self.streams[number].fail(RefusedLogin("535 no", temporary=temporary))
        self.network.settle()
        return self

    def let_in(self, number=-1):
        self.streams[number].logged_in("capabilities", pending=False)
        return self

    def advance(self, seconds):
        self.network.advance(seconds)
        return self

    def failed(self, kind):
        """It has failed in that way, and nothing of it is left."""
        (failure,) = self.outcome
        assert isinstance(failure, Failure), failure
        assert failure.type is kind, failure
        self.assert_nothing_left()
        return str(failure.value)

    def assert_nothing_left(self):
        self.network.settle()
        assert not self.reactor.getDelayedCalls()
        assert not self.network.transports


@pytest.fixture(autouse=True)
def second_opinions(monkeypatch):
    """The second lookup that says what was wrong with the first."""
    asked = []

    async def classify(reactor, host):
        asked.append(host)
        return HostNotFound(f"{host}: no such name")

    monkeypatch.setattr(connector_module, "classify_lookup_failure", classify)
    return asked


# Success


@pytest.mark.parametrize("client", [None, "the client"])
def test_each_stream_knows_of_which_client_its_mail_server_is_told(client):
    setting = Setting(with_token("old"), with_token("new"))
    setting.connector.open(client=client)
    setting.resolve().connected().refuse().resolve().connected().let_in()
    assert [stream.introduction for stream in setting.streams] == [client, client]
    setting.streams[-1].abort()
    setting.assert_nothing_left()


def test_a_login_comes_through():
    setting = Setting(with_password()).open().resolve().connected().let_in()
    assert setting.outcome == setting.streams
    assert setting.outcome[0].capabilities == "capabilities"
    assert not setting.reactor.getDelayedCalls()
    assert setting.resolver.asked[0][0] == HOST
    assert setting.connections[0][:2] == ("192.0.2.1", 587)
    assert len(setting.asked) == 1
    setting.streams[0].abort()


@pytest.mark.parametrize(("said", "used"), [(None, 15.0), (3.0, 3.0)])
def test_the_destination_may_say_how_long_a_connection_may_take(said, used):
    setting = Setting(with_password(timeouts=Timeouts(connect=said))).open().resolve()
    assert setting.connections[0][3] == used
    setting.opening.cancel()


@pytest.mark.parametrize("mode", [TLSMode.REQUIRED, TLSMode.OPPORTUNISTIC, TLSMode.NONE])
def test_for_starttls_the_stream_gets_the_options(mode):
    setting = Setting(with_password(mode=mode)).open().resolve().connected()
    assert setting.streams[0].tls is not None
    assert setting.server.hear() == b""
    setting.opening.cancel()


def test_over_implicit_tls_the_handshake_begins_at_once():
    setting = Setting(with_password(mode=TLSMode.IMPLICIT)).open().resolve().connected()
    assert setting.streams[0].tls is None
    assert setting.server.hear()[:1] == b"\x16"
    setting.opening.cancel()
    setting.failed(CancelledError)


def test_the_second_address_is_tried_when_the_first_does_not_answer():
    setting = Setting(with_password()).open().resolve(V6, V4).advance(1)
    assert [connection[0] for connection in setting.connections] == ["2001:db8::1", "192.0.2.1"]
    setting.connected().let_in()
    assert setting.outcome == setting.streams
    assert setting.reactor.connectors[0].stoppedConnecting
    setting.streams[0].abort()


def test_what_connected_a_stream_does_not_keep_it_alive():
    gc.collect()
    gc.disable()
    try:
        setting = Setting(with_password()).open().resolve().connected().let_in()
        gone = weakref.ref(setting.streams[0])
        setting.streams[0].abort()
        setting.network.settle()
        setting.streams.clear()
        setting.outcome.clear()
        assert setting.connections
        assert gone() is None
    finally:
        gc.enable()


# The deadline


def test_a_silent_destination_service():
    setting = Setting(Deferred()).open().advance(SECONDS - 0.1)
    assert setting.outcome == []
    setting.advance(0.2)
    assert setting.failed(DestinationUnavailable) == ("no credentials within 20 s: we were looking up the destination")


def test_a_silent_name_service(second_opinions):
    setting = Setting(with_password()).open().advance(SECONDS + 1)
    words = setting.failed(NameLookupFailed)
    assert words == "no answer of the name service within 20 s: we were looking up mail.test"
    assert second_opinions == []
    setting.resolve()
    assert setting.connections == []


def test_a_host_that_does_not_answer():
    setting = Setting(with_password()).open().resolve().advance(SECONDS + 1)
    assert setting.failed(Unreachable) == "no connection within 20 s: we were connecting to mail.test:587"
    assert all(connector.stoppedConnecting for connector in setting.reactor.connectors)


def test_a_silent_mail_server():
    setting = Setting(with_password()).open().resolve().connected()
    setting.streams[0].doing = "waiting for the reply to EHLO"
    setting.advance(SECONDS + 1)
    assert setting.failed(RefusedSession) == "no login within 20 s: we were waiting for the reply to EHLO"
    assert setting.server.over


def test_a_silent_handshake():
    setting = Setting(with_password(mode=TLSMode.IMPLICIT)).open().resolve().connected().advance(SECONDS + 1)
    assert setting.failed(RefusedSession) == "no login within 20 s: we were waiting for the TLS handshake"


def test_octets_that_trickle_in_do_not_put_the_deadline_off():
    setting = Setting(with_password()).open().resolve().connected()
    for _ in range(19):
        setting.server.say(b"2")
        setting.advance(1)
    assert setting.outcome == []
    setting.advance(1.1)
    setting.failed(RefusedSession)


def test_a_silent_token_service_behind_a_refusal():
    setting = Setting(with_token("old"), Deferred()).open().resolve().connected().refuse().advance(SECONDS + 1)
    assert setting.failed(DestinationUnavailable) == "no credentials within 20 s: we were getting a fresh token"


def test_both_tries_share_one_deadline():
    setting = Setting(with_token("old"), with_token("new")).open().resolve().connected().advance(12).refuse()
    setting.resolve().connected().advance(7)
    assert setting.outcome == []
    setting.advance(1.1)
    assert "no login within 20 s" in setting.failed(RefusedSession)


def test_who_does_not_let_himself_be_stopped_is_not_waited_for():
    class Stubborn(Logins):
        async def login(self):
            try:
                await Deferred()
            except CancelledError:
                return await self._next()

    late = Deferred()
    setting = Setting()
    setting.logins = setting.connector._logins = Stubborn(late)
    setting.open().advance(SECONDS + 1)
    setting.failed(DestinationUnavailable)
    late.callback(with_password())
    setting.resolve().connected().let_in()
    assert len(setting.outcome) == 1
    setting.assert_nothing_left()
    assert setting.server.over


# Giving up


def looking_up():
    return Setting(Deferred()).open()


def resolving():
    return Setting(with_password()).open()


def connecting():
    return resolving().resolve()


def logging_in():
    return connecting().connected()


def fresh_token():
    return Setting(with_token("old"), Deferred()).open().resolve().connected().refuse()


def second_login():
    setting = Setting(with_token("old"), with_token("new")).open().resolve().connected().refuse()
    return setting.resolve().connected()


@pytest.mark.parametrize("phase", [looking_up, resolving, connecting, logging_in, fresh_token, second_login])
def test_an_attempt_can_be_given_up_at_any_time(phase, second_opinions):
    setting = phase()
    assert setting.outcome == []
    setting.opening.cancel()
    setting.failed(CancelledError)
    setting.opening.cancel()
    assert phase is not connecting or setting.reactor.connectors[0].stoppedConnecting
    assert second_opinions == []


# A refused login


def test_a_refused_token_is_replaced_once():
    setting = Setting(with_token("old"), with_token("new")).open().resolve().connected().refuse()
    assert setting.server.over
    assert [login.credentials.token for login in setting.logins.replaced] == ["old"]
    setting.resolve().connected().let_in()
    assert setting.outcome == setting.streams[1:]
    assert setting.streams[1].login.credentials.token == "new"
    assert not setting.reactor.getDelayedCalls()
    setting.streams[1].abort()


def test_a_fresh_token_that_is_refused_too_is_the_end():
    setting = Setting(with_token("old"), with_token("new")).open().resolve().connected().refuse()
    setting.resolve().connected().refuse()
    assert setting.failed(RefusedLogin) == "535 no"
    assert len(setting.logins.replaced) == 1
    assert len(setting.connections) == 2


def test_where_there_is_nothing_else_to_try_the_refusal_stands():
    setting = Setting(with_password(), None).open().resolve().connected().refuse()
    assert setting.failed(RefusedLogin) == "535 no"
    assert len(setting.connections) == 1


def test_a_temporary_refusal_is_no_reason_for_a_fresh_token():
    setting = Setting(with_token("old")).open().resolve().connected().refuse(temporary=True)
    setting.failed(RefusedLogin)
    assert setting.logins.replaced == []


def test_a_token_service_that_gives_no_fresh_token_is_the_reason():
    setting = Setting(with_token("old"), TokenRefused("invalid_client")).open().resolve().connected().refuse()
    assert setting.failed(TokenRefused) == "invalid_client"


@pytest.mark.parametrize("error", [LacksTLS("no TLS"), TLSFailed("expired"), RefusedSession("554 no")])
def test_other_failures_are_no_reason_for_another_try(error):
    setting = Setting(with_token("old")).open().resolve().connected()
    setting.streams[0].fail(error)
    setting.failed(type(error))
    assert setting.logins.replaced == []


# A login of which nothing is known yet, or that is refused


def crowd_with(logins, number, **more):
    setting = Setting(**more)
    setting.logins = setting.connector._logins = logins
    return setting.crowd(number)


def results(setting):
    return [opening.result for opening in setting.openings]


def give_up(setting):
    for opening in setting.openings:
        opening.opening.cancel()
    for stream in setting.streams:
        stream.abort()
    setting.assert_nothing_left()


def in_a_crowd(number, **more):
    """A crowd whose login is known to be good."""
    setting = crowd_with(Always(with_password()), 1, **more).resolve().connected().let_in()
    setting.streams.pop().abort()
    setting.network.settle()
    setting.openings.clear()
    setting.reactor.tcpClients.clear()
    return setting.crowd(number)


def test_a_wrong_password_is_tried_once_not_once_per_session():
    setting = crowd_with(Always(with_password()), 50).resolve().connected()
    assert len(setting.connections) == 1
    setting.refuse()
    assert {str(result) for result in results(setting)} == {"535 no", "not tried again so soon: 535 no"}
    assert {type(result) for result in results(setting)} == {RefusedLogin}
    setting.crowd(50)
    assert len(setting.connections) == len(setting.resolver.asked) == 1
    setting.assert_nothing_left()


def test_once_it_is_known_to_be_good_all_log_in_at_once():
    setting = crowd_with(Always(with_password()), 10).resolve().connected().let_in()
    assert [type(result) for result in results(setting)] == [Stream] + [type(None)] * 9
    assert len(setting.resolver.asked) == 10
    give_up(setting)


def test_the_first_one_may_give_up_and_the_next_one_tries():
    setting = crowd_with(Always(with_password()), 3).resolve().connected()
    setting.openings[0].opening.cancel()
    assert len(setting.resolver.asked) == 2
    setting.resolve().connected().let_in()
    assert setting.openings[1].result is setting.streams[1]
    give_up(setting)


def test_who_waits_for_the_first_one_has_his_own_deadline():
    setting = crowd_with(Always(with_password()), 1).resolve().connected().advance(12)
    setting.crowd(1).advance(5)
    setting.refuse(temporary=True).resolve().connected().advance(10)
    assert setting.openings[1].result is None
    setting.advance(6)
    assert str(setting.openings[1].result).startswith("no login within 20 s: we were waiting for the greeting")
    setting.assert_nothing_left()


def test_who_waits_for_the_first_one_too_long_says_so():
    late = Deferred()
    setting = Setting(late, with_password()).crowd(2)
    setting.advance(15)
    late.callback(with_password())
    setting.advance(6)
    words = "no login within 20 s: we were waiting for another session to try the same login"
    assert words in [str(result) for result in results(setting)]
    give_up(setting)


def test_when_a_login_is_refused_all_at_once_others_do_not_show_it():
    setting = in_a_crowd(4)
    for asked in setting.resolver.asked[1:4]:
        asked[1].addressResolved(V4)
        asked[1].resolutionComplete()
    for number in range(3):
        setting.connected(number)
    setting.streams[0].shown = setting.streams[1].shown = True
    setting.refuse(0)
    assert [str(result) for result in results(setting)] == [
        "535 no",
        "None",
        "not tried again so soon: 535 no",
        "not tried again so soon: 535 no",
    ]
    setting.refuse(1)
    assert str(setting.openings[1].result) == "535 no"
    setting.assert_nothing_left()


def test_who_still_looks_the_name_up_or_connects_does_not_go_on_with_it(second_opinions):
    setting = in_a_crowd(3)
    for _, receiver in setting.resolver.asked[1:3]:
        receiver.addressResolved(V4)
        receiver.resolutionComplete()
    setting.connected(0).refuse(0)
    assert [str(result) for result in results(setting)] == ["535 no"] + ["not tried again so soon: 535 no"] * 2
    assert setting.reactor.connectors[-1].stoppedConnecting
    assert second_opinions == []
    setting.assert_nothing_left()


def test_a_token_that_is_refused_is_replaced_once_for_all():
    setting = crowd_with(Renewed(), 20).resolve().connected().refuse()
    assert setting.logins.fetched == 1
    setting.logins.arrive()
    assert len(setting.streams) == 2
    setting.resolve().connected().let_in()
    assert len(setting.streams) == 20 + 1
    assert {stream.login.credentials.token for stream in setting.streams[1:]} == {"token 2"}
    assert setting.logins.fetched == 1
    give_up(setting)


def test_a_fresh_token_is_tried_by_one_session_at_first():
    setting = crowd_with(Renewed(), 5).resolve().connected().refuse()
    setting.logins.arrive()
    setting.resolve().connected().refuse()
    assert {type(result) for result in results(setting)} == {RefusedLogin}
    assert len(setting.connections) == 2
    setting.assert_nothing_left()


# A mail server that is not reached


def test_a_mail_server_that_is_not_reached_is_left_alone_for_a_while():
    setting = crowd_with(Always(with_password()), 3).resolve().unconnected(failures.ConnectionRefusedError())
    setting.advance(0.9).crowd(3)
    assert {type(result) for result in results(setting)} == {Unreachable}
    assert str(setting.openings[-1].result) == (
        "not tried again so soon: no connection to mail.test:587: connection refused"
    )
    assert len(setting.connections) == 1
    setting.advance(0.1).crowd(3)
    assert len(setting.resolver.asked) == 2
    setting.resolve().connected().let_in()
    assert setting.openings[6].result is setting.streams[-1]
    give_up(setting)


def test_a_mail_server_that_stays_silent_is_left_alone_too():
    setting = crowd_with(Always(with_password()), 2).resolve().connected().advance(10)
    setting.crowd(1).advance(10)
    words = "no login within 20 s: we were waiting for the greeting"
    assert {str(result) for result in results(setting)} == {words, f"not tried again so soon: {words}"}
    setting.crowd(1)
    assert type(setting.openings[-1].result) is RefusedSession
    setting.assert_nothing_left()


def test_time_that_was_lost_before_is_not_the_mail_servers_fault():
    late = Deferred()
    setting = Setting(late, with_password()).crowd(1).advance(11)
    late.callback(with_password())
    setting.resolve().connected().advance(10)
    assert type(setting.openings[0].result) is RefusedSession
    setting.crowd(1)
    assert setting.openings[1].result is None
    give_up(setting)


@pytest.mark.parametrize("change", [{"host": "other.test"}, {"mode": TLSMode.NONE}])
def test_another_address_is_not_held_off(change):
    setting = crowd_with(Always(with_password()), 1).resolve().unconnected(failures.ConnectionRefusedError())
    setting.logins.current = with_password(**change)
    setting.crowd(1)
    assert len(setting.resolver.asked) == 2
    give_up(setting)


def test_another_password_is_held_off_where_nobody_is_reached():
    setting = crowd_with(Always(with_password()), 1).resolve().unconnected(failures.ConnectionRefusedError())
    setting.logins.current = with_password("another")
    setting.crowd(1)
    assert type(setting.openings[1].result) is Unreachable
    setting.assert_nothing_left()


def test_a_mail_server_that_refuses_sessions_is_reached():
    setting = crowd_with(Always(with_password()), 1).resolve().connected()
    setting.streams[0].fail(RefusedSession("421 busy"))
    setting.crowd(1)
    assert setting.openings[1].result is None
    give_up(setting)


def test_of_many_who_miss_a_name_one_asks_why(monkeypatch):
    answer, asked = Deferred(), []

    async def classify(reactor, host):
        asked.append(host)
        return await answer

    monkeypatch.setattr(connector_module, "classify_lookup_failure", classify)
    setting = in_a_crowd(20)
    for _, receiver in setting.resolver.asked[1:]:
        receiver.resolutionComplete()
    setting.openings[0].opening.cancel()
    answer.callback(HostNotFound("no such name"))
    assert {str(opening.result) for opening in setting.openings[1:]} == {"no such name"}
    assert asked == [HOST]
    setting.assert_nothing_left()


# Turns


def test_only_so_many_log_in_at_a_time():
    setting = in_a_crowd(5, max_pending_logins=2)
    assert len(setting.resolver.asked) == 1 + 2
    setting.resolve().connected().let_in()
    assert len(setting.resolver.asked) == 1 + 3
    give_up(setting)


def test_who_waits_for_his_turn_too_long_is_told_to_come_back_later():
    setting = in_a_crowd(0, max_pending_logins=1)
    slow = Deferred()
    setting.connector._logins = Logins(slow, with_password())
    setting.crowd(1).advance(1)
    setting.crowd(1).resolve().connected().advance(1)
    slow.callback(with_password())
    setting.advance(18)
    assert type(setting.openings[0].result) is LimitReached
    assert str(setting.openings[0].result) == "no turn within 20 s: we were waiting for our turn to log in"
    assert setting.openings[1].result is None
    setting.advance(1)
    assert type(setting.openings[1].result) is RefusedSession
    setting.assert_nothing_left()


def test_who_got_his_turn_too_late_waited_for_it_and_not_for_the_mail_server():
    setting = in_a_crowd(4, max_pending_logins=1).resolve().connected().advance(12)
    setting.let_in().resolve().connected().advance(SECONDS - 12)
    late = results(setting)[1:]
    assert {type(result) for result in late} == {LimitReached}
    assert {str(result) for result in late} == {"no turn within 20 s: we were waiting for our turn to log in"}
    give_up(setting)


def test_who_got_his_turn_in_good_time_waited_for_the_mail_server():
    setting = in_a_crowd(2, max_pending_logins=1).resolve().connected().advance(8)
    setting.let_in().resolve().connected().advance(SECONDS - 8)
    assert type(setting.openings[1].result) is RefusedSession
    give_up(setting)


def test_who_gives_up_waiting_for_his_turn_leaves_the_queue():
    setting = in_a_crowd(3, max_pending_logins=1)
    setting.openings[1].opening.cancel()
    setting.resolve().connected().let_in()
    assert len(setting.resolver.asked) == 1 + 2
    setting.openings[2].opening.cancel()
    assert not setting.connector._turns._waiting
    setting.crowd(1)
    assert len(setting.resolver.asked) == 1 + 3
    give_up(setting)


def test_a_crowd_behind_a_mail_server_that_went_away_is_told_at_once():
    setting = in_a_crowd(2000, max_pending_logins=1)
    setting.resolve().unconnected(failures.ConnectionRefusedError()).advance(0.5)
    assert {type(result) for result in results(setting)} == {Unreachable}
    assert len(setting.resolver.asked) == 1 + 1
    setting.assert_nothing_left()


# What can be wrong


@pytest.mark.parametrize("error", [DestinationUnknown("no such destination"), DestinationUnusable("Type", "wrong")])
def test_an_error_of_the_lookup_is_passed_on(error):
    setting = Setting(error).open()
    assert setting.failed(type(error)) == str(error)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (failures.ConnectionRefusedError(), "connection refused"),
        (failures.NoRouteError(), "no route to the host"),
        (failures.TCPTimedOutError(), "no answer in time"),
        (failures.TimeoutError(), "no answer in time"),
        (failures.ConnectBindError(), "ConnectBindError"),
        (failures.ConnectError(osError=99, string="secret words"), "ConnectError"),
        (OSError(errno.EAFNOSUPPORT, "secret words"), "OSError"),
    ],
)
def test_no_connection(error, why):
    setting = Setting(with_password()).open().resolve().unconnected(error).advance(1)
    assert setting.failed(Unreachable) == f"no connection to mail.test:587: {why}"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
@pytest.mark.parametrize("kind", [failures.ConnectBindError, OSError])
def test_no_descriptor_is_our_own_limit(number, kind):
    setting = Setting(with_password(), with_password()).open().resolve().unconnected(kind(number, "secret words"))
    setting.advance(1)
    assert setting.failed(LimitReached) == f"no connection to mail.test:587: {os.strerror(number).lower()}"
    setting.open()
    assert setting.outcome == []
    setting.opening.cancel()


def test_a_system_that_gives_no_socket_is_no_mistake_of_ours(monkeypatch):
    setting = Setting(with_password()).open()

    def connect(*arguments, **more):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(setting.reactor, "connectTCP", connect)
    setting.resolve().advance(1)
    setting.failed(LimitReached)


def test_no_connection_to_any_of_several_addresses():
    setting = Setting(with_password()).open().resolve(V6, V4).unconnected(failures.NoRouteError()).advance(1)
    assert setting.outcome == []
    setting.unconnected(failures.ConnectionRefusedError()).advance(1)
    setting.failed(Unreachable)


def test_a_name_without_addresses_gets_a_second_opinion(second_opinions):
    setting = Setting(with_password()).open()
    setting.resolver.answer()
    assert setting.failed(HostNotFound) == "mail.test: no such name"
    assert second_opinions == [HOST]


@pytest.mark.parametrize("host", ["x" * 64 + ".test", "a b", "mail..test"])
def test_a_host_that_is_none(host):
    setting = Setting(with_password(host=host)).open()
    assert setting.failed(DestinationUnusable).startswith("host: ")
    assert setting.connections == []


def test_tls_settings_that_cannot_be():
    settings = TLSSettings(TLSMode.REQUIRED, minimum="TLSv9")
    login = Login(Destination("d", MailProtocol.SMTP, HOST, 587, settings, login=True), Password("alice", "sentinel"))
    assert "TLSv9" in Setting(login).open().failed(DestinationUnusable)


def test_a_mail_server_that_closes_at_once():
    setting = Setting(with_password()).open().resolve().connected()
    setting.server.close()
    setting.advance(0)
    assert "waiting for the greeting" in setting.failed(RefusedSession)


def test_a_way_back_to_ourselves_is_not_gone():
    setting = Setting(with_password(), ours=True).open().resolve().connected()
    assert setting.failed(LoopDetected) == "mail.test:587 is one of our own listeners"
    assert setting.server.over
    ((peer, own),) = setting.asked
    assert (peer.port, own.port) != (None, None)


def test_a_mistake_of_ours_is_passed_on_as_it_is():
    setting = Setting(KeyError("oops")).open()
    setting.failed(KeyError)


def test_a_mistake_of_ours_does_not_get_lost_when_nobody_waits(logged_failures):
    class Broken(Logins):
        async def login(self):
            try:
                await Deferred()
            except CancelledError:
                raise KeyError("oops") from None

    setting = Setting()
    setting.connector._logins = Broken()
    setting.open()
    setting.opening.cancel()
    setting.failed(CancelledError)
    del setting
    gc.collect()
    assert [event["log_failure"].type for event in logged_failures if "log_failure" in event] == [KeyError]
    logged_failures.clear()


# What an operator sees of it


def seen(setting):
    return setting.connector.witness.condition


def test_what_nobody_has_tried_is_not_known():
    condition = seen(Setting(with_password()))
    assert (condition.last_success, condition.last_failure, condition.peer, condition.credential) == (None,) * 4


def test_a_login_is_noted_with_the_server_and_the_kind_of_its_credentials():
    setting = Setting(with_token("secret")).advance(5.0).open().resolve().connected()
    assert (seen(setting).peer.host, seen(setting).peer.address, seen(setting).last_success) == (HOST, None, None)
    setting.let_in()
    assert (seen(setting).last_success, seen(setting).last_failure) == (5.0, None)
    assert (seen(setting).peer.host, seen(setting).peer.port, seen(setting).peer.tls) == (HOST, 587, None)
    assert seen(setting).peer.address is not None
    assert (seen(setting).credential.kind, seen(setting).credential.expires) == ("token", 1e9)
    assert "secret" not in repr(seen(setting))
    setting.streams[0].abort()


@pytest.mark.parametrize(
    ("login", "kind"),
    [(with_password(), "password"), (Login(destination(), None), "none")],
)
def test_other_kinds_of_credentials_have_no_end_that_is_known(login, kind):
    setting = Setting(login).open().resolve().connected().let_in()
    assert (seen(setting).credential.kind, seen(setting).credential.expires) == (kind, None)
    assert "sentinel" not in repr(seen(setting))
    setting.streams[0].abort()


def test_a_refusal_is_noted_and_until_when_nobody_tries():
    setting = Setting(with_password(), None, with_password(), None).advance(5.0).open().resolve().connected().refuse()
    setting.failed(RefusedLogin)
    failure = seen(setting).last_failure
    assert (failure.when, failure.outcome, failure.text) == (5.0, "upstream_refused_login", "535 no")
    assert seen(setting).held(5.0) == 5.0 + HoldOffSettings().login_first_seconds
    setting.advance(1.0).open()
    assert "not tried again" in setting.failed(RefusedLogin)
    assert seen(setting).last_failure is failure, "who did not try has found out nothing"


def test_a_server_that_is_not_reached_is_noted_and_forgotten_when_it_is():
    setting = Setting(with_password(), with_password()).open().resolve().unconnected(failures.ConnectionRefusedError())
    setting.failed(Unreachable)
    assert "connection refused" in seen(setting).last_failure.text
    until = seen(setting).held(0.0)
    assert until == HoldOffSettings().connect_first_seconds
    setting.advance(until).open().resolve().connected().let_in()
    assert seen(setting).held(0.0) is None
    assert seen(setting).last_success == until
    setting.streams[-1].abort()


def test_a_destination_that_is_not_found_is_noted():
    setting = Setting(DestinationUnknown("no such destination")).open()
    setting.failed(DestinationUnknown)
    assert seen(setting).last_failure.outcome == "destination_unknown"


def test_who_gives_up_has_found_out_nothing():
    setting = Setting(with_password()).open().resolve().connected()
    setting.opening.cancel()
    setting.failed(CancelledError)
    assert seen(setting).last_failure is None


def test_the_server_is_looked_at_again_after_a_while():
    login = with_password()
    setting = Setting(login, login, login)
    looked = []
    for seconds in (0.0, 5.0, 5.0):
        setting.advance(seconds).open().resolve().connected().let_in()
        looked.append(seen(setting).peer)
        setting.streams[-1].abort()
    assert looked[0] is looked[1] is not looked[2]
