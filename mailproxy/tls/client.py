"""
TLS as a client, for mail servers, token services and the destination service alike.

Theory of operation
-------------------

One OpenSSL context per trust, version range and client certificate, built once: reading the platform's roots takes
about 11 ms, a connection from a ready context 0.01 ms.  What differs from connection to connection is its check: it
knows the peer we want, and the protocol to tell about a failure (weakly: that owns the connection).  A connection
without one gets nobody.  It does not matter whether OpenSSL works in memory, below Twisted's layer, or on the socket.

Every doubt about the peer's identity ends the handshake before one octet of ours was sent: a broken or untrusted
chain, a certificate without subjectAltName, a name entry that follows no rule (even beside a good one), a name or
address that does not match, and whatever exception shows up on the way.  Revocation is not checked.

What the library does by default was not enough to rely on, so chain and name are judged here, and
`tests/tls/test_client.py` holds a certificate for each doubt.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Callable
from typing import Protocol

from attrs import define
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
from mailproxy.tls.resumption import ResumableConnection, Resumption
from mailproxy.tls.stepped import return_after_each_record
from mailproxy.tls.trust import Trust, TrustSource
from mailproxy.tls.words import CertificateRejected, chain_problem

_VERIFY = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT

_CONTEXTS = 64  # kept at a time; a certificate that rotates every hour must not fill the memory


Witness = Callable[[crypto.X509, int], None]
"""Is shown a certificate of the peer, and its place in the chain, 0 being the peer's own, before it is judged."""


class Judge(Protocol):
    """Hears why a peer was refused."""

    def failVerification(self, reason: Failure) -> None:
        """The peer's certificate proves nothing, for this reason."""


@implementer(IOpenSSLClientConnectionCreator)
class StrictClientTLS:
    """
    Makes client connections to one host; every doubt about the peer's identity ends the handshake.

    Args:
        context: from `ClientTLS`; it refuses whom nobody asked for.
        host: a name or an IP literal, as configured.
        check_name: False skips the name, never the chain.
        resumption: sessions for the connections; None where each shows its certificate.

    Raises:
        ValueError: `host` can be no host.
    """

    def __init__(
        self, context: SSL.Context, host: str, *, check_name: bool = True, resumption: Resumption | None = None
    ) -> None:
        self._context = context
        wanted = service_identity(host)
        self._server_name = wanted.hostname if isinstance(wanted, DNS_ID) else None
        self._wanted = wanted if check_name else None
        self._resumption = resumption
        self._judged_as = (wanted, check_name)
        self.witness: Witness | None = None
        """Sees every certificate that is judged."""

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A connection that names the host to the peer (RFC 6066 §3: names, not addresses) and then judges it."""
        return self._connection(None, tlsProtocol)

    def on_socket(self, connection: socket.socket, judge: Judge) -> SSL.Connection:
        """The same for OpenSSL on the socket itself; `judge` hears why a peer was refused."""
        made = self._connection(connection, judge)
        made.set_connect_state()
        return_after_each_record(made)
        return made

    def _connection(self, connection: socket.socket | None, judge: Judge) -> SSL.Connection:
        made = _Connection(self._context, connection, _PeerCheck(self._wanted, weakref.ref(judge), self.witness))
        if self._server_name is not None:
            made.set_tlsext_host_name(self._server_name)
        if self._resumption is not None:
            made.resume(self._resumption, self._judged_as)
        return made


class ClientTLS:
    """
    Hands out connection creators for any host, from contexts that are built once for each state of the trust.
    """

    def __init__(self, trust: TrustSource) -> None:
        self._source = trust
        self._trust = trust.current()
        self._contexts: dict[tuple[str, str | None, ClientIdentity | None], SSL.Context] = {}

    def options(
        self,
        host: str,
        settings: TLSSettings,
        identity: ClientIdentity | None = None,
        resumption: Resumption | None = None,
    ) -> StrictClientTLS:
        """
        What `startTLS` and `wrapClientTLS` want to have, for one connection: the next asks again.

        Args:
            host: whose connection it shall be.
            settings: how it is entered and judged.
            identity: what we show.
            resumption: the sessions of whom the connection is for.

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
        return StrictClientTLS(context, host, check_name=settings.check_name, resumption=resumption)

    def trust(self) -> Trust:
        """Whom a connection believes that is begun now."""
        self._follow_trust()
        return self._trust

    def _follow_trust(self) -> None:
        trust = self._source.current()
        if trust is not self._trust:
            self._trust = trust
            self._contexts.clear()


@define(eq=False)
class _PeerCheck:
    """Whom one connection wants, and the protocol that is told when it is somebody else."""

    wanted: DNS_ID | IPAddress_ID | None
    protocol: weakref.ref[Judge]
    witness: Witness | None = None
    passed: bool = False
    """The peer has shown what we want to see."""

    def has_passed(self) -> bool:
        """Whether it has."""
        return self.passed

    def verify(self, _connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, good: int) -> bool:
        """
        OpenSSL's question: whether the handshake may go on; if not, the protocol was told why.

        It is asked for each certificate of the chain, from the root to the peer's own at depth 0, and for each problem.
        """
        if self.witness is not None:
            self.witness(certificate, depth)
        error = _chain_error(number, depth) if not good else self._name_error(certificate) if depth == 0 else None
        protocol = self.protocol()
        if error is not None and protocol is not None:
            protocol.failVerification(Failure(error))
        self.passed = error is None and (self.passed or depth == 0)
        return error is None

    def _name_error(self, certificate: crypto.X509) -> CertificateRejected | None:
        problem = None if self.wanted is None else name_problem(certificate, self.wanted)
        return None if problem is None else CertificateRejected(problem)


def _chain_error(number: int, depth: int) -> CertificateRejected:
    return CertificateRejected(chain_problem(number, depth, "servers"), verify_error=number, depth=depth)


class _Connection(ResumableConnection):
    """A connection that knows whom it wants."""

    def __init__(self, context: SSL.Context, connection: socket.socket | None, check: _PeerCheck) -> None:
        super().__init__(context, connection, check.has_passed)
        self.check = check


def _judge(connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, good: int) -> bool:
    """The one callback for all connections of a context: one that wants nobody in particular gets nobody."""
    return isinstance(connection, _Connection) and connection.check.verify(connection, certificate, number, depth, good)


def _build_context(trust: Trust, settings: TLSSettings, identity: ClientIdentity | None) -> SSL.Context:
    context = new_context(SSL.TLS_CLIENT_METHOD, settings.minimum, settings.maximum)
    context.set_verify(_VERIFY, _judge)
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
