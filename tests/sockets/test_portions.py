"""How much is read at a time: much of what flows, little of what stops."""

import pytest
import pytest_twisted

from mailproxy.sockets.portions import (
    FLOWING_PORTIONS,
    LARGE_PORTION_OCTETS,
    LONG_PAUSE_SECONDS,
    PORTION_OCTETS,
)
from tests.sockets.hall import Subject, settle, until

MUCH = 8 << 20
BEGINNING = (FLOWING_PORTIONS - 1) * PORTION_OCTETS
"""What a connection has to bring before it can have shown that it flows."""


class SetClock:
    """The reactor, but for what time it is."""

    def __init__(self, reactor):
        self._reactor = reactor
        self.now = 0.0

    def seconds(self):
        return self.now

    def __getattr__(self, name):
        return getattr(self._reactor, name)


class Reader(Subject):
    """Notes how much comes at a time."""

    def __init__(self):
        super().__init__(made=self._made, heard=lambda _, data: self.portions.append(len(data)))
        self.portions = []

    def _made(self, _):
        self.clock = self.transport.reactor = SetClock(self.transport.reactor)

    def rest(self, seconds):
        self.transport.pauseProducing()
        self.clock.now += seconds
        self.transport.resumeProducing()

    async def reads(self, octets):
        await until(lambda: len(self.received) >= octets)


@pytest.fixture(params=["plain", "TLS"])
def flow(request, our_hall):
    """Meets a reader; gives what sends octets to it."""

    async def meet(reader):
        if request.param == "plain":
            return (await our_hall.meet(reader)).transport.write
        return (await our_hall.secured(reader)).send

    return meet


def _in_the_beginning(portions):
    total = 0
    for portion in portions:
        total += portion
        if total <= BEGINNING:
            yield portion


@pytest_twisted.ensureDeferred
async def test_what_flows_is_read_in_large_portions_and_none_is_larger(flow):
    reader = Reader()
    send = await flow(reader)
    send(bytes(MUCH))
    await reader.reads(MUCH)
    assert max(_in_the_beginning(reader.portions)) <= PORTION_OCTETS
    assert PORTION_OCTETS < max(reader.portions) <= LARGE_PORTION_OCTETS


@pytest_twisted.ensureDeferred
async def test_who_takes_long_for_a_portion_gets_small_ones(flow):
    reader = Reader()
    send = await flow(reader)
    reader.hooks["heard"] = lambda _, data: (reader.portions.append(len(data)), reader.rest(LONG_PAUSE_SECONDS + 0.01))
    send(bytes(MUCH))
    await reader.reads(MUCH)
    assert max(reader.portions) <= PORTION_OCTETS


@pytest_twisted.ensureDeferred
async def test_also_who_was_quick_before(flow):
    reader = Reader()
    send = await flow(reader)
    send(bytes(MUCH))
    await reader.reads(MUCH)
    reader.rest(LONG_PAUSE_SECONDS + 0.01)
    reader.portions.clear()
    send(bytes(MUCH))
    await reader.reads(2 * MUCH)
    assert max(_in_the_beginning(reader.portions)) <= PORTION_OCTETS
    assert max(reader.portions) > PORTION_OCTETS


@pytest_twisted.ensureDeferred
async def test_a_short_pause_changes_nothing(flow):
    reader = Reader()
    send = await flow(reader)
    reader.hooks["heard"] = lambda _, data: (reader.portions.append(len(data)), reader.rest(LONG_PAUSE_SECONDS / 2))
    send(bytes(MUCH))
    await reader.reads(MUCH)
    assert max(reader.portions) > PORTION_OCTETS


@pytest_twisted.ensureDeferred
async def test_who_says_little_is_not_counted(flow):
    reader = Reader()
    send = await flow(reader)
    for number in range(3 * FLOWING_PORTIONS):
        send(b"NOOP\r\n")
        await reader.reads((number + 1) * 6)
    await settle()
    assert reader.transport.bufferSize == PORTION_OCTETS
