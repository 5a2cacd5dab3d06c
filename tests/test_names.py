"""Which names are this machine, and what a failed lookup was about."""

import errno
import socket
import threading

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from mailproxy import names
from mailproxy.errors import HostNotFound, LimitReached, NameLookupFailed
from mailproxy.names import (
    Diagnoses,
    LocalhostResolver,
    SystemResolver,
    classify_lookup_failure,
    is_localhost_name,
    is_loopback_host,
)


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


# The system's name service


V4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 25))
V6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 25, 0, 0))


class Threads:
    """A reactor whose threads answer when the test wants it."""

    def __init__(self):
        self.jobs = []
        self.asked = []

    def getThreadPool(self):
        return self

    def callInThreadWithCallback(self, on_result, function, *arguments, **more):
        self.jobs.append((on_result, function, arguments, more))

    def callFromThread(self, function, *arguments):
        function(*arguments)

    def run(self, result):
        """One job is done; what `getaddrinfo` gives in it, or raises."""
        on_result, function, arguments, more = self.jobs.pop(0)
        self.result = result
        try:
            answer = function(*arguments, **more)
        except Exception:  # noqa: BLE001 - as threads do
            on_result(False, Failure())
        else:
            on_result(True, answer)

    def getaddrinfo(self, *arguments):
        self.asked.append(arguments)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def threads():
    return Threads()


def ask(resolver, host="mail.test", port=25, *more):
    receiver = Receiver()
    resolution = resolver.resolveHostName(receiver, host, port, *more)
    assert receiver.began is resolution
    return receiver


def test_a_name_is_asked_for_once_however_many_want_to_know_it(threads):
    resolver = SystemResolver(threads, threads.getaddrinfo)
    receivers = [ask(resolver) for _ in range(50)]
    assert len(threads.jobs) == 1
    threads.run([V4, V6])
    expected = [IPv4Address("TCP", "192.0.2.1", 25), IPv6Address("TCP", "2001:db8::1", 25)]
    assert all(receiver.addresses == expected and receiver.complete for receiver in receivers)
    later = ask(resolver)
    assert not later.complete
    threads.run([])
    assert later.complete
    assert threads.asked == [("mail.test", 25, socket.AF_UNSPEC, socket.SOCK_STREAM)] * 2


def test_other_questions_are_asked_beside_it(threads):
    resolver = SystemResolver(threads, threads.getaddrinfo)
    for more in (("other.test",), ("mail.test", 26), ("mail.test", 25, [IPv4Address]), ("mail.test", 25, None, "UDP")):
        ask(resolver, *more)
    assert len(threads.jobs) == 4
    for _ in range(4):
        threads.run([])
    assert threads.asked[2][2:] == (socket.AF_INET, socket.SOCK_STREAM)
    assert threads.asked[3][2:] == (socket.AF_UNSPEC, socket.SOCK_DGRAM)


@pytest.mark.parametrize(
    "error",
    [socket.gaierror(socket.EAI_NONAME, "no"), OSError(errno.EMFILE, "no"), UnicodeError("no"), MemoryError()],
)
def test_whatever_goes_wrong_everybody_hears_of_the_end(threads, error):
    resolver = SystemResolver(threads, threads.getaddrinfo)
    receivers = [ask(resolver), ask(resolver)]
    threads.run(error)
    assert all(receiver.complete and not receiver.addresses for receiver in receivers)
    assert not resolver._asked


@pytest.mark.parametrize(
    ("host", "address"),
    [("192.0.2.7", IPv4Address("TCP", "192.0.2.7", 25)), ("2001:db8::7", IPv6Address("TCP", "2001:db8::7", 25))],
)
def test_an_address_takes_no_thread(threads, host, address):
    receiver = ask(SystemResolver(threads, threads.getaddrinfo), host)
    assert (receiver.addresses, receiver.complete, threads.jobs) == ([address], True, [])


