"""Octets in one direction, at the speed of the slower side, with nobody held back by what is over."""

import gc
import weakref

from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock

from mailproxy.relay import Backpressure, Intake
from tests.support.transports import HIGH_MARK, PIPE_OCTETS, Network


class Side:
    """A transport that only remembers whether it is read from."""

    def __init__(self):
        self.calls = []

    def pauseProducing(self):
        self.calls.append("pause")

    def resumeProducing(self):
        self.calls.append("resume")


class Leg:
    """What a `Backpressure` reports to."""

    def __init__(self, clock, stall_seconds=10):
        self.stalls = self.changes = 0
        self.pressure = Backpressure(
            clock, stall_seconds=stall_seconds, stalled=self.stalled, changed=self.flow_changed
        )

    def stalled(self):
        self.stalls += 1

    def flow_changed(self):
        self.changes += 1


def test_an_intake_reads_on_once_nobody_holds_it():
    side = Side()
    intake = Intake(side)
    assert not intake.held
    intake.hold("one")
    intake.hold("one")
    intake.hold("two")
    assert intake.held
    intake.release("one")
    assert side.calls == ["pause"]
    intake.release("two")
    intake.release("two")
    intake.release("three")
    assert side.calls == ["pause", "resume"]
    assert not intake.held


def test_a_full_buffer_holds_every_intake_that_fills_it():
    clock = Clock()
    leg, first, second = Leg(clock), Intake(Side()), Intake(Side())
    leg.pressure.govern([first, second])
    assert (first.held, second.held, leg.pressure.full) == (False, False, False)
    leg.pressure.pauseProducing()
    assert (first.held, second.held, leg.pressure.full) == (True, True, True)
    leg.pressure.resumeProducing()
    assert (first.held, second.held, leg.pressure.full) == (False, False, False)
    assert leg.changes == 2
    assert not clock.getDelayedCalls()


def test_several_reasons_to_hold_do_not_undo_each_other():
    clock = Clock()
    one, other, intake = Leg(clock), Leg(clock), Intake(Side())
    one.pressure.govern([intake])
    other.pressure.govern([intake])
    one.pressure.pauseProducing()
    other.pressure.pauseProducing()
    one.pressure.resumeProducing()
    assert intake.held
    other.pressure.resumeProducing()
    assert not intake.held


def test_other_intakes_take_their_places_in_the_middle_of_a_pause():
    clock = Clock()
    leg, stays, goes, comes = Leg(clock), Intake(Side()), Intake(Side()), Intake(Side())
    leg.pressure.govern([stays, goes])
    leg.pressure.pauseProducing()
    leg.pressure.govern([stays, comes])
    assert (stays.held, goes.held, comes.held) == (True, False, True)
    assert stays._transport.calls == ["pause"]
    leg.pressure.stopProducing()


def test_a_buffer_that_is_not_emptied_in_time_is_a_stall():
    clock = Clock()
    leg = Leg(clock)
    leg.pressure.pauseProducing()
    clock.advance(9.9)
    assert leg.stalls == 0
    clock.advance(0.2)
    assert leg.stalls == 1
    assert not clock.getDelayedCalls()


def test_further_writes_do_not_put_a_stall_off():
    clock = Clock()
    leg = Leg(clock)
    for _ in range(5):
        leg.pressure.pauseProducing()
        clock.advance(2)
    assert leg.stalls == 1
    assert leg.changes == 1


def test_each_pause_has_its_own_time():
    clock = Clock()
    leg = Leg(clock)
    for _ in range(5):
        leg.pressure.pauseProducing()
        clock.advance(8)
        leg.pressure.resumeProducing()
    assert leg.stalls == 0


def test_a_lost_transport_holds_nobody_back():
    clock = Clock()
    leg, intake = Leg(clock), Intake(Side())
    leg.pressure.govern([intake])
    leg.pressure.pauseProducing()
    leg.pressure.stopProducing()
    assert not intake.held
    assert not leg.pressure.full
    assert not clock.getDelayedCalls()
    leg.pressure.stopProducing()
    leg.pressure.resumeProducing()
    assert (leg.stalls, leg.changes) == (0, 1)


def test_a_lost_transport_keeps_nobody_alive():
    gc.disable()
    try:
        leg, intake = Leg(Clock()), Intake(Side())
        leg.pressure.govern([intake])
        leg.pressure.pauseProducing()
        gone = weakref.ref(leg), weakref.ref(leg.pressure), weakref.ref(intake)
        leg.pressure.stopProducing()
        del leg, intake
        assert [ref() for ref in gone] == [None, None, None]
    finally:
        gc.enable()


class Relay(Protocol):
    """Writes into the transport of another one."""

    def connectionMade(self):
        self.intake = Intake(self.transport)
        self.received = 0

    def dataReceived(self, data):
        self.received += len(data)
        self.other.transport.write(data)


def test_between_real_transports_no_more_is_held_than_a_buffer_and_a_read():
    network = Network()
    source, sink = Relay(), Relay()
    source.other = sink
    far_source, far_sink = network.plug(source), network.plug(sink)
    leg = Leg(network.clock, stall_seconds=1e6)
    leg.pressure.govern([source.intake])
    sink.transport.registerProducer(leg.pressure, True)
    data = bytes(range(256)) * 4096
    sent, heard = 0, b""
    while len(heard) < len(data):
        sent += far_source.send(data[sent:])
        network.settle()
        assert len(sink.transport.buffer) <= HIGH_MARK + network.read_octets
        assert sent - len(heard) <= HIGH_MARK + network.read_octets + 2 * PIPE_OCTETS
        heard += far_sink.receive(10000)
    assert heard == data
    assert leg.changes > 2
    network.settle()
    assert not leg.pressure.full
    assert not network.clock.getDelayedCalls()
