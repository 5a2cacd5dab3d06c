"""The line between supervisor and worker, on a real pair of sockets."""

import gc
import socket
import struct
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from mailproxy.workers.channel import Channel, One

SECONDS = 10


class End:
    """One end; `heard` is what came, each with the sockets that were taken for it."""

    def __init__(self, opened, *, sockets):
        self.heard = []
        self.lost = Deferred()
        self.channel = Channel(self._hear, lambda: self.lost.callback(None), sockets=sockets)
        with opened:
            opened.setblocking(False)
            reactor.adoptStreamConnection(opened.fileno(), socket.AF_UNIX, One(self.channel))

    def _hear(self, message):
        if message.get("bad"):
            raise ValueError("makes no sense")
        self.heard.append((message, self.channel.take_socket() if message.get("socket") else None))


@pytest.fixture
def ends():
    made = []

    def make(*, sockets=False):
        one, other = socket.socketpair()
        made.extend([End(one, sockets=False), End(other, sockets=sockets)])
        return made[-2:]

    yield make
    for end in made:
        for _, opened in end.heard:
            if opened is not None:
                opened.close()
        if not end.lost.called:
            end.channel.transport.abortConnection()
    pytest_twisted.blockon(deferLater(reactor, 0, lambda: None))
    gc.collect()


@pytest_twisted.inlineCallbacks
def until(look):
    for _ in range(1000):
        if look():
            return
        yield deferLater(reactor, 0.01, lambda: None)
    raise AssertionError("waited in vain")


@pytest_twisted.ensureDeferred
async def test_both_hear_each_other(ends):
    one, other = ends()
    one.channel.say({"a": 1})
    other.channel.say({"b": "ü"})
    await until(lambda: one.heard and other.heard)
    assert (one.heard, other.heard) == ([({"b": "ü"}, None)], [({"a": 1}, None)])


@pytest_twisted.ensureDeferred
async def test_hundreds_of_sockets_arrive_each_with_its_message(ends):
    one, other = ends(sockets=True)
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        for number in range(300):
            opened = (first, second)[number % 2]
            one.channel.say({"socket": opened.getsockname()[1]}, opened.fileno())
            one.channel.say({"between": "x" * (number * 7 % 500)})
        await until(lambda: len(other.heard) == 600)
    for message, opened in other.heard:
        if opened is not None:
            assert opened.getsockname()[1] == message["socket"]


@pytest_twisted.ensureDeferred
async def test_a_large_message_arrives(ends):
    one, other = ends()
    one.channel.say({"a": "x" * 3_000_000})
    assert one.channel.full
    await until(lambda: other.heard)
    await until(lambda: not one.channel.full)


@pytest.mark.parametrize(
    "octets",
    [struct.pack(">I", 0xFFFFFFFF), b"\0\0\0\1{", b'\0\0\0\x0a{"bad": 1}', b'\0\0\0\x0d{"socket": 1}'],
)
@pytest_twisted.ensureDeferred
async def test_nonsense_ends_the_connection_for_both(ends, octets, logged_failures):
    one, other = ends(sockets=True)
    one.channel.transport.write(octets)
    await one.lost
    await other.lost
    assert other.heard == []
    logged_failures.clear()


def open_files():
    return len([*Path("/proc/self/fd").iterdir()])


@pytest_twisted.ensureDeferred
async def test_sockets_that_nobody_asked_for_are_closed_and_end_it(ends, logged_failures):
    one, other = ends()
    before = open_files()
    for _ in range(3):
        one.channel.say({}, 0)
    await other.lost
    await one.lost
    assert open_files() <= before
    logged_failures.clear()


@pytest_twisted.ensureDeferred
async def test_last_words_are_heard_before_the_end(ends):
    one, other = ends()
    one.channel.say({"a": "x" * 1_000_000})
    one.channel.say({"last": 1})
    one.channel.close()
    await other.lost
    assert other.heard[-1] == ({"last": 1}, None)
    other.channel.say({"too": "late"})
    other.channel.close()
    await one.lost
    one.channel.say({"too": "late"})


def test_a_channel_that_is_not_connected_says_nothing():
    channel = Channel(None, None, sockets=False)
    channel.say({"a": 1})
    channel.close()
