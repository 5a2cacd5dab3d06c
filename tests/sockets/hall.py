"""
A connection over loopback of which one end is to be judged, on a layer of TLS, and the other does what the test says.

The `Subject` is a protocol on the transport in question.  Its peer has an ordinary transport of Twisted's, and TLS of
its own on top of that, in memory, a step at a time: so the test decides about each octet.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory
from twisted.internet.task import deferLater
from zope.interface import implementer

from mailproxy.destination.model import TLSMode, TLSSettings
from mailproxy.sandbox.pki import Authority
from mailproxy.sockets import connecting, serving
from mailproxy.tls import ClientTLS, Trust
from tests.tls.handshake import listener_tls

HOST = "mail.example.com"
AUTHORITY = Authority.create()
ISSUED = AUTHORITY.issue(HOST)
CLIENT_TLS = ClientTLS(Trust(platform=False, bundles=(AUTHORITY.certificate_pem,)))

VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

SETTLED = 20
"""Turns of the reactor after which all has happened that will happen by itself: loopback delivers at once."""

NARROW_OCTETS = 16_384


@frozen
class Layer:
    """Where TLS is done."""

    name: str
    connecting: Callable[[Any], Any]
    serving: Callable[[Any], Any]
    ours: bool

    def __str__(self):
        return self.name


TWISTED = Layer("twisted", lambda reactor: reactor, lambda port: port, ours=False)
OURS = Layer("ours", connecting, serving, ours=True)


@frozen
class Way:
    """A layer, and the part that the subject plays."""

    layer: Layer
    role: str

    @property
    def ours(self):
        return self.layer.ours

    @property
    def client(self):
        return self.role == "client"

    def __str__(self):
        return f"{self.layer}-{self.role}"


WAYS = [Way(layer, role) for layer in (TWISTED, OURS) for role in ("client", "server")]


def some(count):
    """So many octets, no two stretches of which are alike; they look like no TLS."""
    return b"<" + random.Random(count).randbytes(count - 1)


async def until(condition, *about, seconds=10.0):
    """The reactor goes on until it is so; the condition hears what it is about, like the number of a loop."""
    deadline = time.monotonic() + seconds
    while not condition(*about):
        assert time.monotonic() < deadline, "waited in vain"
        await deferLater(reactor, 0)


async def settle(turns=SETTLED):
    """All has happened that will."""
    for _ in range(turns):
        await deferLater(reactor, 0)


@implementer(IHandshakeListener)
class Subject(Protocol):
    """
    Notes what happens, and does in `made`, `shaken`, `heard` and `gone` what a test wants it to.
    """

    def __init__(self, **hooks):
        self.hooks = hooks
        self.events = []
        self.received = bytearray()
        self.reason = None

    def connectionMade(self):
        self._note("made")

    def handshakeCompleted(self):
        self._note("shaken")

    def dataReceived(self, data):
        self.received += data
        self._note("heard", data)

    def connectionLost(self, reason):
        self.reason = reason
        self._note("gone", reason)

    def _note(self, event, *args):
        if self.events[-1:] != ["heard"] or event != "heard":
            self.events.append(event)
        hook = self.hooks.get(event)
        if hook is not None:
            hook(self, *args)

    @property
    def lost(self):
        return self.reason is not None

    @property
    def shaken(self):
        return "shaken" in self.events


@implementer(IHalfCloseableProtocol)
class HalfCloseableSubject(Subject):
    def readConnectionLost(self):
        self._note("no more to read")

    def writeConnectionLost(self):
        self._note("no more to write")


class Wire(Protocol):
    """The peer's end: octets as they are."""

    def __init__(self):
        self.octets = bytearray()
        self.reason = None
        self.listener = None

    def dataReceived(self, data):
        self.octets += data
        if self.listener is not None:
            self.listener()

    def connectionLost(self, reason):
        self.reason = reason

    @property
    def lost(self):
        return self.reason is not None

    def take(self):
        octets, self.octets = bytes(self.octets), bytearray()
        return octets


class Peer:
    """TLS at the peer's end.  It goes on by itself as octets come, unless `by_hand`."""

    def __init__(self, wire, connection, *, by_hand=False):
        self.wire = wire
        self.connection = connection
        self.heard = bytearray()
        self.shaken = False
        self.goodbye = False
        self.error = None
        if not by_hand:
            wire.listener = self.go_on

    def go_on(self):
        """Whatever can be done with the octets that came is done, and what has to be said is sent."""
        self.open(self.wire.take())
        self.wire.transport.write(self.sealed())

    def open(self, octets):
        """These octets have come."""
        if octets:
            self.connection.bio_write(octets)
        try:
            if not self.shaken:
                self.connection.do_handshake()
                self.shaken = True
            while True:
                self.heard += self.connection.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.goodbye = True
        except SSL.Error as error:
            self.error = self.error or error

    def sealed(self, data=b""):
        """What is to be sent, this data last."""
        if data:
            self.connection.sendall(data)
        octets = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                octets += self.connection.bio_read(65536)
        return octets

    def send(self, data):
        self.wire.transport.write(self.sealed(data))

    def say_goodbye(self):
        self.connection.shutdown()
        self.wire.transport.write(self.sealed())


