"""Handshakes in memory: an OpenSSL client without any doubts against what a listener has."""

from __future__ import annotations

import contextlib

from attrs import define
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.config import CertificateConfig, ListenerTLSConfig
from mailproxy.tls import ListenerTLS

MOST_TURNS = 10


def write_certificate(folder, issued, stem="mail"):
    """The files of a certificate."""
    folder.mkdir(exist_ok=True)
    return CertificateConfig(*issued.write(folder, stem))


def listener_tls(*certificates, seconds=lambda: 0.0, where="mailproxy.toml: listener_tls.inside.", **settings):
    return ListenerTLS(
        ListenerTLSConfig(**{"mode": "implicit", "certificates": certificates} | settings), where, seconds
    )


@implementer(IOpenSSLClientConnectionCreator)
@define
class AnyClient:
    """Takes every certificate; shows its own when it is asked, and names whom it wants as octets."""

    name: bytes | None = None
    shows: object = None
    only: int | None = None
    ciphers: bytes | None = None

    def clientConnectionForTLS(self, _protocol):
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if self.only is not None:
            context.set_min_proto_version(self.only)
            context.set_max_proto_version(self.only)
            if self.only < SSL.TLS1_2_VERSION:
                context.set_cipher_list(b"ALL:@SECLEVEL=0")
        if self.ciphers is not None:
            context.set_cipher_list(self.ciphers)
        if self.shows is not None:
            leaf, *chain = x509.load_pem_x509_certificates(self.shows.chain_pem)
            context.use_certificate(leaf)
            context.use_privatekey(load_pem_private_key(self.shows.key_pem, None))
            for certificate in chain:
                context.add_extra_chain_cert(certificate)
        connection = SSL.Connection(context, None)
        if self.name is not None:
            connection.set_tlsext_host_name(self.name)
        return connection


@define
class Handshake:
    """Both ends after it, and what ended it."""

    client: SSL.Connection
    server: SSL.Connection
    client_failure: Failure | None = None
    server_failure: Failure | None = None

    @property
    def good(self):
        return self.client_failure is None and self.server_failure is None

    @property
    def shown(self):
        """The certificate that the client was shown, as PEM."""
        return self.client.get_peer_certificate().to_cryptography().public_bytes(Encoding.PEM)


def shake_hands(tls, client=None):
    """A whole handshake."""
    connection = (client or AnyClient()).clientConnectionForTLS(None)
    connection.set_connect_state()
    server = tls.serverConnectionForTLS(None)
    server.set_accept_state()
    return go_on(connection, server)


def say_hello(client, server):
    """The first octet of the handshake reaches the server, which waits for more."""
    assert _turn(client, server, most=1) is None
    assert _turn(server, client) is None


def go_on(client, server):
    """Both ends are content, or one is not."""
    result = Handshake(client, server)
    for _ in range(MOST_TURNS):
        result.client_failure = result.client_failure or _turn(client, server)
        result.server_failure = result.server_failure or _turn(server, client)
    return result


def _turn(one, other, most=1 << 16):
    """`one` goes as far as it can; what it wants to say reaches `other`."""
    try:
        one.do_handshake()
        one.recv(1)
    except SSL.WantReadError:
        failure = None
    except SSL.Error:
        failure = Failure()
    say(one, other, most)
    return failure


def say(one, other, most=1 << 16):
    """What `one` has to say reaches `other`."""
    with contextlib.suppress(SSL.WantReadError):
        other.bio_write(one.bio_read(most))
