"""One mail client joined to a session: the flow of octets, the clock, every end."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail

from mailproxy.destination.model import Timeouts
from mailproxy.downstream.connection import MAX_DRAINED_OCTETS
from mailproxy.downstream.waits import NOBODY_SECONDS
from mailproxy.errors import ConnectionLost, RefusedSession, UpstreamTimeout
from mailproxy.session.actions import (
    AbortDownstream,
    AbortUpstream,
    CloseDownstream,
    OpenUpstream,
    ReleaseUpstream,
    Report,
    SendDownstream,
    SendUpstream,
    Waiting,
)
from tests.downstream.bench import CLOSE, FAREWELL, FLOOD, FOREVER, MOST_HELD, STALL, TIMEOUTS, FakeSession, pipe
from tests.support.transports import HIGH_MARK, PIPE_OCTETS

UPSTREAM_WAITS = [waiting for waiting in TIMEOUTS if waiting.name.startswith("UPSTREAM")]

# The flow of octets


def test_octets_pass_both_ways(benches):
    bench = benches(pipe())
    client, _ = bench.connect()
    server, _ = bench.let_in()
    client.say(b"to the server")
    server.say(b"to the client")
    bench.run()
    assert (server.hear(), client.hear()) == (b"to the server", b"to the client")


def test_both_legs_are_told_to_be_quick_and_to_notice_a_dead_peer(benches):
    bench = benches(pipe())
    _, protocol = bench.connect()
    _, stream = bench.let_in()
    for leg in (protocol, stream):
        assert leg.transport.no_delay
        assert leg.transport.keep_alive


@pytest.mark.parametrize("to_server", [True, False])
def test_a_slow_receiver_slows_the_sender_and_nothing_is_lost(benches, to_server):
    bench = benches(pipe())
    client, protocol = bench.connect()
    server, stream = bench.let_in()
    sender, receiver = (client, server) if to_server else (server, client)
    reads, writes = (protocol, stream) if to_server else (stream, protocol)
    sent, heard = 0, b""
    held = False
    while len(heard) < len(FLOOD):
        sent += sender.send(FLOOD[sent:])
        bench.run()
        held = held or not reads.transport.reading
        assert sent - len(heard) <= MOST_HELD
        assert len(writes.transport.buffer) <= HIGH_MARK + bench.network.read_octets
        heard += receiver.receive(20000)
    assert heard == FLOOD
    assert held


def test_a_client_that_does_not_read_its_replies_is_not_read_from(benches):
    session = FakeSession(receive_downstream=lambda chunk: [SendDownstream(b"x" * 1000 * chunk.count(b"\n"))])
    bench = benches(session)
    client, protocol = bench.connect()
    sent = 0
    for _ in range(1000):
        sent += client.send(b"NOOP\n" * 10)
        bench.run()
    assert not protocol.transport.reading
    assert sent < 3 * PIPE_OCTETS
    assert len(protocol.transport.buffer) <= HIGH_MARK + sent * 200
    while client.hear():
        bench.run()
    assert protocol.transport.reading
    assert sum(len(chunk) for (chunk,) in session.heard("receive_downstream")) == sent


def test_a_client_that_does_not_read_holds_the_server_too(benches):
    bench = benches(pipe())
    client, protocol = bench.connect()
    server, stream = bench.let_in()
    server.send(FLOOD)
    bench.run()
    while server.send(FLOOD):
        bench.run()
    assert not stream.transport.reading
    assert not protocol.transport.reading
    client.hear()
    bench.run()
    while client.hear():
        bench.run()
    assert stream.transport.reading
    assert protocol.transport.reading


def test_reading_is_the_sessions_to_say(benches):
    session = pipe()
    bench = benches(session)
    client, protocol = bench.connect()
    server, stream = bench.let_in()
    session.reading = session.reading_upstream = False
    client.say(b"one")
    bench.run()
    assert not protocol.transport.reading
    assert not stream.transport.reading
    client.say(b"two")
    server.say(b"three")
    bench.run()
    assert session.heard("receive_downstream") == [[b"one"]]
    session.reading = session.reading_upstream = True
    protocol._tell(lambda: None)
    bench.run()
    assert session.heard("receive_downstream") == [[b"one"], [b"two"]]
    assert session.heard("receive_upstream") == [[b"three"]]


def test_a_full_leg_and_a_session_that_does_not_read_are_two_reasons_to_pause(benches):
    session = pipe()
    bench = benches(session)
    client, protocol = bench.connect()
    server, _ = bench.let_in()
    while client.send(FLOOD):
        bench.run()
    assert not protocol.transport.reading
    session.reading = False
    protocol._tell(lambda: None)
    while server.hear():
        bench.run()
    assert not protocol.transport.reading
    session.reading = True
    protocol._tell(lambda: None)
    assert protocol.transport.reading


def test_a_server_that_takes_no_more_is_lost_after_a_while(benches):
    session = pipe()
    bench = benches(session)
    client, _ = bench.connect()
    server, _ = bench.let_in()
    while client.send(FLOOD):
        bench.run()
    bench.run(STALL - 1)
    assert not session.heard("upstream_lost")
    server.receive(1000)  # too little to empty the buffer
    bench.run(2)
    ((error,),) = session.heard("upstream_lost")
    assert isinstance(error, UpstreamTimeout)
    assert server.over
    bench.run(CLOSE)
    assert bench.outcomes() == {"upstream_lost": 1}
    assert "the mail server takes no more octets" in str(bench.lines())


def test_the_destinations_write_timeout_says_how_long_a_while_is(benches):
    session = pipe()
    bench = benches(session)
    client, _ = bench.connect()
    bench.let_in(timeouts=Timeouts(write=7))
    while client.send(FLOOD):
        bench.run()
    bench.run(6)
    assert not session.heard("upstream_lost")
    bench.run(2)
    assert session.heard("upstream_lost")


def test_a_client_that_takes_no_more_is_cut_off_after_a_while(benches):
    session = pipe()
    bench = benches(session)
    client, _ = bench.connect()
    server, _ = bench.let_in()
    while server.send(FLOOD):
        bench.run()
    bench.run(STALL - 1)
    assert not session.heard("downstream_lost")
    bench.run(2)
    assert session.heard("downstream_lost") == [[]]
    assert client.over
    assert bench.outcomes() == {"downstream_lost": 1}
    assert "the client takes no more octets" in str(bench.lines())


def test_a_reply_is_still_read_when_the_client_is_gone_that_did_not_read(benches):
    session = pipe(downstream_lost=list)
    bench = benches(session)
    client, protocol = bench.connect()
    server, stream = bench.let_in()
    while server.send(FLOOD):
        bench.run()
    assert not stream.transport.reading
    session.answers["receive_upstream"] = lambda chunk: []
    client.abort()
    protocol.transport.write(b"notice it")
    bench.run()
    assert session.heard("downstream_lost") == [[]]
    server.say(b"250 after all")
    bench.run()
    assert session.heard("receive_upstream")[-1] == [b"250 after all"]
    server.close()
    bench.run()
    assert bench.outcomes() == {"upstream_lost": 1}


# The clock


@pytest.mark.parametrize("waiting", list(TIMEOUTS))
def test_each_wait_has_its_deadline(benches, waiting):
    session = FakeSession(
        start=lambda: session.wait(waiting) or [], expired=lambda: session.wait(Waiting.UPSTREAM_LOGIN) or []
    )
    bench = benches(session)
    client, _ = bench.connect()
    bench.run(TIMEOUTS[waiting] - 0.1)
    assert not session.heard("expired")
    bench.run(0.2)
    assert session.heard("expired") == [[]]
    bench.run(FOREVER)
    assert session.heard("expired") == [[]]
    client.close()


def test_the_login_is_bounded_elsewhere(benches):
    session = FakeSession(start=lambda: session.wait(Waiting.UPSTREAM_LOGIN) or [])
    bench = benches(session)
    bench.connect()
    bench.run(FOREVER)
    assert not session.heard("expired")
    assert not bench.clock.getDelayedCalls()


@pytest.mark.parametrize("waiting", [Waiting.NOBODY, Waiting.DOWNSTREAM_LINE])
def test_a_session_that_does_nothing_about_its_deadline_does_not_stay_for_ever(benches, waiting):
    session = FakeSession(start=lambda: session.wait(waiting) or [OpenUpstream()])
    bench = benches(session)
    client, _ = bench.connect()
    bench.run(max(NOBODY_SECONDS, TIMEOUTS[Waiting.DOWNSTREAM_LINE]) - 0.1)
    assert not client.over
    bench.run(0.2)
    assert client.over
    assert bench.openings[0].was_given_up
    assert bench.outcomes() == {"internal_error": 1}
    assert len(bench.tracebacks()) == 1


def test_octets_that_trickle_in_do_not_put_a_deadline_off(benches):
    session = FakeSession(start=lambda: session.wait(Waiting.DOWNSTREAM_LINE) or [])
    bench = benches(session)
    client, _ = bench.connect()
    for _ in range(59):
        bench.run(1)
        client.say(b"x")
    assert not session.heard("expired")
    bench.run(2)
    assert session.heard("expired")


def test_a_new_wait_has_a_new_deadline(benches):
    session = FakeSession(start=lambda: session.wait(Waiting.DOWNSTREAM_LINE) or [])
    session.answers["receive_downstream"] = lambda chunk: session.wait(Waiting.DOWNSTREAM_LINE) or []
    bench = benches(session)
    client, _ = bench.connect()
    for _ in range(5):
        bench.run(50)
        client.say(b"x")
    bench.run(50)
    assert not session.heard("expired")
    bench.run(11)
    assert session.heard("expired")


def test_content_has_no_deadline_while_the_server_holds_it_back(benches):
    session = pipe()
    bench = benches(session)
    client, _ = bench.connect()
    server, _ = bench.let_in(timeouts=Timeouts(write=FOREVER))
    session.wait(Waiting.DOWNSTREAM_CONTENT)
    while client.send(FLOOD):
        bench.run()
    bench.run(TIMEOUTS[Waiting.DOWNSTREAM_CONTENT] * 3)
    assert not session.heard("expired")
    while server.hear():
        bench.run()
    bench.run(TIMEOUTS[Waiting.DOWNSTREAM_CONTENT] - 1)
    assert not session.heard("expired")
    bench.run(2)
    assert session.heard("expired")


def content(waiting):
    """A session in the middle of content, each chunk of which is a step of its own."""
    session = pipe(
        receive_downstream=lambda chunk: session.wait(session.waiting) or [SendUpstream(chunk)],
        receive_upstream=lambda chunk: session.wait(session.waiting) or [SendDownstream(chunk)],
        expired=lambda: [AbortUpstream(), CloseDownstream("downstream_timeout")],
        upstream_opened=lambda capabilities: session.wait(waiting) or [],
    )
    return session


CONTENT = [Waiting.DOWNSTREAM_CONTENT, Waiting.UPSTREAM_BODY]


@pytest.mark.parametrize("waiting", CONTENT)
@pytest.mark.parametrize("rate", [100.0, 0.0])
def test_content_that_trickles_has_its_end_where_it_has_to_have_a_rate(benches, waiting, rate):
    bench = benches(content(waiting), around={"min_content_rate": rate})
    client, _ = bench.connect()
    server, _ = bench.let_in()
    seconds = TIMEOUTS[waiting] * 2
    sender = client if waiting is Waiting.DOWNSTREAM_CONTENT else server
    for _ in range(int(seconds) - 10):
        sender.say(b"x" * 50)
        bench.run(1)
        client.hear(), server.hear()
    assert not bench.outcomes()
    for _ in range(20):
        if not bench.outcomes():
            sender.say(b"x" * 50)
        bench.run(1)
    assert bench.outcomes() == ({"downstream_timeout": 1} if rate else {})


@pytest.mark.parametrize("waiting", CONTENT)
def test_octets_of_the_other_side_do_not_put_the_end_of_content_off(benches, waiting):
    bench = benches(content(waiting), around={"min_content_rate": 100.0})
    client, _ = bench.connect()
    server, _ = bench.let_in()
    for _ in range(int(TIMEOUTS[waiting]) - 1):
        (server if waiting is Waiting.DOWNSTREAM_CONTENT else client).send(b"x" * 1000)
        bench.run(1)
        client.hear(), server.hear()
    assert not bench.outcomes()
    bench.run(1)
    assert bench.outcomes() == {"downstream_timeout": 1}


@pytest.mark.parametrize("waiting", CONTENT)
def test_content_with_a_rate_is_not_late_while_the_other_leg_holds_it_back(benches, waiting):
    bench = benches(content(waiting), around={"min_content_rate": 100.0, "stall_seconds": FOREVER})
    client, _ = bench.connect()
    server, _ = bench.let_in()
    sender, receiver = (client, server) if waiting is Waiting.DOWNSTREAM_CONTENT else (server, client)
    while sender.send(FLOOD):
        bench.run()
    bench.run(TIMEOUTS[waiting] * 3)
    assert not bench.outcomes()
    while receiver.hear():
        bench.run()
    bench.run(TIMEOUTS[waiting] - 1)
    assert not bench.outcomes()
    bench.run(2)
    assert bench.outcomes() == {"downstream_timeout": 1}


@pytest.mark.parametrize("waiting", UPSTREAM_WAITS)
def test_the_server_has_no_deadline_while_the_client_holds_its_words_back(benches, waiting):
    session = pipe(downstream_lost=list)
    bench = benches(session)
    client, protocol = bench.connect()
    server, _ = bench.let_in()
    protocol._to_downstream.stall_seconds = FOREVER
    session.wait(waiting)
    while server.send(FLOOD):
        bench.run()
    bench.run(TIMEOUTS[waiting] * 3)
    assert not session.heard("expired")
    while client.hear():
        bench.run()
    bench.run(TIMEOUTS[waiting] - 1)
    assert not session.heard("expired")
    bench.run(2)
    assert session.heard("expired")


@pytest.mark.parametrize("waiting", UPSTREAM_WAITS)
def test_the_destinations_read_timeout_bounds_every_wait_for_its_server(benches, waiting):
    session = pipe()
    bench = benches(session)
    bench.connect()
    bench.let_in(timeouts=Timeouts(read=9))
    session.wait(waiting)
    bench.protocols[0]._tell(lambda: None)
    bench.run(8)
    assert not session.heard("expired")
    bench.run(2)
    assert session.heard("expired")


def test_the_next_server_is_not_bound_by_the_last_ones_timeouts(benches):
    session = pipe(upstream_lost=lambda error: [OpenUpstream()])
    bench = benches(session)
    bench.connect()
    server, _ = bench.let_in(timeouts=Timeouts(read=9))
    server.close()
    bench.run()
    bench.let_in()
    session.wait(Waiting.UPSTREAM_REPLY)
    bench.protocols[0]._tell(lambda: None)
    bench.run(100)
    assert not session.heard("expired")


def test_the_destinations_timeout_does_not_bound_the_client(benches):
    session = pipe()
    bench = benches(session)
    bench.connect()
    bench.let_in(timeouts=Timeouts(read=9))
    session.wait(Waiting.DOWNSTREAM_COMMAND)
    bench.protocols[0]._tell(lambda: None)
    bench.run(100)
    assert not session.heard("expired")


# The end of a session


def closing(outcome, words=b"421 bye\r\n"):
    return FakeSession(receive_downstream=lambda chunk: [SendDownstream(words), CloseDownstream(outcome)])


def test_the_last_reply_arrives_though_the_client_goes_on_sending(benches):
    bench = benches(closing("too_many_errors"))
    client, protocol = bench.connect()
    client.say(b"x")
    bench.run()
    for _ in range(20):
        client.say(b"y" * 10000)
        bench.run(0.1)
    assert client.hear() == b"421 bye\r\n"
    assert client.over
    assert protocol.transport.connected
    client.close()
    bench.run()
    assert not protocol.transport.connected
    assert not bench.factory.sessions
    assert bench.outcomes() == {"too_many_errors": 1}


def test_what_the_session_did_not_want_to_read_does_not_destroy_its_last_words(benches):
    session = closing("too_many_errors")
    bench = benches(session)
    client, protocol = bench.connect()
    session.reading = False
    protocol._tell(lambda: None)
    client.say(b"more and more")
    bench.run()
    assert not session.heard("receive_downstream")
    protocol._tell(session.receive_downstream, b"")
    bench.run()
    assert client.hear() == b"421 bye\r\n"
    client.close()
    bench.run()
    assert not bench.factory.sessions
    assert bench.clock.seconds() == 0


def test_a_client_that_never_stops_sending_is_cut_off(benches):
    bench = benches(closing("bad_line"))
    client, protocol = bench.connect()
    client.say(b"x")
    bench.run()
    sent = 0
    while protocol.transport.connected:
        sent += client.send(b"y" * 65536)
        bench.run()
        assert sent <= MAX_DRAINED_OCTETS + 65536 + PIPE_OCTETS
    assert sent > MAX_DRAINED_OCTETS
    assert bench.clock.seconds() == 0


def test_a_client_that_does_not_close_is_cut_off_after_a_while(benches):
    bench = benches(closing("downstream_timeout"))
    client, protocol = bench.connect()
    client.say(b"x")
    bench.run(CLOSE - 0.1)
    assert protocol.transport.connected
    assert client.hear() == b"421 bye\r\n"
    bench.run(0.2)
    assert not protocol.transport.connected


def test_a_slow_client_gets_all_of_the_last_words(benches):
    words = b"z" * 200_000 + b"421 bye\r\n"
    bench = benches(closing("upstream_421", words))
    client, _ = bench.connect()
    client.say(b"x")
    heard = b""
    for _ in range(10):
        bench.run(CLOSE / 12)
        heard += client.hear()
    assert heard == words
    assert client.over


def test_a_client_that_does_not_read_its_last_words_is_cut_off(benches):
    for outcome in ("quit", "bad_line"):
        bench = benches(closing(outcome, b"z" * 200_000))
        client, protocol = bench.connect()
        client.say(b"x")
        bench.run(CLOSE + STALL - 0.1)
        assert protocol.transport.connected
        bench.run(0.2)
        assert not protocol.transport.connected
        assert bench.outcomes() == {outcome: 1}
        assert bench.lines()[-1].endswith("the end of the session: the client takes no more octets")


def test_a_very_slow_client_gets_all_of_the_last_words(benches):
    words = b"z" * 200_000 + b"421 bye\r\n"
    bench = benches(closing("shutdown", words), pipe_octets=12_000)
    client, protocol = bench.connect()
    client.say(b"x")
    heard = b""
    while not client.over:
        bench.run(CLOSE)
        heard += client.hear()
    assert heard == words
    assert 10 * CLOSE < bench.clock.seconds() < STALL
    assert not protocol.transport.connected


def test_who_is_still_taking_the_last_words_is_cut_off_when_everything_ends(benches):
    bench = benches(closing("shutdown", b"z" * 200_000))
    client, protocol = bench.connect()
    client.say(b"x")
    bench.run(CLOSE + 1)
    assert protocol.transport.connected
    bench.factory.stop()
    bench.run()
    assert not protocol.transport.connected


def test_octets_behind_quit_do_not_cost_the_reply_to_it(benches):
    bench = benches(closing("quit", b"221 bye\r\n"))
    client, protocol = bench.connect()
    client.say(b"QUIT\r\n")
    bench.run()
    client.say(b"NOOP\r\n")
    bench.run()
    assert client.hear() == b"221 bye\r\n"
    assert client.over
    client.shutdown()
    bench.run()
    assert not protocol.transport.connected
    assert bench.clock.seconds() == 0


def test_a_client_that_has_closed_its_side_is_not_waited_for(benches):
    session = FakeSession(
        downstream_ended=lambda: [SendDownstream(b"250 ok\r\n"), CloseDownstream("downstream_closed")]
    )
    bench = benches(session)
    client, protocol = bench.connect()
    client.say(b"NOOP\r\n")
    client.shutdown()
    bench.run()
    assert client.hear() == b"250 ok\r\n"
    assert not protocol.transport.connected
    assert bench.clock.seconds() == 0
    assert bench.outcomes() == {"downstream_closed": 1}


def test_a_half_closing_client_may_still_be_answered_later(benches):
    session = pipe()
    bench = benches(session)
    client, _ = bench.connect()
    server, _ = bench.let_in()
    client.say(b"MAIL")
    client.shutdown()
    bench.run(3)
    assert session.heard("downstream_ended") == [[]]
    server.say(b"250 ok\r\n")
    bench.run()
    assert client.hear() == b"250 ok\r\n"


def test_a_client_that_is_aborted_sees_a_broken_transfer(benches):
    session = FakeSession(
        receive_downstream=lambda chunk: [SendDownstream(b"half a mail"), AbortDownstream("upstream_lost")]
    )
    bench = benches(session)
    client, _ = bench.connect()
    client.say(b"RETR 1\r\n")
    bench.run()
    with pytest.raises(ConnectionResetError):
        client.hear()
    assert bench.outcomes() == {"upstream_lost": 1}
    assert not bench.factory.sessions


def test_a_session_may_go_on_when_the_client_is_gone(benches):
    session = pipe(
        downstream_lost=list,
        receive_upstream=lambda chunk: [SendDownstream(chunk), ReleaseUpstream(), CloseDownstream("downstream_lost")],
    )
    bench = benches(session)
    client, _ = bench.connect()
    server, _ = bench.let_in()
    client.close()
    bench.run(50)
    assert bench.outcomes() == {}
    assert len(bench.factory.sessions) == 1
    server.say(b"250 queued\r\n")
    bench.run()
    assert bench.outcomes() == {"downstream_lost": 1}
    assert not bench.factory.sessions
    assert server.hear() == b"QUIT\r\n"


def test_what_is_reported_is_counted_and_escaped(benches):
    session = FakeSession(receive_downstream=lambda chunk: [Report("bad_line", {"text": chunk, "octets": 5})])
    bench = benches(session)
    client, _ = bench.connect()
    client.say(b"\x1b[31mred\r\n")
    bench.run()
    assert bench.counters.events == {"bad_line": 1}
    assert r"bad line: text \x1b[31mred\x0d\x0a, octets 5" in bench.lines()[-1]


# The mail server's end


def test_the_session_can_conceal_what_the_server_was_sent(benches):
    session = pipe()
    bench = benches(session)
    bench.connect()
    _, stream = bench.let_in()
    assert session.conceal == stream.concealed
    assert session.conceal(b"250 Ok") == b"250 Ok"


def test_a_server_is_left_politely_in_the_background(benches):
    session = pipe(receive_downstream=lambda chunk: [ReleaseUpstream(), CloseDownstream("quit")])
    bench = benches(session)
    client, _ = bench.connect()
    server, _ = bench.let_in()
    client.say(b"QUIT\r\n")
    bench.run()
    client.shutdown()
    bench.run()
    assert not bench.factory.sessions
    assert server.hear() == b"QUIT\r\n"
    assert not server.over
    server.say(b"221 bye\r\n")
    bench.run()
    assert server.over
    assert not bench.clock.getDelayedCalls()


def test_a_server_that_does_not_answer_the_farewell_is_cut_off(benches):
    session = pipe(receive_downstream=lambda chunk: [ReleaseUpstream(), CloseDownstream("quit")])
    bench = benches(session)
    client, _ = bench.connect()
    server, _ = bench.let_in()
    client.say(b"QUIT\r\n")
    bench.run(FAREWELL - 0.1)
    assert not server.over
    bench.run(0.2)
    assert server.over


def test_an_aborted_server_hears_nothing_more(benches):
    session = pipe(receive_downstream=lambda chunk: [SendUpstream(chunk), AbortUpstream()])
    bench = benches(session)
    client, _ = bench.connect()
    server, _ = bench.let_in()
    client.say(b"x")
    bench.run()
    with pytest.raises(ConnectionResetError):
        server.hear()
    assert not session.heard("upstream_lost")


def test_after_the_server_is_lost_there_is_nobody_to_send_to(benches):
    session = pipe(upstream_lost=lambda error: [])
    bench = benches(session)
    client, _ = bench.connect()
    server, _ = bench.let_in()
    server.close()
    bench.run()
    ((error,),) = session.heard("upstream_lost")
    assert isinstance(error, ConnectionLost)
    client.say(b"anybody?")
    bench.run()
    assert session.heard("receive_downstream") == [[b"anybody?"]]
    assert not bench.tracebacks()


def test_a_full_server_that_is_lost_lets_the_client_go_on(benches):
    session = pipe(upstream_lost=lambda error: [])
    bench = benches(session)
    client, protocol = bench.connect()
    server, stream = bench.let_in()
    while client.send(FLOOD):
        bench.run()
    assert not protocol.transport.reading
    server.abort()
    stream.transport.write(b"notice it")
    bench.run()
    assert protocol.transport.reading
    assert session.heard("upstream_lost")


# Opening


def test_a_failure_to_open_is_told_and_logged(benches):
    session = pipe(upstream_failed=lambda error: [SendDownstream(b"421 no\r\n"), CloseDownstream(error.outcome)])
    bench = benches(session)
    client, _ = bench.connect()
    bench.openings[0].errback(RefusedSession("the mail server refused the session: 554 no"))
    bench.run()
    assert client.hear() == b"421 no\r\n"
    assert bench.outcomes() == {"upstream_refused_session": 1}
    assert any("refused the session: 554 no" in line for line in bench.lines())
    assert not bench.tracebacks()


@pytest.mark.parametrize("ready", [True, False])
def test_an_answer_may_be_there_at_once(benches, ready):
    session = pipe(upstream_failed=lambda error: [CloseDownstream(error.outcome)])
    bench = benches(session)
    stream = None
    if not ready:
        opening = fail(RefusedSession("no"))
    else:
        opening = Deferred()
        bench.openings.append(opening)
        _, stream = bench.let_in()
    bench.openings.clear()
    bench.open = lambda *, fresh: opening
    bench.connect()
    assert bool(session.heard("upstream_opened")) == ready
    assert bool(session.heard("upstream_failed")) != ready
    if stream is not None:
        stream.abort()


def test_a_client_that_goes_during_the_login_takes_the_attempt_along(benches):
    session = pipe(downstream_lost=lambda: [AbortUpstream(), CloseDownstream("downstream_lost")])
    bench = benches(session)
    client, _ = bench.connect()
    client.close()
    bench.run()
    assert bench.outcomes() == {}  # it may still want its answer
    assert session.heard("downstream_ended") == [[]]
    bench.protocols[0].transport.abortConnection()
    bench.run()
    assert bench.openings[0].was_given_up
    assert bench.outcomes() == {"downstream_lost": 1}
    assert not session.heard("upstream_failed")
    assert not any("no session at the mail server" in line for line in bench.lines())


def test_another_attempt_may_follow_one_that_was_given_up(benches):
    session = pipe(receive_downstream=lambda chunk: [AbortUpstream(), OpenUpstream()])
    bench = benches(session)
    client, _ = bench.connect()
    client.say(b"again")
    bench.run()
    assert len(bench.openings) == 2
    bench.let_in("the second")
    assert session.heard("upstream_opened") == [["the second"]]
    assert not session.heard("upstream_failed")


@pytest.mark.parametrize("error", [KeyError("secret"), CancelledError(), ZeroDivisionError()])
def test_an_error_nobody_foresaw_ends_the_session_with_one_traceback(benches, error):
    session = pipe()
    bench = benches(session)
    client, _ = bench.connect()
    bench.openings[0].errback(error)
    bench.run()
    assert client.over
    assert bench.outcomes() == {"internal_error": 1}
    assert len(bench.tracebacks()) == 1
    assert not session.heard("upstream_failed")


EVENTS = ["start", "receive_downstream", "downstream_ended", "downstream_lost", "upstream_opened", "receive_upstream"]
EVENTS += ["upstream_lost", "expired", "upstream_failed"]


@pytest.mark.parametrize("event", EVENTS)
def test_a_mistake_of_ours_ends_both_legs_with_one_traceback(benches, event):
    session = pipe(**{event: lambda *details: 1 / 0})
    bench = benches(session)
    client, protocol = bench.connect()
    server = None
    if event == "upstream_failed":
        bench.openings[0].errback(RefusedSession("no"))
    elif event != "start":
        server, _ = bench.let_in()
    if server is not None and event != "upstream_opened":
        client.say(b"x") if event == "receive_downstream" else None
        server.say(b"x") if event == "receive_upstream" else None
        client.shutdown() if event == "downstream_ended" else None
        protocol.transport.abortConnection() if event == "downstream_lost" else None
        server.close() if event == "upstream_lost" else None
        session.wait(Waiting.UPSTREAM_REPLY)
        protocol._tell(lambda: None) if event == "expired" else None
    bench.run(FOREVER if event == "expired" else 0)
    assert client.over
    assert server is None or event == "upstream_lost" or server.over
    assert bench.outcomes() == {"internal_error": 1}
    assert len(bench.tracebacks()) == 1
    assert not bench.factory.sessions


def test_a_mistake_in_the_middle_of_other_decisions_ends_it_just_the_same(benches):
    session = pipe(receive_downstream=lambda chunk: [SendUpstream(b"x"), "no action at all", CloseDownstream("quit")])
    bench = benches(session)
    client, _ = bench.connect()
    bench.let_in()
    client.say(b"x")
    bench.run()
    assert bench.outcomes() == {"internal_error": 1}
    assert not bench.factory.sessions


# From outside


def test_stopping_ends_both_legs_at_once(benches):
    bench = benches(pipe())
    client, _ = bench.connect()
    server, _ = bench.let_in()
    stopped = []
    bench.factory.stop().addCallback(stopped.append)
    bench.run()
    assert client.over
    assert server.over
    assert stopped == [None]
    assert bench.outcomes() == {"shutdown": 1}


def test_stopping_a_login_gives_it_up(benches):
    bench = benches(pipe())
    bench.connect()
    bench.factory.stop()
    bench.run()
    assert bench.openings[0].was_given_up
    assert bench.outcomes() == {"shutdown": 1}


def test_stopping_does_not_rename_what_has_ended(benches):
    bench = benches(closing("bad_line"))
    client, protocol = bench.connect()
    client.say(b"x")
    bench.run()
    assert protocol.transport.connected
    bench.factory.stop()
    bench.run()
    assert not protocol.transport.connected
    assert bench.outcomes() == {"bad_line": 1}


def test_stopping_a_session_without_a_client(benches):
    bench = benches(pipe(downstream_lost=list))
    bench.connect()
    server, _ = bench.let_in()
    bench.protocols[0].transport.abortConnection()
    bench.run()
    assert len(bench.factory.sessions) == 1
    assert bench.factory.stop().called
    bench.run()
    assert server.over
    assert bench.outcomes() == {"shutdown": 1}
