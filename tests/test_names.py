"""Which names are this machine, and what a failed lookup was about."""

import socket
import threading

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyObject

from mailproxy import names
from mailproxy.errors import HostNotFound, NameLookupFailed
from mailproxy.names import LocalhostResolver, classify_lookup_failure, is_localhost_name, is_loopback_host


class Receiver:
    def __init__(self):
        self.addresses = []
        self.began = None
        self.complete = False

    def resolutionBegan(self, resolution):
        self.began = resolution

    def addressResolved(self, address):
        self.addresses.append(address)

    def resolutionComplete(self):
        self.complete = True


class Visitor(Protocol):
    def __init__(self):
        self.lost = Deferred()

    def connectionLost(self, _reason):
        self.lost.callback(None)


class Elsewhere:
    """A resolver that only notes what it was asked."""

    def __init__(self):
        self.asked = []

    def resolveHostName(self, *arguments):
        self.asked.append(arguments)
        return "the other resolver's"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("localhost.", True),
        ("mail.acme.localhost", True),
        ("mail.acme.LOCALHOST.", True),
        ("localhost.example.com", False),
        ("notlocalhost", False),
        ("localhost.localdomain", False),
        ("", False),
        (".", False),
    ],
)
def test_localhost_names(host, expected):
    assert is_localhost_name(host) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("a.localhost", True),
        ("0.0.0.0", False),
        ("128.0.0.1", False),
        ("::", False),
        ("::ffff:192.0.2.1", False),
        ("127.1", False),
        ("2130706433", False),
        ("127.0.0.1.example.com", False),
        ("mail.example.com", False),
        ("", False),
    ],
)
def test_hosts_that_can_only_be_this_machine(host, expected):
    assert is_loopback_host(host) is expected


@pytest.mark.parametrize("host", ["localhost", "mail.acme.localhost", "LOCALHOST."])
def test_localhost_names_resolve_to_loopback_without_asking_anybody(host):
    elsewhere, receiver = Elsewhere(), Receiver()
    resolution = LocalhostResolver(elsewhere).resolveHostName(receiver, host, 587)
    assert receiver.addresses == [IPv4Address("TCP", "127.0.0.1", 587), IPv6Address("TCP", "::1", 587)]
    assert receiver.complete
    assert receiver.began is resolution
    assert resolution.name == host
    assert resolution.cancel() is None
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([IPv4Address], [IPv4Address("UDP", "127.0.0.1", 53)]),
        ([IPv6Address], [IPv6Address("UDP", "::1", 53)]),
        ([], []),
    ],
)
def test_only_the_wanted_kinds_of_addresses_are_given(kinds, expected):
    receiver = Receiver()
    LocalhostResolver(Elsewhere()).resolveHostName(receiver, "localhost", 53, kinds, "UDP")
    assert receiver.addresses == expected
    assert receiver.complete


@pytest.mark.parametrize("host", ["mail.example.com", "127.0.0.1", "localhost.example.com"])
def test_every_other_name_goes_to_the_resolver_behind(host):
    elsewhere, receiver = Elsewhere(), Receiver()
    answer = LocalhostResolver(elsewhere).resolveHostName(receiver, host, 25, [IPv4Address], "UDP")
    assert answer == "the other resolver's"
    assert elsewhere.asked == [(receiver, host, 25, [IPv4Address], "UDP")]
    assert receiver.began is None


def test_the_resolver_is_what_twisted_expects():
    resolver = LocalhostResolver(Elsewhere())
    assert verifyObject(IHostnameResolver, resolver)
    assert verifyObject(IHostResolution, resolver.resolveHostName(Receiver(), "localhost"))


def test_installing_twice_wraps_once():
    clock = MemoryReactorClock()
    before = clock.nameResolver
    names.install(clock)
    installed = clock.nameResolver
    assert installed == LocalhostResolver(before)
    names.install(clock)
    assert clock.nameResolver is installed


@pytest_twisted.ensureDeferred
async def test_an_endpoint_reaches_this_machine_by_a_localhost_name():
    host = Visitor()
    factory = Factory.forProtocol(lambda: host)
    factory.noisy = False
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    before = reactor.nameResolver
    names.install(reactor)
    try:
        endpoint = HostnameEndpoint(reactor, "nobody-knows-me.localhost", port.getHost().port)
        client = await endpoint.connect(Factory.forProtocol(Visitor))
        assert client.transport.getPeer().host == "127.0.0.1"
        client.transport.loseConnection()
        await client.lost
        await host.lost
    finally:
        reactor.installNameResolver(before)
        await port.stopListening()


def failing(error):
    def getaddrinfo(*_, **__):
        raise error

    return getaddrinfo


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), HostNotFound, "Name or service not known"),
        (socket.gaierror(socket.EAI_NODATA, "No address associated"), HostNotFound, "No address associated"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), NameLookupFailed, "Temporary failure"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), NameLookupFailed, "Non-recoverable failure"),
        (UnicodeError("label too long"), HostNotFound, "no host name"),
        (OSError("out of descriptors"), NameLookupFailed, "does not answer (OSError)"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_failed_lookup_is_told_apart_by_its_code(error, kind, words):
    result = await classify_lookup_failure(reactor, "mail.example.com", getaddrinfo=failing(error))
    assert type(result) is kind
    assert str(result).startswith("mail.example.com: ")
    assert words in str(result)


@pytest_twisted.ensureDeferred
async def test_a_name_that_resolves_by_now_was_a_passing_failure():
    result = await classify_lookup_failure(reactor, "127.0.0.1")
    assert type(result) is NameLookupFailed
    assert "answers again" in str(result)


@pytest_twisted.ensureDeferred
async def test_a_label_that_is_too_long_is_no_host_name():
    result = await classify_lookup_failure(reactor, "a" * 64 + ".example.com")
    assert type(result) is HostNotFound


@pytest_twisted.ensureDeferred
async def test_a_name_service_that_stays_silent_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(names, "CLASSIFY_SECONDS", 0.01)
    over = threading.Event()
    try:
        result = await ensureDeferred(
            classify_lookup_failure(reactor, "mail.example.com", getaddrinfo=lambda *_, **__: over.wait(10))
        )
    finally:
        over.set()
    assert type(result) is NameLookupFailed
    assert "does not answer" in str(result)


@pytest_twisted.ensureDeferred
async def test_the_host_is_escaped_in_what_an_operator_reads():
    result = await classify_lookup_failure(reactor, "a\x1b[31m", getaddrinfo=failing(OSError()))
    assert "\x1b" not in str(result)
