"""Both ends of a TLS connection over loopback, implicit TLS and STARTTLS, and what each knows when it is over."""

import ipaddress

import pytest
from attrs import define
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.destination.model import TLSMode, TLSSettings
from mailproxy.sandbox.pki import Authority
from mailproxy.tls import ClientTLS, Trust, describe_tls_failure

HOST = "mail.example.com"
SETTINGS = TLSSettings(TLSMode.IMPLICIT)
GREETING = b"220 behind TLS\r\n"
LOGIN = b"LOGIN user secret\r\n"

AUTHORITY = Authority.create()
OTHER_AUTHORITY = Authority.create("somebody else's CA")
TLS = ClientTLS(Trust(platform=False, bundles=(AUTHORITY.certificate_pem,)))

ANOTHER_HOST = "certificate is for another host: "
NO_USABLE_NAME = "certificate has no usable name: "

both_ways = pytest.mark.parametrize("way", ["implicit", "starttls"])


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """The server's side: what it presents, what it asks for, and what it learns."""

    def __init__(self, issued, *, only=None, ciphers=None, client_authority=None, groups=b"X25519:P-256"):
        self.names = []
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        assert lib.SSL_CTX_set1_curves_list(self.context._context, groups)
        if only is not None:
            self.context.set_min_proto_version(only)
            self.context.set_max_proto_version(only)
        if ciphers is not None:
            self.context.set_cipher_list(ciphers)
        leaf, *above = x509.load_pem_x509_certificates(issued.chain_pem)
        self.context.use_certificate(leaf)
        self.context.use_privatekey(load_pem_private_key(issued.key_pem, None))
        for certificate in above:
            self.context.add_extra_chain_cert(certificate)
        self.context.set_tlsext_servername_callback(lambda connection: self.names.append(connection.get_servername()))
        if client_authority is not None:
            store = self.context.get_cert_store()
            store.add_cert(SSL.X509.from_cryptography(client_authority.certificate))
            self.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *facts: bool(facts[-1]))

    def serverConnectionForTLS(self, _protocol):
        return SSL.Connection(self.context, None)


@implementer(IHandshakeListener)
class Server(Protocol):
    def __init__(self, creator):
        self.creator = creator
        self.verified = False
        self.received = b""
        self.client_chain = []
        self.lost = Deferred()

    def connectionMade(self):
        if self.creator is None:
            self.transport.write(GREETING)

    def handshakeCompleted(self):
        self.verified = True

    def dataReceived(self, chunk):
        if chunk == b"STARTTLS\r\n":
            self.transport.write(b"220 go ahead\r\n")
            self.transport.startTLS(self.creator)
            self.transport.write(GREETING)
            return
        self.received += chunk

    def connectionLost(self, reason):
        self.lost.callback([reason])


class ImplicitServer(Server):
    def connectionMade(self):
        self.transport.write(GREETING)


@implementer(IHandshakeListener)
class Client(Protocol):
    """Writes its secret at once, as eager as a client can be, and ends when it was greeted behind TLS."""

    def __init__(self, starttls_with=None):
        self.starttls_with = starttls_with
        self.verified = False
        self.received = b""
        self.lost = Deferred()

    def connectionMade(self):
        self.transport.write(b"STARTTLS\r\n" if self.starttls_with else LOGIN)

    def handshakeCompleted(self):
        self.verified = True

    def dataReceived(self, chunk):
        if self.starttls_with and not self.received and chunk == b"220 go ahead\r\n":
            self.transport.startTLS(self.starttls_with)
            self.transport.write(LOGIN)
            return
        self.received += chunk
        if self.received == GREETING:
            self.transport.loseConnection()

    def connectionLost(self, reason):
        self.lost.callback([reason])


@define
class Attempt:
    """What both sides know when a connection is over."""

    verified: bool
    client_received: bytes
    server_received: bytes
    reason: Failure
    server_verified: bool
    server_reason: Failure


async def attempt(way, creator, server_tls):
    """One connection from its beginning to its end, on loopback."""
    server = ImplicitServer(server_tls) if way == "implicit" else Server(server_tls)
    factory = Factory.forProtocol(lambda: server)
    factory.noisy = False
    served = TLSMemoryBIOFactory(server_tls, False, factory) if way == "implicit" else factory
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(served)
    try:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        if way == "implicit":
            client = await connectProtocol(wrapClientTLS(creator, endpoint), Client())
        else:
            client = await connectProtocol(endpoint, Client(starttls_with=creator))
        [reason] = await client.lost.addTimeout(10, reactor)
        [server_reason] = await server.lost.addTimeout(10, reactor)
    finally:
        await port.stopListening()
    return Attempt(client.verified, client.received, server.received, reason, server.verified, server_reason)


async def attempt_with(way, issued, *, host=HOST, settings=SETTINGS, client_tls=TLS, identity=None, **server):
    return await attempt(way, client_tls.options(host, settings, identity), ServerTLS(issued, **server))


def assert_accepted(result):
    assert result.verified, describe_tls_failure(result.reason)
    assert result.client_received == GREETING
    assert result.server_received == LOGIN


def assert_refused(result, words):
    """The handshake never completed, and not one octet of either side reached the other."""
    assert not result.verified
    assert result.client_received == b""
    assert result.server_received == b""
    assert words in describe_tls_failure(result.reason)


def dns(*names):
    return [x509.DNSName(name) for name in names]


def address(text):
    return x509.IPAddress(ipaddress.ip_address(text))
