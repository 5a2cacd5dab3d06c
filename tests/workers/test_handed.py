"""Sockets of the supervisor's in a worker: clients are spread, none is lost, and who is ahead leaves them to others."""

import os
import socket

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from mailproxy.recipes import OwnNames, orders
from mailproxy.workers.handed import ACCEPTS_A_TURN, STEP_BACK_SECONDS, Handed
from mailproxy.workers.places import place_of
from tests.support.proxies import Site


class Visitors(Factory):
    noisy = False

    def __init__(self):
        self.made = []

    def buildProtocol(self, addr):
        self.made.append(Protocol())
        return self.made[-1]


@pytest.fixture
def factory():
    factory = Visitors()
    yield factory
    for each in factory.made:
        each.transport.abortConnection()


@pytest.fixture(params=["INET", "INET6", "UNIX"])
def queue(request, tmp_path):
    """A socket that the supervisor has opened."""
    family = getattr(socket, f"AF_{request.param}")
    with socket.socket(family) as opened:
        opened.bind({"INET": ("127.0.0.1", 0), "INET6": ("::1", 0), "UNIX": str(tmp_path / "x")}[request.param])
        opened.listen(100)
        yield opened


@pytest.fixture
def order(tmp_path):
    return orders(Site(tmp_path).write(one='"tcp:1587"'), OwnNames("localhost"))[0]


@pytest.fixture
def handed():
    handed = Handed(reactor, lambda: handed.ahead)
    handed.ahead = False
    yield handed
    handed.drop()


@pytest.fixture
def clients(queue):
    """Clients that come."""
    made = []

    def come(count):
        for _ in range(count):
            made.append(socket.socket(queue.family))
            made[-1].connect(queue.getsockname())
        return made[-count:]

    yield come
    for each in made:
        each.close()


@pytest.fixture
def listen(handed, order, queue, factory):
    ports = []

    async def listen(*, outlives=False):
        handed.put(place_of(order), socket.socket(fileno=os.dup(queue.fileno())), outlives=outlives)
        endpoint = handed.endpoint(order)
        assert endpoint.outlives is outlives
        ports.append(await endpoint.listen(factory))
        return ports[-1]

    yield listen
    for port in ports:
        pytest_twisted.blockon(port.stopListening() or deferLater(reactor, 0))


def turn(seconds=0.0):
    return deferLater(reactor, seconds)


@pytest_twisted.ensureDeferred
async def test_clients_are_let_in(queue, listen, clients, factory):
    port = await listen()
    clients(5)
    for _ in range(10):
        await turn()
    assert len(factory.made) == 5
    assert os.fstat(port.fileno()).st_ino == os.fstat(queue.fileno()).st_ino


@pytest_twisted.ensureDeferred
async def test_a_few_in_a_turn_however_many_wait(listen, clients, factory):
    port = await listen()
    port.stopReading()
    clients(3 * ACCEPTS_A_TURN)
    for number in range(1, 4):
        port.doRead()
        assert len(factory.made) == number * ACCEPTS_A_TURN


@pytest_twisted.ensureDeferred
async def test_who_is_ahead_steps_back_and_then_serves_who_is_left(listen, clients, factory, handed):
    port = await listen()
    handed.ahead = True
    clients(1)
    port.doRead()
    assert factory.made == []
    assert port not in reactor.getReaders()
    await turn(2 * STEP_BACK_SECONDS)
    await turn()
    assert len(factory.made) == 1
    clients(1)
    port.doRead()
    assert len(factory.made) == 1, "it steps back before each client"
    await turn(2 * STEP_BACK_SECONDS)
    await turn()


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_closed_meanwhile_does_not_come_back(listen, clients, handed):
    port = await listen()
    handed.ahead = True
    clients(1)
    port.doRead()
    await port.stopListening()
    await turn(2 * STEP_BACK_SECONDS)
    assert port not in reactor.getReaders()


@pytest_twisted.ensureDeferred
async def test_at_the_end_who_waits_is_let_in_also_by_one_that_is_ahead(listen, clients, factory, handed):
    port = await listen()
    handed.ahead = True
    clients(ACCEPTS_A_TURN)
    port.let_in()
    assert len(factory.made) == ACCEPTS_A_TURN


@pytest_twisted.ensureDeferred
async def test_a_port_that_closes_leaves_the_queue_to_others(queue, listen, clients):
    port = await listen()
    await port.stopListening()
    (client,) = clients(1)
    with queue.accept()[0] as accepted:
        accepted.sendall(b"x")
        assert client.recv(1) == b"x"


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_keeps_its_file(queue, listen, tmp_path):
    port = await listen(outlives=True)
    await port.stopListening()
    assert (tmp_path / "x").exists() is (queue.family == socket.AF_UNIX)


@pytest_twisted.ensureDeferred
async def test_each_socket_is_listened_on_once(listen, handed, order, factory):
    await listen()
    with pytest.raises(OSError, match="the supervisor has opened no such socket"):
        await handed.endpoint(order).listen(factory)
