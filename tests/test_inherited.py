"""Sockets that somebody else has opened: served, left as they are, and served again."""

import socket
from pathlib import Path

import pytest
from twisted.internet import endpoints, reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.python.systemd import ListenFDs

from mailproxy.inherited import InheritedEndpoint, endpoint_of


class Greeter(Protocol):
    def connectionMade(self):
        self.transport.write(b"hello\r\n")
        self.transport.loseConnection()


@pytest.fixture(params=["INET", "INET6", "UNIX"])
def listening(request, tmp_path):
    """A socket that was opened before us."""
    family = getattr(socket, f"AF_{request.param}")
    with socket.socket(family) as sock:
        address = {"INET": ("127.0.0.1", 0), "INET6": ("::1", 0), "UNIX": str(tmp_path / "mail")}[request.param]
        sock.bind(address)
        if family == socket.AF_UNIX:
            Path(sock.getsockname()).chmod(0o600)
        sock.listen(8)
        yield sock


def ask(listening):
    with socket.socket(listening.family) as client:
        client.settimeout(10)
        client.connect(listening.getsockname())
        return client.makefile("rb").readline()


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.fixture
def handed_over(monkeypatch, listening):
    """It has the name `smtp`."""
    given = ListenFDs([listening.fileno()], ["smtp"])
    monkeypatch.setattr(endpoints._SystemdParser, "_sddaemon", given)


@pytest.mark.usefixtures("handed_over")
@pytest.mark.parametrize("which", ["name=smtp", "index=0"])
async def test_it_is_served_and_served_again(listening, which):
    domain = listening.family.name.removeprefix("AF_")
    endpoint = endpoint_of(reactor, f"systemd:{domain}:{which}")
    for _ in range(2):
        port = await endpoint.listen(Factory.forProtocol(Greeter))
        assert await deferToThread(ask, listening) == b"hello\r\n"
        await port.stopListening()


async def test_who_comes_in_between_waits(listening):
    endpoint = InheritedEndpoint(reactor, listening.fileno(), listening.family)
    port = await endpoint.listen(Factory.forProtocol(Greeter))
    await port.stopListening()
    waiting = deferToThread(ask, listening)
    port = await endpoint.listen(Factory.forProtocol(Greeter))
    assert await waiting == b"hello\r\n"
    await port.stopListening()


@pytest.mark.parametrize("listening", ["UNIX"], indirect=True)
async def test_the_file_of_a_unix_socket_is_left_as_it_is(listening):
    path = Path(listening.getsockname())
    port = await InheritedEndpoint(reactor, listening.fileno(), listening.family).listen(Factory.forProtocol(Greeter))
    assert mode(path) == 0o600
    assert port.getHost().name == bytes(path)
    await port.stopListening()
    assert mode(path) == 0o600


@pytest.mark.parametrize("listening", ["INET"], indirect=True)
@pytest.mark.usefixtures("handed_over")
@pytest.mark.parametrize("which", ["name=other", "index=1"])
def test_one_that_was_not_handed_over_has_a_clear_word(which):
    with pytest.raises(ValueError, match="systemd has handed over no such socket"):
        endpoint_of(reactor, f"systemd:INET:{which}")


def test_other_endpoints_are_twisteds():
    assert isinstance(endpoint_of(reactor, "tcp:0:interface=127.0.0.1"), endpoints.TCP4ServerEndpoint)
