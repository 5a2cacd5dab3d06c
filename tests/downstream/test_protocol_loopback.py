"""What connections in memory cannot prove: Twisted's own sockets, real system buffers, descriptors that come back."""

import contextlib
import os
import resource
import socket
from pathlib import Path

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from zope.interface import implementer

from mailproxy.downstream.newcomers import SPEAK_UP_SECONDS
from mailproxy.downstream.protocol import SessionProtocol
from mailproxy.downstream.rooms import Rooms
from mailproxy.downstream.smtp import SMTPServerFactory
from mailproxy.downstream.surroundings import Surroundings
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.actions import Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.upstream.direct import Direct
from tests.downstream.bench import TIMEOUTS
from tests.downstream.test_protocol_tls import Broken, Creator, server_context
from tests.support.procfs import descriptors

GREETING, GO_AHEAD, BYE = b"220 proxy.test ", b"220 2.0.0 ", b"221 2.0.0 "
ANY_PORT = "tcp:0:interface=127.0.0.1:backlog=1024"
both_ways = pytest.mark.parametrize("encryption", [Encryption.IMPLICIT, Encryption.OFFERED])


@implementer(IHalfCloseableProtocol)
class Client(Protocol):
    """Collects what it hears, and lets a test wait for it."""

    def __init__(self):
        self.received = b""
        self.lost = Deferred()
        self.over = False
        self._awaited = None

    def dataReceived(self, data):
        self.received += data
        self._look()

    def readConnectionLost(self):
        self.over = True
        self._look()

    def writeConnectionLost(self):
        pass

    def connectionLost(self, reason):
        self.over = True
        self._look()
        self.lost.callback([reason])  # in a list, or it would be an error

    def _look(self):
        if self._awaited is not None and (self.over or self._awaited[0] in self.received):
            (_, fired), self._awaited = self._awaited, None
            fired.callback(None)

    async def hears(self, words):
        fired = Deferred()
        self._awaited = words, fired
        self._look()
        await fired.addTimeout(10, reactor)
        assert words in self.received

    async def starttls(self):
        self.transport.write(b"STARTTLS\r\n")
        await self.hears(GO_AHEAD)
        self.received = b""
        self.secure()

    def secure(self):
        self.transport.startTLS(Creator(SSL.Context(SSL.TLS_CLIENT_METHOD)))


class StandingClock:
    """Its time goes by when a test says so, however long it takes; timers are the reactor's."""

    callLater = staticmethod(reactor.callLater)

    def __init__(self):
        self.now = 0.0

    def seconds(self):
        return self.now


def surroundings(encryption, creator, handshake_seconds, clock):
    return Surroundings(
        clock=clock,
        upstreams=Direct(Deferred, 5.0),
        timeouts={**TIMEOUTS, Waiting.DOWNSTREAM_HANDSHAKE: handshake_seconds},
        stall_seconds=180.0,
        close_seconds=5.0,
        encryption=encryption,
        server_tls=creator or Creator(server_context()),
    )


@contextlib.asynccontextmanager
async def listening(encryption, *, place=ANY_PORT, rooms=None, creator=None, handshake_seconds=30.0, clock=reactor):
    """A factory that listens, the endpoint of its clients, and the port."""
    policy = SMTPPolicy("proxy.test", encryption=encryption)
    around = surroundings(encryption, creator, handshake_seconds, clock)
    factory = SMTPServerFactory(policy, around, ListenerLog("dest", "acme"), (rooms or Rooms()).door("acme"))
    port = await serverFromString(reactor, place).listen(factory)
    host = port.getHost()
    where = f"tcp:127.0.0.1:{host.port}" if hasattr(host, "port") else f"unix:{host.name.decode()}"
    try:
        yield factory, clientFromString(reactor, where), port
    finally:
        await port.stopListening()
        await factory.stop().addTimeout(10, reactor)


async def connected(endpoint, encryption):
    client = await connectProtocol(endpoint, Client())
    if encryption is Encryption.IMPLICIT:
        client.secure()
    await client.hears(GREETING)
    return client


async def gone(client):
    """Why the client's connection is over; it closes its side when ours is closed."""
    await until(lambda: client.over)
    client.transport.loseConnection()
    [reason] = await client.lost.addTimeout(10, reactor)
    return reason


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it does not come to that")


