"""
TLS as a client, for mail servers, token services and the destination service alike.

Theory of operation
-------------------

One OpenSSL context per trust, version range and client certificate, built once: reading the platform's roots takes
about 11 ms, a connection from a ready context 0.01 ms.  What differs from connection to connection is the verify
callback: it knows the peer we want, and the protocol to tell about a failure (weakly: that owns the connection).  A
connection that was given none falls back on the context's, which refuses everybody.

Every doubt about the peer's identity ends the handshake before one octet of ours was sent: a broken or untrusted
chain, a certificate without subjectAltName, a name entry that follows no rule (even beside a good one), a name or
address that does not match, and whatever exception shows up on the way.  Revocation is not checked.

What the library does by default was not enough to rely on, so chain and name are judged here, and
`tests/tls/test_client.py` holds a certificate for each doubt.
"""

from __future__ import annotations

import weakref

from attrs import frozen
from OpenSSL import SSL, crypto
from service_identity.hazmat import DNS_ID, IPAddress_ID
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.destination.model import ClientIdentity, TLSSettings
from mailproxy.tls.contexts import new_context
from mailproxy.tls.names import name_problem, service_identity
from mailproxy.tls.pem import load_certificates, load_key
from mailproxy.tls.trust import Trust, TrustSource
from mailproxy.tls.words import CertificateRejected, chain_problem

_VERIFY = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT

_CONTEXTS = 64  # kept at a time; a certificate that rotates every hour must not fill the memory


@implementer(IOpenSSLClientConnectionCreator)
class StrictClientTLS:
    """
    Makes client connections to one host; every doubt about the peer's identity ends the handshake.

    Args:
        context: from `ClientTLS`; it refuses whom nobody asked for.
        host: a name or an IP literal, as configured.
        check_name: False skips the name, never the chain.

    Raises:
        ValueError: `host` can be no host.
    """

    def __init__(self, context: SSL.Context, host: str, *, check_name: bool = True) -> None:
        self._context = context
        wanted = service_identity(host)
        self._server_name = wanted.hostname if isinstance(wanted, DNS_ID) else None
        self._wanted = wanted if check_name else None

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803 - Twisted's name
        """A connection that names the host to the peer (RFC 6066 §3: names, not addresses) and then judges it."""
        connection = SSL.Connection(self._context, None)
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name)
        connection.set_verify(_VERIFY, _PeerCheck(self._wanted, weakref.ref(tlsProtocol)).verify)
        return connection


class ClientTLS:
    """
    Hands out connection creators for any host, from contexts that are built once for each state of the trust.
    """

    def __init__(self, trust: TrustSource) -> None:
        self._source = trust
        self._trust = trust.current()
        self._contexts: dict[tuple[str, str | None, ClientIdentity | None], SSL.Context] = {}

    def options(self, host: str, settings: TLSSettings, identity: ClientIdentity | None = None) -> StrictClientTLS:
        """
        What `startTLS` and `wrapClientTLS` want to have, for one connection: the next asks again.

        Raises:
            ValueError: the host, a TLS version or the client certificate cannot be used; the text holds no secret.
        """
        self._follow_trust()
        key = (settings.minimum, settings.maximum, identity)
        context = self._contexts.get(key)
        if context is None:
            context = _build_context(self._trust, settings, identity)
            if len(self._contexts) >= _CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
            self._contexts[key] = context
        return StrictClientTLS(context, host, check_name=settings.check_name)

    def _follow_trust(self) -> None:
        trust = self._source.current()
        if trust is not self._trust:
            self._trust = trust
            self._contexts.clear()


@frozen
class _PeerCheck:
    """Whom one connection wants, and the protocol that is told when it is somebody else."""

    wanted: DNS_ID | IPAddress_ID | None
    protocol: weakref.ref[TLSMemoryBIOProtocol]

    def verify(self, _connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, good: int) -> bool:
        """
        OpenSSL's question: whether the handshake may go on; if not, the protocol was told why.

        It is asked for each certificate of the chain, from the root to the peer's own at depth 0, and for each problem.
        """
        error = _chain_error(number, depth) if not good else self._name_error(certificate) if depth == 0 else None
        protocol = self.protocol()
        if error is not None and protocol is not None:
            protocol.failVerification(Failure(error))
        return error is None

    def _name_error(self, certificate: crypto.X509) -> CertificateRejected | None:
        problem = None if self.wanted is None else name_problem(certificate, self.wanted)
        return None if problem is None else CertificateRejected(problem)


def _chain_error(number: int, depth: int) -> CertificateRejected:
    return CertificateRejected(chain_problem(number, depth, "servers"), verify_error=number, depth=depth)


def _refuse(*_: object) -> bool:
    """The context's own answer: a connection that wants nobody in particular gets nobody."""
    return False


def _build_context(trust: Trust, settings: TLSSettings, identity: ClientIdentity | None) -> SSL.Context:
    context = new_context(SSL.TLS_CLIENT_METHOD, settings.minimum, settings.maximum)
    context.set_verify(_VERIFY, _refuse)
    trust.load_into(context)
    if identity is not None:
        _add_identity(context, identity)
    return context


def _add_identity(context: SSL.Context, identity: ClientIdentity) -> None:
    """The peer is shown this certificate and its chain when it asks."""
    leaf, *chain = load_certificates(identity.certificate)
    try:
        context.use_certificate(leaf)
        context.use_privatekey(load_key(identity.key))
        context.check_privatekey()
    except Exception:  # noqa: BLE001 - cryptography, pyOpenSSL: each has its own kinds
        # The cause is dropped on purpose: nobody promises that it does not quote the key.
        raise ValueError("client certificate: the key cannot be read, or does not fit the certificate") from None
    for certificate in chain:
        context.add_extra_chain_cert(certificate)
