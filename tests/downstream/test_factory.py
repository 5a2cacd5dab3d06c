"""A listener's sessions: each has a place, is counted, and is gone when it is over; who finds none is told."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import LogLevel

from mailproxy.destination.model import Timeouts
from mailproxy.downstream.connection import MAX_DRAINED_OCTETS
from mailproxy.downstream.pop3 import POP3ServerFactory
from mailproxy.downstream.rooms import MAX_TURNED_AWAY, Rooms
from mailproxy.downstream.smtp import SMTPServerFactory
from mailproxy.downstream.turnedaway import FOLD_SECONDS
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.actions import CloseDownstream, SendDownstream, Waiting
from mailproxy.session.pop3 import POP3Policy
from mailproxy.session.smtp_policy import SMTPPolicy
from tests.downstream.bench import CLOSE, CROWDED, OVERLOAD, SHUTDOWN, TIMEOUTS, FakeSession, pipe
from tests.support.transports import PIPE_OCTETS

HERE, THERE = IPv4Address("TCP", "192.0.2.1", 4711), IPv4Address("TCP", "192.0.2.2", 4712)


def quitting():
    return FakeSession(receive_downstream=lambda chunk: [SendDownstream(b"221 bye\r\n"), CloseDownstream("quit")])


def leave(bench, client):
    client.say(b"QUIT\r\n")
    bench.run()
    client.hear()
    client.shutdown()
    bench.run()


# Places


def test_over_the_limit_a_client_is_told_and_sent_away(benches):
    bench = benches(quitting, rooms=Rooms(sessions=2))
    first, _ = bench.connect()
    bench.connect()
    late, protocol = bench.connect(HERE)
    assert late.hear() == CROWDED
    assert late.over
    late.close()
    bench.run()
    assert not protocol.transport.connected
    assert bench.clock.seconds() == 0
    assert bench.outcomes() == {"too_many_sessions": 1}
    assert (bench.counters.sessions, bench.counters.active) == (3, 2)
    leave(bench, first)
    bench.connect()
    assert bench.outcomes() == {"too_many_sessions": 1, "quit": 1}


def test_listeners_share_rooms(benches):
    rooms = Rooms(sessions=1)
    one, other = (benches(quitting, rooms=rooms) for _ in range(2))
    client, _ = one.connect()
    late, _ = other.connect()
    assert late.hear() == CROWDED
    leave(one, client)
    other.connect()
    assert other.outcomes() == {"too_many_sessions": 1}


def test_a_place_is_taken_as_long_as_anything_is_left_of_the_session(benches):
    rooms = Rooms(sessions=1)
    bench = benches(lambda: FakeSession(receive_downstream=lambda chunk: [CloseDownstream("bad_line")]), rooms=rooms)
    client, _ = bench.connect()
    client.say(b"x")
    bench.run()
    assert bench.outcomes() == {"bad_line": 1}
    assert rooms.taken
    bench.run(CLOSE)
    assert not rooms.taken


def test_a_place_is_given_back_when_no_session_comes_to_be(benches):
    bench = benches(lambda: 1 / 0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            bench.factory.buildProtocol(HERE)
    assert not bench.rooms.taken
    assert bench.counters.sessions == 0


def test_a_connection_that_cannot_be_set_up_does_not_stay(benches):
    bench = benches(pipe)
    protocol = bench.factory.buildProtocol(HERE)
    protocol.makeConnection(UnusableTransport(protocol))
    assert not bench.factory.sessions
    assert not bench.rooms.taken
    assert bench.outcomes() == {"internal_error": 1}
    assert len(bench.tracebacks()) == 1


class UnusableTransport:
    """A socket on which nothing can be set."""

    def __init__(self, protocol):
        self._protocol = protocol

    def setTcpNoDelay(self, enabled):
        raise OSError

    def abortConnection(self):
        self._protocol.connectionLost()


# Who is in a hurry


@pytest.mark.parametrize(("others", "seconds"), [(2, TIMEOUTS[Waiting.DOWNSTREAM_FIRST_COMMAND]), (3, OVERLOAD)])
def test_in_a_crowd_there_is_less_time_for_the_first_command(benches, others, seconds):
    def make():
        session = FakeSession(
            start=lambda: session.wait(Waiting.DOWNSTREAM_FIRST_COMMAND) or [],
            expired=lambda: [CloseDownstream("downstream_timeout")],
            receive_downstream=lambda chunk: session.wait(Waiting.DOWNSTREAM_COMMAND) or [],
        )
        return session

    bench = benches(make, rooms=Rooms(sessions=4))
    for _ in range(others):
        bench.connect()[0].say(b"x")
    bench.run()
    bench.connect()
    bench.run(seconds - 0.1)
    assert not bench.outcomes()
    bench.run(0.2)
    assert bench.outcomes() == {"downstream_timeout": 1}


def test_the_timeouts_of_a_destination_do_not_give_back_what_a_crowd_has_taken(benches):
    session = pipe(upstream_opened=lambda capabilities: session.wait(Waiting.DOWNSTREAM_FIRST_COMMAND) or [])
    session.answers["expired"] = lambda: [CloseDownstream("downstream_timeout")]
    bench = benches(session, rooms=Rooms(sessions=1))
    bench.connect()
    bench.let_in(timeouts=Timeouts(read=200))
    bench.run(OVERLOAD)
    assert bench.outcomes() == {"downstream_timeout": 1}


# Who is turned away


def crowded(benches, **more):
    """A listener with one client, and no place for another."""
    bench = benches(quitting, rooms=Rooms(sessions=1), **more)
    bench.connect()
    return bench


def test_the_words_arrive_though_the_client_has_begun_to_talk(benches):
    bench = crowded(benches)
    protocol = bench.factory.buildProtocol(HERE)
    client = bench.network.plug(protocol)
    client.say(b"EHLO there\r\n")
    bench.run(1)
    client.say(b"MAIL FROM:<>\r\n" * 1000)
    bench.run(1)
    assert client.hear() == CROWDED
    assert client.over
    client.close()
    bench.run()
    assert not bench.factory.turned_away


def test_who_does_not_close_is_cut_off(benches):
    bench = crowded(benches)
    _, protocol = bench.connect()
    bench.run(CLOSE - 0.1)
    assert protocol.transport.connected
    bench.run(0.2)
    assert not protocol.transport.connected


def test_who_does_not_read_is_cut_off(benches):
    bench = crowded(benches, pipe_octets=4)
    _, protocol = bench.connect()
    bench.run(CLOSE - 0.1)
    assert protocol.transport.connected
    bench.run(0.2)
    assert not protocol.transport.connected


def test_who_never_stops_talking_is_cut_off(benches):
    bench = crowded(benches)
    client, protocol = bench.connect()
    sent = 0
    while protocol.transport.connected:
        sent += client.send(b"y" * 65536)
        bench.run()
        assert sent <= MAX_DRAINED_OCTETS + 65536 + PIPE_OCTETS
    assert sent > MAX_DRAINED_OCTETS
    assert bench.clock.seconds() == 0


def test_only_so_many_are_waited_for_and_the_others_are_told_and_closed_at_once(benches):
    bench = crowded(benches)
    patient = [bench.connect() for _ in range(MAX_TURNED_AWAY)]
    hasty = [bench.connect() for _ in range(5)]
    for client, protocol in [*patient, *hasty]:
        assert client.hear() == CROWDED
        assert client.over
        assert protocol.transport.connected == ((client, protocol) in patient)
    assert len(bench.factory.turned_away) == MAX_TURNED_AWAY
    patient[0][0].close()
    bench.run()
    assert bench.connect()[1].transport.connected
    bench.run(CLOSE)
    assert not bench.factory.turned_away
    assert bench.outcomes() == {"too_many_sessions": MAX_TURNED_AWAY + 6}


def test_who_is_not_waited_for_is_cut_off_when_the_words_do_not_even_leave(benches):
    bench = crowded(benches, pipe_octets=4)
    for _ in range(MAX_TURNED_AWAY):
        bench.connect()
    _, protocol = bench.connect()
    bench.run(CLOSE - 0.1)
    assert protocol.transport.connected
    bench.run(0.2)
    assert not protocol.transport.connected


def test_the_log_names_the_limit_and_the_client(benches):
    bench = benches(quitting, rooms=Rooms(sessions=100, per_client=1))
    bench.connect(HERE)
    bench.connect(HERE)
    warning = bench.events[-1]
    assert warning["log_level"] is LogLevel.warn
    assert bench.lines()[-1] == (
        "acme/dest: too many sessions of one client (max_sessions_per_client): "
        "the client at 192.0.2.1:4711 was turned away"
    )


def test_a_flood_is_a_line_for_each_limit_and_then_one_a_minute(benches):
    bench = benches(FakeSession, rooms=Rooms(sessions=2, per_client=1))
    clients = [bench.connect(address)[0] for address in (HERE, THERE)]
    for address in (HERE, HERE, *(IPv4Address("TCP", f"192.0.2.{number}", 1) for number in (3, 4))):
        bench.connect(address)
    assert [line.rpartition(" (")[0] for line in bench.lines()] == [
        "acme/dest: too many sessions of one client",
        "acme/dest: too many sessions in all",
    ]
    bench.run(FOLD_SECONDS)
    which = "1 of one client (max_sessions_per_client), 1 in all (max_sessions)"
    assert bench.lines()[2:] == [f"acme/dest: too many sessions: more clients were turned away, {which}"]
    for client in clients:
        client.say(b"x\r\n")
    bench.run()
    for _ in range(1000):
        bench.connect(HERE)
    bench.run(FOLD_SECONDS - 1)
    assert len(bench.lines()) == 3
    bench.run(1)
    assert bench.lines()[3].endswith("turned away, 1000 of one client (max_sessions_per_client)")
    bench.run(FOLD_SECONDS)
    assert not bench.clock.getDelayedCalls()
    bench.connect(HERE)
    assert "the client at 192.0.2.1:4711" in bench.lines()[4]
    assert bench.counters.turned_away == {"client": 1003, "everywhere": 2}
    assert bench.outcomes() == {"too_many_sessions": 1005}


# From outside


def test_stopping_waits_for_the_last_connection(benches):
    bench = benches(pipe)
    clients = [bench.connect()[0] for _ in range(3)]
    stopped = []
    bench.factory.stop().addCallback(stopped.append)
    assert stopped == []
    bench.run()
    assert stopped == [None]
    assert all(client.over for client in clients)
    assert bench.outcomes() == {"shutdown": 3}


def test_stopping_without_sessions_is_done_at_once(benches):
    assert benches(pipe).factory.stop().called


def test_stopping_ends_who_is_being_turned_away_and_says_what_was_not_said(benches):
    bench = crowded(benches)
    for _ in range(3):
        bench.connect()
    stopped = bench.factory.stop()
    bench.run()
    assert stopped.called
    assert not bench.clock.getDelayedCalls()
    assert bench.clock.seconds() == 0
    assert any("more clients were turned away, 2 in all" in line for line in bench.lines())


def draining():
    """A session that is told to drain and does so at its next word."""
    session = FakeSession(
        drain=lambda: [SendDownstream(SHUTDOWN), CloseDownstream("shutdown")] if not session.busy else [],
        receive_downstream=lambda chunk: session.begin() if chunk == b"MAIL" else session.finish(),
        cut=lambda last: [SendDownstream(SHUTDOWN), CloseDownstream("shutdown")] if last or not session.last else [],
    )
    session.busy = session.last = False

    def begin():
        session.busy = True
        return []

    def finish():
        return [SendDownstream(b"250 ok\r\n" + SHUTDOWN), CloseDownstream("shutdown")]

    session.begin, session.finish = begin, finish
    return session


def test_draining_ends_idle_sessions_and_waits_for_the_others(benches):
    bench = benches(draining)
    (idle, _), (busy, _) = bench.connect(), bench.connect()
    busy.say(b"MAIL")
    bench.run()
    gone = bench.factory.drain()
    bench.run()
    assert idle.hear() == SHUTDOWN
    assert idle.over
    idle.close()
    bench.run(100)
    assert not gone.called
    busy.say(b"QUIT")
    bench.run()
    assert busy.hear() == b"250 ok\r\n" + SHUTDOWN
    assert not gone.called
    busy.close()
    bench.run()
    assert gone.called
    assert bench.outcomes() == {"shutdown": 2}


def test_the_last_words_of_a_drain_arrive_though_the_client_goes_on_talking(benches):
    bench = benches(draining)
    client, _ = bench.connect()
    gone = bench.factory.drain()
    for _ in range(20):
        client.say(b"y" * 1000)
        bench.run(0.1)
    assert client.hear() == SHUTDOWN
    assert not gone.called
    bench.run(CLOSE)
    assert gone.called


def test_who_comes_while_the_listener_goes_away_is_told_so(benches):
    bench = benches(draining)
    bench.connect()[0].say(b"MAIL")
    bench.run()
    gone = bench.factory.drain()
    late, _ = bench.connect(HERE)
    assert late.hear() == SHUTDOWN
    assert late.over
    assert bench.outcomes() == {"shutdown": 1}
    assert bench.lines()[-1].endswith("from 192.0.2.1:4711: ended: shutdown")
    bench.factory.stop()
    bench.run()
    assert gone.called


def test_draining_waits_until_who_was_turned_away_has_heard_it(benches):
    bench = benches(draining, limit=1)
    client, _ = bench.connect()
    late, _ = bench.connect()
    gone = bench.factory.drain()
    client.close()
    bench.run()
    assert not gone.called
    late.close()
    bench.run()
    assert gone.called


def test_draining_twice_is_draining_once(benches):
    bench = benches(draining)
    client, _ = bench.connect()
    first, second = bench.factory.drain(), bench.factory.drain()
    bench.run()
    assert client.hear() == SHUTDOWN
    client.close()
    bench.run()
    assert first.called
    assert second.called
    assert bench.factory.drain().called


def test_when_time_is_up_everybody_is_cut_and_in_the_end_those_who_wait_for_a_last_word(benches):
    bench = benches(draining)
    (one, first), (other, second) = bench.connect(), bench.connect()
    for client, protocol in ((one, first), (other, second)):
        client.say(b"MAIL")
        bench.run()
        protocol._session.last = client is other
    bench.factory.drain()
    bench.factory.cut(last=False)
    bench.run()
    assert one.hear() == SHUTDOWN
    assert not other.over
    bench.run(CLOSE)
    bench.factory.cut(last=True)
    bench.run()
    assert other.hear() == SHUTDOWN
    assert first._session.heard("cut") == [[False]]
    assert second._session.heard("cut") == [[False], [True]]
    assert bench.outcomes() == {"shutdown": 2}


def test_what_has_ended_is_neither_drained_nor_cut_again(benches):
    bench = benches(draining)
    client, protocol = bench.connect()
    bench.factory.drain()
    bench.factory.drain()
    bench.factory.cut(last=True)
    assert protocol._session.heard("drain") == [[]]
    assert not protocol._session.heard("cut")
    bench.run()
    assert client.hear() == SHUTDOWN


def test_somebody_may_wait_until_it_is_empty_without_ending_anything(benches):
    bench = benches(quitting)
    client, _ = bench.connect()
    empty = bench.factory.emptied()
    bench.run(100)
    assert not empty.called
    leave(bench, client)
    assert empty.called
    bench.connect()
    assert bench.outcomes() == {"quit": 1}


def test_the_log_knows_who_the_client_is(benches):
    bench = benches(quitting)
    for address, words in [
        (HERE, "192.0.2.1:4711"),
        (IPv6Address("TCP", "2001:db8::1", 4712), "[2001:db8::1]:4712"),
        (UNIXAddress("/run/mail"), "a local socket"),
    ]:
        client, _ = bench.connect(address)
        leave(bench, client)
        assert f"from {words}: ended: quit" in bench.lines()[-1]


@pytest.mark.parametrize(
    ("make", "policy", "crowded", "shutdown"),
    [
        (
            SMTPServerFactory,
            SMTPPolicy("proxy.test"),
            b"421 4.3.2 Too many sessions, try later\r\n",
            b"421 4.3.2 Service shutting down\r\n",
        ),
        (
            POP3ServerFactory,
            POP3Policy(),
            b"-ERR [SYS/TEMP] too many sessions, try later\r\n",
            b"-ERR [SYS/TEMP] service shutting down\r\n",
        ),
    ],
)
def test_each_protocol_has_its_words_and_a_session_for_each_client(benches, make, policy, crowded, shutdown):
    factory = make(policy, benches(pipe).around, ListenerLog("dest", "acme"), Rooms().door("acme"))
    assert factory.make_session() is not factory.make_session()
    assert (factory.crowded, factory.shutdown) == (crowded, shutdown)
