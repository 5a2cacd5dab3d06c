"""Where connections that we make come from, and what they cost the reactor."""

import gc
import socket
import weakref

import pytest
import pytest_twisted
from twisted.internet import error, reactor
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
)
from twisted.internet.interfaces import (
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
)
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.testing import MemoryReactorClock

from mailproxy.sockets import Client, connecting
from tests.sockets.hall import Asking, Subject, settle, until


class Refusing(ClientFactory):
    """Wants no protocol, and notes what happens."""

    noisy = False

    def __init__(self):
        self.happened = []

    def buildProtocol(self, addr):
        return None

    def clientConnectionFailed(self, connector, reason):
        self.happened.append(reason)

    def clientConnectionLost(self, connector, reason):
        self.happened.append(reason)


def _echo():
    factory = Factory.forProtocol(Echo)
    factory.noisy = False
    return factory


class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)
        self.transport.loseConnection()


@pytest.mark.parametrize(("kind", "host"), [(TCP4ServerEndpoint, "127.0.0.1"), (TCP6ServerEndpoint, "::1")])
@pytest_twisted.ensureDeferred
async def test_an_endpoint_that_looks_up_and_connects_makes_ours(kind, host):
    port = await kind(reactor, 0, interface=host).listen(_echo())
    subject = await connectProtocol(HostnameEndpoint(connecting(reactor), host, port.getHost().port), Subject())
    assert type(subject.transport) is Client
    assert subject.transport.getPeer() == port.getHost()
    subject.transport.write(b"echo")
    await until(lambda: subject.lost)
    assert subject.received == b"echo"
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_name_is_looked_up_by_the_reactor_itself():
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(_echo())
    subject = await connectProtocol(HostnameEndpoint(connecting(reactor), "localhost", port.getHost().port), Subject())
    assert type(subject.transport) is Client
    subject.transport.write(b"echo")
    await until(lambda: subject.lost)
    await port.stopListening()


def test_it_is_the_reactor_in_all_else():
    facade = connecting(reactor)
    for interface in (IReactorTCP, IReactorTime, IReactorUNIX, IReactorPluggableNameResolver):
        assert interface.providedBy(facade)
    assert facade.nameResolver is reactor.nameResolver
    assert facade.seconds == reactor.seconds
    assert not hasattr(facade, "no_such_thing")


def test_a_reactor_that_watches_no_sockets_stays_as_it_is():
    fake = MemoryReactorClock()
    assert connecting(fake) is fake


@pytest_twisted.ensureDeferred
async def test_unix_sockets_stay_with_twisted(tmp_path):
    path = str(tmp_path / "socket")
    port = await UNIXServerEndpoint(reactor, path).listen(_echo())
    subject = await connectProtocol(UNIXClientEndpoint(connecting(reactor), path), Subject())
    assert not isinstance(subject.transport, Client)
    subject.transport.write(b"echo")
    await until(lambda: subject.lost)
    await port.stopListening()


# --- connections that do not come about ---


@pytest.fixture
def closed_port():
    """A port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest_twisted.ensureDeferred
async def test_who_is_refused_is_told_so(closed_port):
    with pytest.raises(error.ConnectionRefusedError):
        await connectProtocol(TCP4ClientEndpoint(connecting(reactor), "127.0.0.1", closed_port), Subject())


@pytest.fixture
def deaf_port():
    """A port whose queue is full, so that a connection neither comes about nor fails."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for queued in (first, second):
            queued.setblocking(False)
            queued.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@pytest_twisted.ensureDeferred
async def test_a_connection_that_takes_too_long_is_given_up(deaf_port):
    with pytest.raises(error.TimeoutError):
        await connectProtocol(TCP4ClientEndpoint(connecting(reactor), "127.0.0.1", deaf_port, timeout=0.01), Subject())


@pytest_twisted.ensureDeferred
async def test_a_connection_that_nobody_wants_any_more_is_given_up(deaf_port):
    attempt = connectProtocol(TCP4ClientEndpoint(connecting(reactor), "127.0.0.1", deaf_port), Subject())
    await settle()
    attempt.cancel()
    with pytest.raises((error.ConnectingCancelledError, CancelledError)):
        await attempt


@pytest_twisted.ensureDeferred
async def test_a_factory_that_wants_no_connection_has_it_closed():
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(_echo())
    factory = Refusing()
    connector = connecting(reactor).connectTCP("127.0.0.1", port.getHost().port, factory)
    await until(lambda: factory.happened)
    assert connector.state == "disconnected"
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_factory_may_connect_again():
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(_echo())
    factory = Refusing()
    factory.clientConnectionLost = lambda connector, reason: (
        factory.happened.append(reason),
        connector.connect() if len(factory.happened) < 3 else None,
    )
    connecting(reactor).connectTCP("127.0.0.1", port.getHost().port, factory)
    await until(lambda: len(factory.happened) == 3)
    await port.stopListening()


# --- what it costs ---


@pytest_twisted.ensureDeferred
async def test_the_reactor_does_not_look_away_in_between(monkeypatch, client_hall):
    """Three changes of what is watched until there is a connection; Twisted's needs five."""
    changes = []

    class Counting:
        def __init__(self, poller):
            self.poller = poller

        def __getattr__(self, name):
            real = getattr(self.poller, name)
            if name not in ("register", "modify", "unregister"):
                return real
            return lambda descriptor, *args: (changes.append(descriptor), real(descriptor, *args))

    subject = Subject()
    port = await client_hall._open(Subject())
    monkeypatch.setattr(reactor, "_poller", Counting(reactor._poller))
    changes.clear()
    client_hall.connect(subject, port.getHost().port)
    await until(lambda: subject.transport is not None)
    mine = changes.count(subject.transport.fileno())
    monkeypatch.undo()
    assert mine == (3 if client_hall.ours else 5)


@pytest_twisted.ensureDeferred
async def test_a_connector_lets_go_of_its_transport():
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(_echo())
    gc.collect()
    gc.disable()
    try:
        endpoint = HostnameEndpoint(connecting(reactor), "127.0.0.1", port.getHost().port)
        subject = await endpoint.connect(Asking(Subject()))
        held = [weakref.ref(subject), weakref.ref(subject.transport), weakref.ref(subject.transport.connector)]
        subject.transport.write(b"echo")
        await until(lambda: held[0]().lost)
        del subject
        await settle()
        assert [each() for each in held] == [None] * 3
    finally:
        gc.enable()
    await port.stopListening()
