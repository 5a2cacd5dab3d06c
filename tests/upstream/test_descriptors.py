"""Real sockets: whatever becomes of an attempt, its descriptor is given back; and what happens when there is none."""

import resource
import socket
import struct
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from mailproxy.destination.model import Destination, Login, MailProtocol, TLSMode, TLSSettings
from mailproxy.errors import (
    LimitReached,
    MailProxyError,
    NameLookupFailed,
    RefusedSession,
    TLSFailed,
    Unreachable,
    Violation,
)
from mailproxy.names import SystemResolver
from mailproxy.upstream.connector import Connector
from mailproxy.upstream.holdoff import HoldOffSettings
from mailproxy.upstream.smtp import SMTPUpstream
from tests.upstream.hostile import CLIENT_TLS, Logins, ServerTLS

ATTEMPTS = 10
"""At the same time, of each kind."""

HARDLY_A_PAUSE = HoldOffSettings(0.001, 0.001, 0.001, 0.001)


class MailServer(Protocol):
    """Says some octets to whoever comes."""

    greeting = b""

    def connectionMade(self):
        self.lost = Deferred()
        self.factory.gone.append(self.lost)
        self.arrived()

    def arrived(self):
        self.transport.write(self.greeting)

    def connectionLost(self, reason):
        self.lost.callback(None)


class Silent(MailServer):
    pass


class Babbling(MailServer):
    greeting = b"\0\1\2 hello\r\n"


class Refusing(MailServer):
    greeting = b"421 4.3.2 busy\r\n"


class Closing(MailServer):
    def arrived(self):
        self.transport.loseConnection()


class Resetting(MailServer):
    def arrived(self):
        self.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.loseConnection()


class WithAnothersCertificate(MailServer):
    def arrived(self):
        self.transport.startTLS(ServerTLS("other.test"))


class Addresses:
    """A name with many addresses, all of them this machine's."""

    def __init__(self, *hosts):
        self.hosts = hosts

    def resolveHostName(self, receiver, host, portNumber):
        receiver.resolutionBegan(None)
        for address in self.hosts:
            receiver.addressResolved(IPv4Address("TCP", address, portNumber))
        receiver.resolutionComplete()


@pytest.fixture
def resolver():
    """What the test wants to be asked for names; the reactor's own again when it is over."""
    before = reactor.nameResolver
    yield reactor.installNameResolver
    reactor.installNameResolver(before)


def connector(port, *, mode=TLSMode.NONE, login_seconds=20.0, host="127.0.0.1"):
    destination = Destination("d", MailProtocol.SMTP, host, port, TLSSettings(mode), login=False)
    make = partial(SMTPUpstream, reactor, ehlo_name="me.test", own_name="us.test", allow_plaintext_auth=False)
    return Connector(
        reactor,
        "the way",
        Logins(Login(destination, None)),
        CLIENT_TLS,
        lambda login, options: make(login, tls=options),
        is_ours=lambda *_: False,
        login_seconds=login_seconds,
        connect_seconds=10.0,
        random=lambda: 0.0,
        max_pending_logins=100,
        hold_off=HARDLY_A_PAUSE,
    )


async def listen(kind):
    factory = Factory.forProtocol(kind)
    factory.gone, factory.noisy = [], False
    return await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)


async def error_of(opening):
    try:
        stream = await opening
    except (MailProxyError, CancelledError) as error:
        return error
    stream.abort()
    raise AssertionError("the login has come through")


async def errors_of(openings):
    return {type(await error_of(opening)) for opening in openings}