@both_ways
@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest_twisted.ensureDeferred
async def test_a_session_behind_tls_from_the_first_word_to_the_last(encryption, kind, tmp_path):
    place = {"tcp": ANY_PORT, "unix": f"unix:{tmp_path / 'mail'}"}[kind]
    async with listening(encryption, place=place) as (factory, endpoint, _):
        client = await connected(endpoint, encryption)
        if encryption is Encryption.OFFERED:
            await client.starttls()
        client.transport.write(b"NOOP\r\n" * 20)
        client.transport.write(b"QUIT\r\nNOOP\r\n")
        await client.hears(BYE)
        assert (await gone(client)).check(ConnectionDone)
        assert client.received.count(b"250 2.0.0 OK\r\n") == 20
        await factory.emptied().addTimeout(10, reactor)
        assert factory.log.counters.outcomes == {"quit": 1}


@pytest.mark.parametrize("together", [True, False])
@pytest_twisted.ensureDeferred
async def test_what_is_put_behind_starttls_in_plain_text_is_never_a_command(together):
    async with listening(Encryption.OFFERED) as (factory, endpoint, _):
        client = await connected(endpoint, Encryption.OFFERED)
        client.transport.write(b"STARTTLS\r\n" + b"NOOP\r\n" * together)
        if not together:
            await client.hears(GO_AHEAD)
            client.transport.write(b"NOOP\r\n")
        await gone(client)
        assert b"250" not in client.received
        await factory.emptied().addTimeout(10, reactor)
        outcome = "bad_pipeline" if together else "downstream_tls_failed"
        assert factory.log.counters.outcomes == {outcome: 1}


@both_ways
@pytest_twisted.ensureDeferred
async def test_a_handshake_that_never_comes_has_its_deadline(encryption):
    async with listening(encryption, handshake_seconds=0.2) as (factory, endpoint, _):
        client = await connectProtocol(endpoint, Client())
        if encryption is Encryption.OFFERED:
            client.transport.write(b"STARTTLS\r\n")
        await gone(client)
        await factory.emptied().addTimeout(10, reactor)
        assert factory.log.counters.outcomes == {"downstream_tls_failed": 1}


@both_ways
@pytest_twisted.ensureDeferred
async def test_tls_that_cannot_begin_leaves_nothing_behind(encryption, logged_failures):
    async with listening(encryption, creator=Broken()) as (factory, endpoint, _):
        client = await connectProtocol(endpoint, Client())
        if encryption is Encryption.OFFERED:
            client.transport.write(b"STARTTLS\r\n")
        await gone(client)
        await factory.emptied().addTimeout(10, reactor)
        assert factory.log.counters.outcomes == {"internal_error": 1}
    assert len(logged_failures) == 1
    logged_failures.clear()


@both_ways
@pytest_twisted.ensureDeferred
async def test_the_last_words_of_a_drain_arrive_though_the_client_is_talking(encryption):
    async with listening(encryption) as (factory, endpoint, _):
        client = await connected(endpoint, encryption)
        client.transport.write(b"NOOP\r\n" * 10_000)
        drained = factory.drain()
        client.transport.write(b"NOOP\r\n" * 10_000)
        await client.hears(b"421 4.3.2 ")
        client.transport.loseConnection()
        await drained.addTimeout(10, reactor)
        assert factory.log.counters.outcomes == {"shutdown": 1}


@both_ways
@pytest_twisted.ensureDeferred
async def test_who_finds_no_place_hears_it(encryption):
    async with listening(encryption, rooms=Rooms(per_client=1)) as (factory, endpoint, _):
        await connected(endpoint, encryption)
        late = await connectProtocol(endpoint, Client())
        if encryption is Encryption.IMPLICIT:
            late.secure()
        late.transport.write(b"EHLO there\r\n" * 1000)
        await late.hears(b"421 4.3.2 Too many sessions, try later\r\n")
        await gone(late)
        await until(lambda: not factory.turned_away)


@contextlib.contextmanager
def two_hundred(port, words=b""):
    """As many connections that say this and nothing more."""
    with contextlib.ExitStack() as peers:
        for _ in range(200):
            peer = socket.create_connection(("127.0.0.1", port.getHost().port), timeout=10)
            peers.enter_context(peer).sendall(words)
        yield


async def answered(client):
    client.received = b""
    client.transport.write(b"NOOP\r\n")
    await client.hears(b"250 2.0.0 OK\r\n")


