"""Which ports accept connections of ours."""

import socket

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    clientFromString,
    connectProtocol,
)
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from mailproxy.inherited import InheritedEndpoint
from mailproxy.sockets import Server, connecting, serving
from mailproxy.sockets.eager import UNSENT_OCTETS, bound_unsent
from tests.sockets.hall import OURS, Hall, Subject, Way, Wire, until
from tests.tls.handshake import listener_tls


class Accepting(Factory):
    noisy = False

    def __init__(self):
        self.made = []

    def buildProtocol(self, addr):
        self.made.append(Subject(heard=lambda it, data: it.transport.write(data.upper())))
        return self.made[-1]


async def _transport(endpoint, connect):
    """The transport of a connection that this endpoint accepted, and that was of use."""
    factory = Accepting()
    port = serving(await endpoint.listen(factory))
    asking = await connectProtocol(connect(port), Subject())
    asking.transport.write(b"hello")
    await until(lambda: asking.received == b"HELLO")
    [accepted] = factory.made
    transport = accepted.transport
    asking.transport.loseConnection()
    await until(lambda: accepted.lost and asking.lost)
    await port.stopListening()
    return transport


def _client_of(port):
    return TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)


@pytest_twisted.ensureDeferred
async def test_ports_for_tcp_accept_ours():
    assert type(await _transport(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), _client_of)) is Server


@pytest_twisted.ensureDeferred
async def test_ports_for_ipv6_accept_ours():
    def six(port):
        return clientFromString(reactor, f"tcp:\\:\\:1:{port.getHost().port}")

    transport = await _transport(TCP6ServerEndpoint(reactor, 0, interface="::1"), six)
    assert type(transport) is Server
    assert transport.getPeer().type == "TCP"
    assert transport.getPeer().host == "::1"


@pytest_twisted.ensureDeferred
async def test_ports_whose_socket_somebody_else_has_opened_accept_ours():
    for kind in (InheritedEndpoint, AdoptedStreamServerEndpoint):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            listening.setblocking(False)
            endpoint = kind(reactor, listening.detach(), socket.AF_INET)
        transport = await _transport(endpoint, _client_of)
        assert type(transport) is Server
        if kind is InheritedEndpoint:
            socket.close(endpoint.descriptor)


@pytest_twisted.ensureDeferred
async def test_unix_sockets_stay_with_twisted(tmp_path):
    path = str(tmp_path / "socket")
    transport = await _transport(UNIXServerEndpoint(reactor, path), lambda _: UNIXClientEndpoint(reactor, path))
    assert not isinstance(transport, Server)


@pytest_twisted.ensureDeferred
async def test_tls_at_a_unix_socket_is_twisteds(tmp_path, certificate, version):
    creator = listener_tls(certificate)

    class Secured(Accepting):
        def buildProtocol(self, addr):
            protocol = super().buildProtocol(addr)
            protocol.hooks["made"] = lambda it: it.transport.startTLS(creator)
            return protocol

    factory = Secured()
    path = str(tmp_path / "socket")
    port = serving(await UNIXServerEndpoint(reactor, path).listen(factory))
    wire = await connectProtocol(UNIXClientEndpoint(reactor, path), Wire())
    hall = Hall(Way(OURS, "server"), certificate)
    peer = hall.peer(wire, version)
    peer.go_on()
    await until(lambda: peer.shaken)
    for number in range(3):
        peer.send(b"hello %d" % number)
        await until(lambda end: peer.heard[-len(end) :] == end, b"HELLO %d" % number)
    peer.say_goodbye()
    await until(lambda: factory.made[0].lost and peer.goodbye)
    await port.stopListening()


def test_ports_of_tests_stay_as_they_are():
    port = MemoryReactorClock().listenTCP(25, Accepting())
    before = dict(vars(port))
    assert serving(port) is port
    assert vars(port) == before


@pytest_twisted.ensureDeferred
async def test_a_port_with_transports_of_its_own_keeps_them():
    class Other(Server):
        pass

    port = reactor.listenTCP(0, Accepting(), interface="127.0.0.1")
    port.transport = Other
    assert serving(port).transport is Other
    await port.stopListening()


# --- what the system takes for a connection ---


@pytest_twisted.ensureDeferred
async def test_the_system_takes_little_for_a_peer_that_reads_slowly():
    """On both sides: one that connects, and one that is accepted."""
    factory = Accepting()
    port = serving(await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory))
    asking = await connectProtocol(TCP4ClientEndpoint(connecting(reactor), "127.0.0.1", port.getHost().port), Subject())
    await until(lambda: factory.made and factory.made[0].transport is not None)
    for end in (asking, factory.made[0]):
        took = end.transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        assert took == UNSENT_OCTETS
    asking.transport.loseConnection()
    await until(lambda: asking.lost and factory.made[0].lost)
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_system_that_does_not_know_how_takes_what_it_likes(monkeypatch):
    monkeypatch.delattr(socket, "TCP_NOTSENT_LOWAT")
    bound_unsent(None)
    monkeypatch.undo()
    with socket.socket(socket.AF_UNIX) as other:
        bound_unsent(other)