@contextmanager
def deaf(host, port=0):
    """A port of a host where connections get no answer, since the queue of those who wait is full; which port."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind((host, port))
        listening.listen(0)
        for visitor in (first, second):
            visitor.setblocking(False)
            visitor.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


async def given_back(before):
    """As many descriptors are open as before; closing takes some turns of the reactor."""
    for _ in range(500):
        if descriptors() == before:
            return
        await deferLater(reactor, 0.01)
    assert descriptors() == before


@contextmanager
def without_descriptors():
    """No file and no socket can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("kind", "mode", "expected"),
    [
        (Babbling, TLSMode.NONE, Violation),
        (Babbling, TLSMode.IMPLICIT, TLSFailed),
        (Refusing, TLSMode.NONE, RefusedSession),
        (Closing, TLSMode.NONE, RefusedSession),
        (Closing, TLSMode.IMPLICIT, RefusedSession),
        (Resetting, TLSMode.NONE, RefusedSession),
        (Resetting, TLSMode.IMPLICIT, RefusedSession),
        (WithAnothersCertificate, TLSMode.IMPLICIT, TLSFailed),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_failed_attempt_gives_its_descriptor_back(kind, mode, expected, resolver):
    resolver(Addresses("127.0.0.1"))
    port = await listen(kind)
    before = descriptors()
    there = connector(port.getHost().port, mode=mode)
    assert await errors_of([there.open() for _ in range(ATTEMPTS)]) == {expected}
    await given_back(before)
    await port.stopListening()


@pytest.mark.parametrize("mode", [TLSMode.NONE, TLSMode.IMPLICIT])
@pytest.mark.parametrize("end", ["cancel", "deadline"])
@pytest_twisted.ensureDeferred
async def test_a_silent_mail_server_keeps_none(mode, end, resolver):
    resolver(Addresses("127.0.0.1"))
    port = await listen(Silent)
    before = descriptors()
    there = connector(port.getHost().port, mode=mode, login_seconds=0.2 if end == "deadline" else 20)
    openings = [there.open() for _ in range(ATTEMPTS)]
    while len(port.factory.gone) < ATTEMPTS:
        await deferLater(reactor, 0.01)
    if end == "cancel":
        for opening in openings:
            opening.cancel()
    assert await errors_of(openings) == {CancelledError if end == "cancel" else RefusedSession}
    await given_back(before)
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_of_many_addresses_those_that_were_not_needed_are_given_back(resolver):
    port = await listen(Refusing)
    with deaf("127.0.0.2", port.getHost().port):
        resolver(Addresses("127.0.0.2", "127.0.0.2", "127.0.0.1"))
        before = descriptors()
        there = connector(port.getHost().port)
        assert await errors_of([there.open() for _ in range(ATTEMPTS)]) == {RefusedSession}
        await given_back(before)
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_an_attempt_that_is_given_up_while_it_connects_keeps_none(resolver):
    with deaf("127.0.0.1") as port:
        resolver(Addresses("127.0.0.1", "127.0.0.1"))
        before = descriptors()
        there = connector(port)
        openings = [there.open() for _ in range(ATTEMPTS)]
        while descriptors() < before + 2 * ATTEMPTS:
            await deferLater(reactor, 0.01)
        for opening in openings:
            opening.cancel()
        assert await errors_of(openings) == {CancelledError}
        await given_back(before)


@pytest_twisted.ensureDeferred
async def test_a_port_where_nobody_listens_takes_none(resolver):
    resolver(Addresses("127.0.0.1", "127.0.0.1"))
    port = await listen(Silent)
    number = port.getHost().port
    await port.stopListening()
    before = descriptors()
    there = connector(number)
    assert await errors_of([there.open() for _ in range(ATTEMPTS)]) == {Unreachable}
    await given_back(before)


@pytest_twisted.ensureDeferred
async def test_without_a_free_descriptor_the_client_is_told_to_come_back_later(resolver):
    resolver(Addresses("127.0.0.1"))
    port = await listen(Refusing)
    there = connector(port.getHost().port)
    with without_descriptors():
        error = await error_of(there.open())
    assert type(error) is LimitReached
    assert str(error).endswith(": too many open files")
    assert type(await error_of(there.open())) is RefusedSession
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_name_cannot_be_looked_up_without_one_either(resolver):
    resolver(SystemResolver(reactor))
    there = connector(25, host="nobody.invalid")
    with without_descriptors():
        error = await error_of(there.open())
    assert isinstance(error, (LimitReached, NameLookupFailed)), error  # the C library may take it for no answer
