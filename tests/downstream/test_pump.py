"""A session that has much to do does not keep the others waiting."""

import pytest
from twisted.internet.task import Clock

from mailproxy.downstream.pump import MOST_AT_ONCE, Pump
from mailproxy.session.actions import CloseDownstream, SendDownstream
from tests.downstream.bench import FakeSession

DEEDS = {int: lambda worker, action: worker.done.append(action)}


class Worker:
    """Has so many things to do."""

    def __init__(self, clock, count):
        self.pump = Pump(clock)
        self.left, self.done = list(range(count)), []

    def run(self):
        return self.pump.run(lambda: self.left.pop(0) if self.left else None, DEEDS, self, self.run)


@pytest.mark.parametrize("count", [0, 1, MOST_AT_ONCE - 1])
def test_what_is_little_is_done_at_once(count):
    clock = Clock()
    worker = Worker(clock, count)
    assert worker.run()
    assert (len(worker.done), worker.pump.in_line) == (count, False)
    assert not clock.getDelayedCalls()


def test_who_has_much_to_do_takes_turns_with_the_others():
    clock = Clock()
    one, other = Worker(clock, 3 * MOST_AT_ONCE), Worker(clock, 2 * MOST_AT_ONCE)
    other.done = one.done
    one.run()
    other.run()
    clock.advance(0)
    parts = [one.done[at : at + MOST_AT_ONCE] for at in range(0, 5 * MOST_AT_ONCE, MOST_AT_ONCE)]
    assert parts[0] == parts[1] == list(range(MOST_AT_ONCE))
    assert parts[2] == parts[3]
    assert len(one.done) == 5 * MOST_AT_ONCE
    assert not one.pump.in_line
    assert not clock.getDelayedCalls()


def test_what_is_done_may_ask_for_more():
    clock = Clock()
    pump = Pump(clock)
    asked = []
    actions = [1, 2]
    pump.run(
        lambda: actions.pop() if actions else None,
        {int: lambda pump, _: asked.append(pump.run(lambda: None, {}, pump, clock.advance))},
        pump,
        clock.advance,
    )
    assert asked == [False, False]


@pytest.mark.parametrize("inside", [True, False])
def test_who_is_stopped_has_no_other_turn(inside):
    clock = Clock()
    worker = Worker(clock, 3 * MOST_AT_ONCE)
    if inside:
        worker.done = Stopping(worker.pump)
    worker.run()
    worker.pump.stop()
    assert not worker.pump.in_line
    assert not clock.getDelayedCalls()


class Stopping:
    def __init__(self, pump):
        self.append = lambda _: pump.stop()


# On a connection


def answering(chunk):
    return [SendDownstream(b"+OK\r\n")] * chunk.count(b"\n")


def test_one_answer_does_not_wait_for_thousands_of_others(benches):
    bench = benches(lambda: FakeSession(receive_downstream=answering))
    flooding, flooded = bench.connect()
    asking, asked = bench.connect()
    flooded.dataReceived(b"\n" * 1000)
    asked.dataReceived(b"\n")
    assert len(asked.transport.buffer) == 5
    assert len(flooded.transport.buffer) == 5 * MOST_AT_ONCE
    assert not flooded.transport.reading
    bench.run()
    assert (len(flooding.hear()), len(asking.hear())) == (5 * 1000, 5)
    assert flooded.transport.reading


def test_a_session_may_end_while_others_have_their_turn(benches):
    session = FakeSession(
        receive_downstream=answering, drain=lambda: [SendDownstream(b"bye\r\n"), CloseDownstream("shutdown")]
    )
    bench = benches(session)
    client, protocol = bench.connect()
    protocol.dataReceived(b"\n" * 1000)
    session.actions.clear()
    protocol.drain()
    assert protocol.transport.reading
    bench.run()
    assert client.hear() == b"+OK\r\n" * MOST_AT_ONCE + b"bye\r\n"
    assert bench.outcomes() == {"shutdown": 1}
