"""What the sandbox writes down for mailproxy, and the demonstration."""

import json
import socket
import stat
import tomllib

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from mailproxy.config import load
from mailproxy.sandbox.demo import read_listeners, wait_for_listeners
from mailproxy.sandbox.layout import LOGINS_FILE, OFFERS, Tenant, choose_listeners
from mailproxy.sandbox.mailboxes import Login
from mailproxy.sandbox.telnet import Telnet, Unexpected
from tests.sandbox.talk import USER


def test_the_configuration_is_one_that_mailproxy_takes(world):
    config = load(world.config)
    assert {destination.name for destination in config.destinations} == {offer.name for offer in OFFERS}
    assert set(config.tenants) == {"acme", "globex"}


def test_both_kinds_of_source_both_protocols_and_both_logins_are_used(world):
    services = {offer.service for offer in OFFERS}
    assert services == set(tomllib.loads(world.config.read_text())["destination_services"])
    for protocol in ("smtp", "pop3"):
        assert {offer.with_token for offer in OFFERS if offer.protocol == protocol} == {True, False}


def test_the_directory_holds_what_the_destination_service_would_answer(world):
    for tenant in world.tenants:
        for offer in OFFERS:
            file = world.directory / "destinations" / tenant.name / f"{offer.name}.json"
            _, answer = world.services.catalog.find(tenant.name, offer.name)
            assert json.loads(file.read_text()) == answer["destinationConfiguration"]


def test_secrets_are_for_their_owner_only_and_in_no_repr(world, acme):
    files = [path for part in ("bindings", "destinations") for path in (world.directory / part).rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files if path.is_file()} == {0o600}
    for secret in (acme.password, acme.client_secret):
        assert secret not in repr(world)


def test_a_taken_port_is_replaced_by_a_free_one():
    tenants = [Tenant("acme"), Tenant("globex")]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wanted = OFFERS[0].ports[0]
        try:
            taken.bind(("127.0.0.1", wanted))
        except OSError:
            pass  # somebody else has it, which is as good
        else:
            taken.listen()
        chosen = choose_listeners(tenants)
    ports = [port for by_tenant in chosen.values() for port in by_tenant.values()]
    assert chosen[OFFERS[0].name]["acme"] != wanted
    assert len(set(ports)) == len(ports) == 8


def test_logins_are_written_down_as_they_happen(world):
    world.mailboxes.note(Login(3, "smtp", USER, "PLAIN", "TLSv1.3"))
    assert json.loads((world.directory / LOGINS_FILE).read_text())["user"] == USER


def test_listeners_are_read_from_the_configuration(world):
    listeners = read_listeners(world.config)
    assert len(listeners) == 8
    for listener in listeners:
        assert world.listeners[listener.destination][listener.tenant] == listener.port


def test_waiting_ends_when_the_proxy_has_gone(world):
    with pytest.raises(Unexpected, match="has ended"):
        wait_for_listeners(read_listeners(world.config), 30, lambda: False)


def test_waiting_ends_after_its_time(world):
    with pytest.raises(Unexpected, match="nobody listens"):
        wait_for_listeners(read_listeners(world.config), 0, lambda: True)


@pytest_twisted.ensureDeferred
async def test_a_transcript_shows_both_sides(world):
    transcript = []

    def talk():
        with Telnet(world.servers.smtp, transcript.append) as telnet:
            telnet.expect_reply("220")
            telnet.type("EHLO me")
            telnet.expect_reply("250")
            telnet.type("QUIT")
            telnet.expect_reply("221")
            telnet.expect_end()

    await deferToThread(talk)
    assert transcript[0].startswith("S: 220 ")
    assert transcript[1] == "C: EHLO me"
    assert transcript[2].startswith("S: 250-")
    assert transcript[-2] == "C: QUIT"


@pytest_twisted.ensureDeferred
async def test_an_unexpected_answer_is_told(world):
    def talk():
        with Telnet(world.servers.smtp, lambda _: None) as telnet:
            telnet.expect_reply("220")
            telnet.type("MAIL FROM:<a@b.example>")
            with pytest.raises(Unexpected, match="wanted 250, got: 530"):
                telnet.expect_reply("250")
            telnet.type("QUIT")
            with pytest.raises(Unexpected, match="more than was asked for"):
                telnet.expect_end()

    await deferToThread(talk)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "the connection was closed"),
        (b"220 half", "a line without an end"),
        (b"-ERR [SYS/TEMP] no\r\n", "wanted .OK, got: -ERR"),
        (b"+OK \xff\x1b\r\n", ""),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_a_broken_server_says_is_told(said, words, open_port):
    port = open_port(said)
    transcript = []

    def talk():
        with Telnet(port, transcript.append) as telnet:
            telnet.expect_ok()

    if words:
        with pytest.raises(Unexpected, match=words):
            await deferToThread(talk)
    else:
        await deferToThread(talk)
        assert transcript == [r"S: +OK \xff\x1b"]


@pytest_twisted.ensureDeferred
async def test_silence_is_told(monkeypatch, open_port):
    monkeypatch.setattr("mailproxy.sandbox.telnet.SECONDS", 0.05)
    port = open_port(None)

    def talk(wait):
        with Telnet(port, lambda _: None) as telnet, pytest.raises(Unexpected, match="timed out"):
            wait(telnet)

    await deferToThread(talk, Telnet.read)
    await deferToThread(talk, Telnet.expect_end)


class OneWord(Protocol):
    """Says what its factory holds and closes; says nothing and waits when that is None."""

    def connectionMade(self):
        if self.factory.said is not None:
            self.transport.write(self.factory.said)
            self.transport.loseConnection()


@pytest_twisted.async_yield_fixture
async def open_port():
    """A function that makes somebody listen who says these octets, and tells the port."""
    ports = []

    def listen(said):
        factory = Factory.forProtocol(OneWord)
        factory.noisy = False
        factory.said = said
        ports.append(reactor.listenTCP(0, factory, interface="127.0.0.1"))
        return ports[-1].getHost().port

    yield listen
    for port in ports:
        await port.stopListening()


def test_nobody_there_is_told():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unexpected, match="no connection"):
            Telnet(unused.getsockname()[1], lambda _: None)
