"""A client that says nothing makes room: it hears why, is gone at once, is counted once, and the next one is served."""

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.logger import LogLevel

from mailproxy.downstream.newcomers import SPEAK_UP_SECONDS
from mailproxy.downstream.pop3 import POP3ServerFactory
from mailproxy.downstream.rooms import Rooms
from mailproxy.downstream.smtp import SMTPServerFactory
from mailproxy.downstream.turnedaway import FOLD_SECONDS
from mailproxy.session.actions import CloseDownstream, SendDownstream
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.pop3 import POP3Capabilities
from tests.downstream.bench import CLOSE, CROWDED, SHUTDOWN, FakeSession, pipe
from tests.downstream.test_protocol_tls import IMPLICIT, TLSClient, begin, connect, smtp, upgrading

HERE = IPv4Address("TCP", "192.0.2.1", 4711)
LATE = SPEAK_UP_SECONDS + 0.1


def greeting(**more):
    return FakeSession(**{"start": lambda: [SendDownstream(b"220 hello\r\n")]} | more)


def lonely(benches, session=greeting, **more):
    """A listener with one place."""
    return benches(session, rooms=Rooms(sessions=1), **more)


def real(bench, factory, policy):
    """The same with real sessions."""
    bench.factory.crowded = factory.crowded
    bench.factory.make_session = factory(policy, bench.around, bench.factory.log, bench.rooms.door("acme")).make_session
    return bench


def real_smtp(benches):
    return real(lonely(benches), SMTPServerFactory, SMTPPolicy("proxy.test"))


def real_pop3(benches):
    return real(lonely(benches), POP3ServerFactory, POP3Policy())


# What becomes of the silent one


def test_it_is_told_and_closed_at_once_and_the_next_one_is_served(benches):
    bench = lonely(benches)
    silent, protocol = bench.connect()
    bench.run(LATE)
    client, _ = bench.connect(HERE)
    assert client.hear() == b"220 hello\r\n"
    assert silent.hear() == b"220 hello\r\n" + CROWDED
    assert silent.over
    assert not protocol.transport.connected
    assert bench.outcomes() == {"made_room": 1}
    assert (bench.counters.sessions, bench.counters.active) == (2, 1)
    assert len(bench.factory.sessions) == 1
    assert not bench.factory.turned_away
    assert not bench.counters.turned_away


def test_before_it_had_time_to_speak_the_next_one_is_turned_away(benches):
    bench = lonely(benches)
    silent, _ = bench.connect()
    bench.run(SPEAK_UP_SECONDS - 0.1)
    late, _ = bench.connect()
    assert late.hear() == CROWDED
    assert not silent.over
    assert bench.outcomes() == {"too_many_sessions": 1}


def test_one_octet_is_nothing_and_a_line_is_something(benches):
    bench = lonely(benches)
    slow, _ = bench.connect()
    for octet in (b"N", b"O"):
        slow.say(octet)
        bench.run(60)
    client, _ = bench.connect()
    assert slow.hear().endswith(CROWDED)
    assert slow.over
    client.say(b"NOOP\r\n")
    bench.run(60)
    late, _ = bench.connect()
    assert late.hear().endswith(CROWDED)
    assert not client.over
    assert bench.outcomes() == {"made_room": 1, "too_many_sessions": 1}


def test_who_waits_for_our_login_is_not_silent(benches):
    bench = real_pop3(benches)
    waiting, _ = bench.connect()
    bench.run(LATE)
    late, _ = bench.connect()
    assert late.hear() == POP3ServerFactory.crowded
    assert not waiting.over
    bench.let_in(POP3Capabilities(None))
    bench.run(SPEAK_UP_SECONDS - 0.1)
    bench.connect()
    assert waiting.hear() == b"+OK ready\r\n"
    bench.run(0.2)
    bench.connect()
    assert waiting.hear().endswith(POP3ServerFactory.crowded)
    assert bench.outcomes() == {"too_many_sessions": 2, "made_room": 1}


def test_its_connection_to_the_mail_server_is_cut(benches):
    bench = lonely(benches, pipe)
    silent, _ = bench.connect()
    server, _ = bench.let_in()
    server.say(b"x" * 10)
    bench.run(LATE)
    bench.connect()
    with pytest.raises(ConnectionResetError):
        server.hear()
    assert silent.hear() == b"x" * 10 + CROWDED