class _Once:
    """Hands a protocol out once, and lets go of it."""

    noisy = False

    def __init__(self, protocol):
        self._made = [protocol]

    def buildProtocol(self, addr):
        return self._made.pop()


class Asking(_Once, ClientFactory):
    pass


class _Accepting(_Once, ServerFactory):
    pass


class Hall:
    """Where the two meet; it is empty when the test is over."""

    def __init__(self, way, certificate):
        self.way = way
        self.ours = way.ours
        self._certificate = certificate
        self._ports = []
        self._ends = []

    async def meet(self, subject):
        """The peer's end of a connection with the subject."""
        wire = Wire()
        if self.way.client:
            port = await self._open(wire)
            self.connect(subject, port.getHost().port)
        else:
            reactor.connectTCP("127.0.0.1", await self.listen(subject), Asking(wire))
        self._ends.append(wire)
        await until(lambda: wire.transport is not None and subject.transport is not None)
        wire.transport.setTcpNoDelay(True)
        return wire

    async def listen(self, subject):
        """The number of the port where the subject accepts one connection."""
        port = await self._open(subject)
        self._ends.append(subject)
        return self.way.layer.serving(port).getHost().port

    def connect(self, subject, port):
        """The subject connects."""
        self._ends.append(subject)
        self.way.layer.connecting(reactor).connectTCP("127.0.0.1", port, Asking(subject))

    async def _open(self, protocol):
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(_Accepting(protocol))
        self._ports.append(port)
        return port

    def creator(self, version=None, **settings):
        """What the subject gives to `startTLS`."""
        if self.way.client:
            settings = {"minimum": version or "TLSv1.2", "maximum": version} | settings
            return CLIENT_TLS.options(HOST, TLSSettings(TLSMode.IMPLICIT, **settings))
        return listener_tls(self._certificate, **settings)

    def peer(self, wire, version=None, *, context=None, **more):
        """TLS at the other end."""
        connection = SSL.Connection(context or self.context(version), None)
        if self.way.client:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        return Peer(wire, connection, **more)

    def context(self, version=None, issued=ISSUED):
        """That of the peer, which takes everybody."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD if self.way.client else SSL.TLS_CLIENT_METHOD)
        assert lib.SSL_CTX_set1_curves_list(context._context, b"X25519:P-256")  # what comes without another question
        if version is not None:
            context.set_min_proto_version(VERSIONS[version])
            context.set_max_proto_version(VERSIONS[version])
        if self.way.client:
            leaf, *chain = x509.load_pem_x509_certificates(issued.chain_pem)
            context.use_certificate(leaf)
            context.use_privatekey(load_pem_private_key(issued.key_pem, None))
            for certificate in chain:
                context.add_extra_chain_cert(certificate)
        return context

    async def begun(self, subject, version=None, **more):
        """The subject and its peer are about to shake hands."""
        creator = self.creator(version)
        made = subject.hooks.get("made", lambda _: None)
        subject.hooks["made"] = lambda it: (it.transport.startTLS(creator), made(it))
        peer = self.peer(await self.meet(subject), version, **more)
        peer.go_on()
        return peer

    async def secured(self, subject, version=None, **more):
        """They have shaken hands."""
        peer = await self.begun(subject, version, **more)
        await until(lambda: subject.shaken and peer.shaken)
        return peer

    async def secured_by_hand(self, subject, version, behind):
        """The same, and the last the peer says in it comes in one packet with what is `behind`."""
        subject.hooks["made"] = lambda it: it.transport.startTLS(self.creator(version))
        wire = await self.meet(subject)
        peer = self.peer(wire, version, by_hand=True)
        while not peer.shaken:
            octets = peer.sealed()
            if octets:
                wire.transport.write(octets)
            elif wire.octets or not self.way.client:
                peer.open(wire.take())
            await deferLater(reactor, 0)
        peer.send(behind)
        return peer

    async def close(self):
        """All connections are over, and forgotten."""
        ends, self._ends = self._ends, []
        ports, self._ports = self._ports, []
        for end in ends:
            if end.reason is None and end.transport is not None:
                end.transport.abortConnection()
        for port in ports:
            await port.stopListening()
        await until(lambda: all(end.reason is not None or end.transport is None for end in ends))


def narrow(*ends):
    """The system has little room for octets between these ends."""
    for end in ends:
        for side in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.transport.socket.setsockopt(socket.SOL_SOCKET, side, NARROW_OCTETS)
