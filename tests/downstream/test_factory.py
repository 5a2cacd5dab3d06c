"""A listener's sessions: each has a place, is counted, and is gone when it is over."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import LogLevel

from mailproxy.downstream.factory import Room
from mailproxy.downstream.pop3 import POP3ServerFactory
from mailproxy.downstream.smtp import SMTPServerFactory
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.actions import CloseDownstream, SendDownstream
from mailproxy.session.pop3 import POP3Policy
from mailproxy.session.smtp_policy import SMTPPolicy
from tests.downstream.bench import CLOSE, CROWDED, FakeSession, pipe


def quitting():
    return FakeSession(receive_downstream=lambda chunk: [SendDownstream(b"221 bye\r\n"), CloseDownstream("quit")])


def leave(bench, client):
    client.say(b"QUIT\r\n")
    bench.run()
    client.hear()
    client.shutdown()
    bench.run()


def test_without_a_limit_there_is_always_a_place():
    room = Room(0)
    room.taken = 10**6
    assert not room.full


def test_over_the_limit_a_client_is_told_and_sent_away(benches):
    room = Room(2)
    bench = benches(quitting, rooms=(room,))
    first, _ = bench.connect()
    bench.connect()
    assert room.full
    late, protocol = bench.connect()
    assert late.hear() == CROWDED
    assert late.over
    assert not protocol.transport.connected
    assert bench.outcomes() == {"too_many_sessions": 1}
    assert (bench.counters.sessions, bench.counters.active) == (3, 2)
    assert bench.events[-1]["log_level"] is LogLevel.warn
    leave(bench, first)
    assert not room.full
    bench.connect()
    assert bench.outcomes() == {"too_many_sessions": 1, "quit": 1}


def test_every_room_must_have_a_place_and_a_refusal_takes_none(benches):
    everywhere, here = Room(10), Room(1)
    bench = benches(quitting, rooms=(everywhere, here))
    client, _ = bench.connect()
    for _ in range(3):
        late, _ = bench.connect()
        assert late.hear() == CROWDED
    assert (everywhere.taken, here.taken) == (1, 1)
    leave(bench, client)
    assert (everywhere.taken, here.taken) == (0, 0)


def test_listeners_share_a_room(benches):
    room = Room(1)
    one, other = (benches(quitting, rooms=(room,)) for _ in range(2))
    client, _ = one.connect()
    late, _ = other.connect()
    assert late.hear() == CROWDED
    leave(one, client)
    assert room.taken == 0
    other.connect()
    assert room.taken == 1


def test_a_place_is_taken_as_long_as_anything_is_left_of_the_session(benches):
    room = Room(1)
    bench = benches(lambda: FakeSession(receive_downstream=lambda chunk: [CloseDownstream("bad_line")]), rooms=(room,))
    client, _ = bench.connect()
    client.say(b"x")
    bench.run()
    assert bench.outcomes() == {"bad_line": 1}
    assert room.taken == 1
    bench.run(CLOSE)
    assert room.taken == 0


def test_who_is_sent_away_and_does_not_read_is_cut_off(benches):
    bench = benches(quitting, rooms=(Room(1),), pipe_octets=4)
    bench.connect()
    _, protocol = bench.connect()
    bench.run(CLOSE - 0.1)
    assert protocol.transport.connected
    bench.run(0.2)
    assert not protocol.transport.connected


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


def test_the_log_knows_who_the_client_is(benches):
    bench = benches(quitting)
    for address, words in [
        (IPv4Address("TCP", "192.0.2.1", 4711), "192.0.2.1:4711"),
        (IPv6Address("TCP", "2001:db8::1", 4712), "[2001:db8::1]:4712"),
        (UNIXAddress("/run/mail"), "a local socket"),
    ]:
        protocol = bench.factory.buildProtocol(address)
        client = bench.network.plug(protocol)
        leave(bench, client)
        assert f"from {words}: ended: quit" in bench.lines()[-1]


@pytest.mark.parametrize(
    ("make", "policy", "crowded"),
    [
        (SMTPServerFactory, SMTPPolicy("proxy.test"), b"421 4.3.2 Too many sessions, try later\r\n"),
        (POP3ServerFactory, POP3Policy(), b"-ERR [SYS/TEMP] too many sessions, try later\r\n"),
    ],
)
def test_each_protocol_has_its_words_and_a_session_for_each_client(benches, make, policy, crowded):
    around = benches(pipe).factory._around
    factory = make(policy, around, ListenerLog("dest", "acme"), (Room(1),))
    assert factory.make_session() is not factory.make_session()
    assert factory.crowded == crowded