@pytest_twisted.ensureDeferred
async def test_two_hundred_that_say_nothing_are_turned_away_and_give_their_descriptors_back():
    """They are more than are seen off with patience; who has a place goes on."""
    rooms, clock = Rooms(sessions=20), StandingClock()
    async with listening(Encryption.IMPLICIT, rooms=rooms, clock=clock) as (factory, endpoint, port):
        client = await connected(endpoint, Encryption.IMPLICIT)
        before = len(descriptors(os.getpid()))
        with two_hundred(port):
            await until(lambda: factory.log.counters.sessions == 201)
            await answered(client)
            assert len(factory.sessions) == 20
            assert len(factory.turned_away) <= 200 - 19
        await until(lambda: len(factory.sessions) == 1 and not factory.turned_away)
        await until(lambda: len(descriptors(os.getpid())) == before)
        assert factory.log.counters.outcomes == {"too_many_sessions": 181, "downstream_tls_failed": 19}


HALF_A_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(120))
"""The beginning of a record of 512 octets."""


@pytest.mark.parametrize(
    ("encryption", "words"),
    [
        (Encryption.PLAINTEXT, b""),
        (Encryption.PLAINTEXT, b"E"),
        (Encryption.IMPLICIT, b""),
        (Encryption.IMPLICIT, b"\x16"),
        (Encryption.IMPLICIT, HALF_A_HELLO),
    ],
    ids=["silent", "an octet", "TLS, silent", "TLS, an octet", "TLS, half a hello"],
)
@pytest_twisted.ensureDeferred
async def test_two_hundred_that_keep_places_for_nothing_keep_nobody_out(encryption, words):
    """The honest client comes to the very same listener, and all places are taken."""
    rooms, clock = Rooms(sessions=20), StandingClock()
    async with listening(encryption, rooms=rooms, clock=clock) as (factory, endpoint, port):
        before = len(descriptors(os.getpid()))
        with two_hundred(port, words):
            await until(lambda: factory.log.counters.sessions == 200)
            clock.now = SPEAK_UP_SECONDS
            clients = [await connected(endpoint, encryption) for _ in range(5)]
            for client in clients:
                await answered(client)
            assert len(factory.sessions) == 20
            assert factory.log.counters.outcomes == {"too_many_sessions": 180, "made_room": 5}
            await until(lambda: not any(isinstance(each, SessionProtocol) for each in factory.turned_away))
        for client in clients:
            client.transport.write(b"QUIT\r\n")
            await gone(client)
        await until(lambda: not factory.sessions and not factory.turned_away)
        await until(lambda: len(descriptors(os.getpid())) == before)
        assert not rooms.taken


@pytest_twisted.ensureDeferred
async def test_who_says_nothing_behind_tls_is_told_and_not_waited_for():
    clock = StandingClock()
    async with listening(Encryption.IMPLICIT, rooms=Rooms(sessions=1), clock=clock) as (factory, endpoint, _):
        silent = await connected(endpoint, Encryption.IMPLICIT)
        silent.transport.pauseProducing()
        clock.now = SPEAK_UP_SECONDS
        client = await connected(endpoint, Encryption.IMPLICIT)
        await answered(client)
        await until(lambda: not factory.turned_away)
        silent.transport.resumeProducing()
        await silent.hears(b"421 4.3.2 Too many sessions, try later\r\n")
        assert (await gone(silent)).check(ConnectionDone)


@contextlib.contextmanager
def no_descriptor_left():
    """Every descriptor below the limit is in use, but for the one that the reactor keeps for this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    with contextlib.ExitStack() as used:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        used.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with contextlib.suppress(OSError):
            while True:
                used.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        yield


@pytest_twisted.ensureDeferred
async def test_without_a_descriptor_nobody_gets_in_and_nobody_else_notices():
    async with listening(Encryption.OFFERED) as (factory, endpoint, port):
        client = await connected(endpoint, Encryption.OFFERED)
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(socket.socket()) for _ in range(10)]
            for one in crowd:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port.getHost().port))
            with no_descriptor_left():
                client.transport.write(b"NOOP\r\n" * 20)
                await client.hears(b"250 2.0.0 OK\r\n" * 20)
            assert factory.log.counters.sessions == 1
        late = await connected(endpoint, Encryption.OFFERED)
        for one in (client, late):
            one.transport.write(b"QUIT\r\n")
            await one.hears(BYE)
            await gone(one)