def test_it_may_be_another_listeners_and_hears_its_own_words(benches):
    rooms = Rooms(sessions=1)
    one, other = benches(greeting, rooms=rooms), benches(greeting, rooms=rooms, tenant="umbrella")
    one.factory.crowded = b"-ERR crowded\r\n"
    silent, _ = one.connect()
    one.run(LATE)
    other.run(LATE)
    client, _ = other.connect()
    one.run()
    assert silent.hear().endswith(b"-ERR crowded\r\n")
    assert client.hear() == b"220 hello\r\n"
    assert one.outcomes() == {"made_room": 1}
    assert other.outcomes() == {}
    assert not one.factory.sessions


def test_who_is_being_sent_away_for_another_reason_is_left_alone(benches):
    bench = lonely(benches, lambda: greeting(receive_downstream=lambda chunk: [CloseDownstream("not_smtp")]))
    client, protocol = bench.connect()
    client.say(b"\x16")
    bench.run(LATE)
    late, _ = bench.connect()
    assert late.hear() == CROWDED
    assert protocol.transport.connected
    assert bench.outcomes() == {"not_smtp": 1, "too_many_sessions": 1}


def test_one_that_does_not_even_read_is_cut_off_and_waited_for_until_then(benches):
    bench = lonely(benches, FakeSession, pipe_octets=4)
    _, protocol = bench.connect()
    bench.run(LATE)
    bench.connect()
    assert protocol.transport.connected
    assert bench.rooms.taken[next(iter(bench.rooms.taken))] == 1
    gone = bench.factory.stop()
    bench.run()
    assert gone.called
    assert not protocol.transport.connected
    assert bench.outcomes() == {"made_room": 1, "shutdown": 1}


def test_one_that_does_not_read_has_no_longer_than_anybody_else(benches):
    bench = lonely(benches, FakeSession, pipe_octets=4)
    _, protocol = bench.connect()
    bench.run(LATE)
    bench.connect()
    bench.run(CLOSE - 0.1)
    assert protocol.transport.connected
    bench.run(0.2)
    assert not protocol.transport.connected
    assert not bench.factory.turned_away


def test_a_mistake_of_ours_while_it_is_told_is_not_the_next_ones_fault(benches):
    bench = lonely(benches)
    silent, protocol = bench.connect()
    bench.run(LATE)
    protocol.transport.write = None
    client, _ = bench.connect()
    assert client.hear() == b"220 hello\r\n"
    assert silent.over
    assert len(bench.tracebacks()) == 1
    assert bench.outcomes() == {"made_room": 1}


def test_a_flood_goes_through_one_place_and_leaves_nothing(benches):
    bench = lonely(benches)
    for _ in range(200):
        bench.connect(HERE)
        bench.run(LATE)
    assert bench.outcomes() == {"made_room": 199}
    assert len(bench.network.transports) == 1


# The log


def test_the_log_says_who_made_room_and_why_and_folds_the_others(benches):
    bench = lonely(benches)
    for _ in range(4):
        bench.connect(HERE)
        bench.run(LATE)
    which = "in all (max_sessions)"
    assert bench.lines() == [
        f"acme/dest: too many sessions {which}: the client at 192.0.2.1:4711 said nothing and made room for another"
    ]
    assert bench.events[-1]["log_level"] is LogLevel.warn
    bench.run(FOLD_SECONDS)
    assert bench.lines()[1:] == [f"acme/dest: too many sessions: more silent clients made room for others, 2 {which}"]
    bench.run(FOLD_SECONDS)
    assert not bench.clock.getDelayedCalls()


def test_who_is_turned_away_and_who_makes_room_have_lines_of_their_own(benches):
    bench = lonely(benches)
    bench.connect()
    bench.connect()
    bench.run(LATE)
    bench.connect()
    bench.connect()
    assert ["was turned away" in line for line in bench.lines()] == [True, False]
    bench.factory.stop()
    bench.run()
    assert any("more clients were turned away, 1 in all" in line for line in bench.lines())


# The end of the listener


def test_a_listener_that_goes_away_takes_nobodys_place(benches):
    bench = lonely(benches)
    silent, _ = bench.connect()
    bench.run(LATE)
    bench.factory.drain()
    late, _ = bench.connect()
    assert late.hear() == SHUTDOWN
    assert not silent.over
    assert bench.outcomes() == {"shutdown": 1}