def test_an_address_of_an_unwanted_kind_is_none(threads):
    assert ask(SystemResolver(threads, threads.getaddrinfo), "192.0.2.7", 25, [IPv6Address]).addresses == []


def test_of_very_many_addresses_the_first_of_each_kind_are_taken(threads):
    receiver = ask(SystemResolver(threads, threads.getaddrinfo))
    threads.run([V6] * 1000 + [V4] * 1000)
    assert [type(each) for each in receiver.addresses] == [IPv6Address] * 4 + [IPv4Address] * 4


def test_the_systems_resolver_is_what_twisted_expects(threads):
    resolver = SystemResolver(threads)
    assert verifyObject(IHostnameResolver, resolver)
    assert verifyObject(IHostResolution, resolver.resolveHostName(Receiver(), "192.0.2.7"))


def test_a_reactor_with_threads_asks_the_system():
    before = reactor.nameResolver
    names.install(reactor)
    try:
        assert isinstance(reactor.nameResolver.others, SystemResolver)
        assert reactor.getThreadPool().max == names.LOOKUP_THREADS
    finally:
        reactor.installNameResolver(before)


@pytest_twisted.ensureDeferred
async def test_a_name_of_this_machines_own_is_found():
    resolver, done = SystemResolver(reactor), Deferred()
    receiver = Receiver()
    receiver.resolutionComplete = lambda: done.callback(None)
    resolver.resolveHostName(receiver, "localhost", 25, [IPv4Address])
    await done
    assert receiver.addresses == [IPv4Address("TCP", "127.0.0.1", 25)]


# What was wrong


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
        (OSError(errno.EMFILE, "Too many open files"), LimitReached, "too many open files"),
        (OSError(errno.EIO, "no words of ours"), NameLookupFailed, "does not answer (OSError)"),
        (MemoryError(), NameLookupFailed, "does not answer (MemoryError)"),
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


class Classifier:
    def __init__(self):
        self.asked = []
        self.answers = []

    async def classify(self, host):
        self.asked.append(host)
        self.answers.append(Deferred())
        return await self.answers[-1]


def test_a_diagnosis_is_made_once_for_all_who_want_it():
    classifier, told = Classifier(), []
    diagnoses = Diagnoses(classifier.classify)
    for host in ("a", "a", "b"):
        diagnoses.of(host).addCallback(told.append)
    assert classifier.asked == ["a", "b"]
    classifier.answers[0].callback("no such name")
    assert told == ["no such name"] * 2
    diagnoses.of("a").addCallback(told.append)
    assert classifier.asked == ["a", "b", "a"]


def test_who_gives_up_takes_nobody_along():
    classifier, told, given_up = Classifier(), [], []
    diagnoses = Diagnoses(classifier.classify)
    first, second = diagnoses.of("a"), diagnoses.of("a")
    first.addErrback(given_up.append)
    second.addCallback(told.append)
    first.cancel()
    assert given_up[0].check(CancelledError)
    classifier.answers[0].callback("no such name")
    assert told == ["no such name"]


def test_a_diagnosis_that_nobody_waits_for_any_more_is_given_up():
    classifier, given_up = Classifier(), []
    diagnoses = Diagnoses(classifier.classify)
    for _ in range(2):
        diagnosis = diagnoses.of("a")
        diagnosis.addErrback(given_up.append)
        diagnosis.cancel()
    assert len(given_up) == len(classifier.asked) == 2
    assert all(answer.called for answer in classifier.answers)
    assert not diagnoses._waiting
    assert not diagnoses._asking


def test_a_mistake_in_a_diagnosis_is_told_to_all():
    classifier, failed = Classifier(), []
    diagnoses = Diagnoses(classifier.classify)
    for _ in range(2):
        diagnoses.of("a").addErrback(failed.append)
    classifier.answers[0].errback(KeyError("oops"))
    assert [failure.type for failure in failed] == [KeyError] * 2