def test_who_was_told_at_a_drain_is_not_told_again(benches):
    def leave():
        return [SendDownstream(b"421 bye\r\n"), CloseDownstream("shutdown")]

    rooms = Rooms(sessions=1)
    one, other = benches(lambda: greeting(drain=leave), rooms=rooms), benches(greeting, rooms=rooms)
    silent, _ = one.connect()
    one.run(LATE)
    one.factory.drain()
    other.run(LATE)
    late, _ = other.connect()
    one.run()
    assert late.hear() == CROWDED
    assert silent.hear() == b"220 hello\r\n421 bye\r\n"
    assert one.outcomes() == {"shutdown": 1}


def test_a_drain_waits_for_one_that_is_on_its_way_out(benches):
    bench = lonely(benches, lambda: FakeSession(drain=lambda: [CloseDownstream("shutdown")]), pipe_octets=4)
    bench.connect()
    bench.run(LATE)
    client, _ = bench.connect()
    gone = bench.factory.drain()
    client.close()
    bench.run()
    assert not gone.called
    bench.run(CLOSE)
    assert gone.called


# TLS


def test_in_the_handshake_it_is_cut_off(benches):
    bench = lonely(benches, smtp, **IMPLICIT)
    peer, protocol = begin(bench)
    bench.run(LATE)
    client = connect(bench, TLSClient())
    assert peer.over
    assert not protocol.transport.connected
    assert client.received == b"220 proxy.test ESMTP mailproxy\r\n"
    assert bench.outcomes() == {"made_room": 1}
    assert not any("no TLS with" in line for line in bench.lines())
    client.transport.abortConnection()


def test_behind_tls_it_is_told_with_a_proper_goodbye(benches):
    bench = lonely(benches, smtp, **IMPLICIT)
    silent = connect(bench, TLSClient())
    bench.run(LATE)
    client = connect(bench, TLSClient())
    assert silent.received == b"220 proxy.test ESMTP mailproxy\r\n" + CROWDED
    assert silent.reason.check(ConnectionDone)
    assert bench.outcomes() == {"made_room": 1}
    client.transport.abortConnection()


def test_behind_tls_it_is_not_waited_for(benches):
    bench = lonely(benches, smtp, **IMPLICIT)
    silent = connect(bench, TLSClient())
    silent.transport.pauseProducing()
    bench.run(LATE)
    client = connect(bench, TLSClient())
    assert not bench.protocols[0].transport.connected
    silent.transport.resumeProducing()
    bench.run()
    assert silent.received.endswith(CROWDED)
    client.transport.abortConnection()


def test_a_handshake_by_command_comes_behind_a_line(benches):
    bench = lonely(benches, upgrading, around={**IMPLICIT["around"], "encryption": Encryption.OFFERED})
    peer, protocol = begin(bench)
    peer.say(b"STARTTLS\r\n")
    bench.run(LATE)
    late, _ = begin(bench)
    assert late.hear() == CROWDED
    assert protocol.transport.connected


# Real sessions


@pytest.mark.parametrize(
    ("words", "spoken"),
    [(b"", False), (b"EHLO the", False), (b"EHLO there\r\n", True), (b"\r\n", True), (b"nonsense\r\n", True)],
)
def test_a_client_of_smtp_has_spoken_with_its_first_line(benches, words, spoken):
    bench = real_smtp(benches)
    first, _ = bench.connect()
    first.say(words)
    bench.run(LATE)
    bench.connect()
    assert first.hear().endswith(b"421 4.3.2 Too many sessions, try later\r\n") is not spoken
    assert first.over is not spoken


@pytest.mark.parametrize(
    ("words", "spoken"), [(b"", False), (b"CAP", False), (b"CAPA\r\n", True), (b"\r\n", True), (b"nonsense\r\n", True)]
)
def test_a_client_of_pop3_has_spoken_with_its_first_line(benches, words, spoken):
    bench = real_pop3(benches)
    first, _ = bench.connect()
    bench.let_in(POP3Capabilities(None))
    first.say(words)
    bench.run(LATE)
    bench.connect()
    assert first.hear().endswith(b"-ERR [SYS/TEMP] too many sessions, try later\r\n") is not spoken
    assert first.over is not spoken
