"""
TLS as a client: the only place that builds it, for mail servers, token services and the destination service alike.

Theory of operation
-------------------

One OpenSSL context per trust, version range and client certificate, built once: reading the platform's roots takes
about 11 ms, a connection from a ready context 0.01 ms.  What differs from connection to connection is the verify
callback: it knows the peer we want, and the protocol to tell about a failure (weakly: that owns the connection).  A
connection that was given none falls back on the context's, which refuses everybody.

Every doubt about the peer's identity ends the handshake before one octet of ours was sent: a broken or untrusted
chain, a certificate without subjectAltName, a name entry that follows no rule (even beside a good one), a name or
address that does not match, and whatever exception shows up on the way.  Names follow RFC 9525: dNSName for names,
iPAddress for addresses, `*` only as the whole left-most label, never the common name.  Revocation is not checked.

What the library does by default was not enough to rely on, so chain and name are judged here, and `tests/test_tls.py`
holds a certificate for each doubt.
"""

from __future__ import annotations

import ipaddress
import weakref

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from service_identity.hazmat import (
    DNS_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    verify_service_identity,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from mailproxy.destination.model import ClientIdentity, TLSMode, TLSSettings
from mailproxy.errors import TLSFailed
from mailproxy.observe.text import printable

_VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

# Forward secrecy always (RFC 9325 §4.1); for TLS 1.2 only, TLS 1.3 has no others.
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:!aNULL:!aDSS"

_VERIFY = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT

_CONTEXTS = 64  # kept at a time; a certificate that rotates every hour must not fill the memory

# Source: X509_V_ERR_* of OpenSSL; the numbers are part of its API.
_VERIFY_WORDS = {
    2: "issuer's certificate is missing",
    7: "certificate has a bad signature",
    9: "certificate is not yet valid",
    10: "certificate has expired",
    18: "certificate is self-signed and not trusted",
    19: "certificate was issued by an authority that is not trusted",
    20: "certificate was issued by an authority that is not trusted or not known",
    21: "certificate's issuer is not trusted or not known, or was not sent along",
    22: "certificate chain is too long",
    23: "certificate was revoked",
    24: "certificate was issued by one that is no authority",
    25: "certificate chain is longer than an authority in it allows",
    26: "certificate is not meant for servers",
    28: "certificate is marked as rejected",
    66: "certificate's key is too weak",
    67: "key of an authority in the chain is too weak",
    68: "signature in the chain is too weak",
}

# Reasons as OpenSSL words them, "ssl/tls alert" and older "sslv3 alert" alike; the first row that fits counts.
_HANDSHAKE_WORDS = (
    ("wrong version number", "peer does not speak TLS"),
    ("packet length too long", "peer does not speak TLS"),
    ("record layer failure", "peer does not speak TLS"),
    ("http request", "peer does not speak TLS"),
    ("unsupported protocol", "no TLS version in common"),
    ("alert protocol version", "no TLS version in common"),
    ("no ciphers available", "no cipher in common"),
    ("no shared cipher", "no cipher in common"),
    ("certificate required", "peer wants a client certificate"),
    ("alert bad certificate", "peer refused our client certificate"),
    ("alert certificate", "peer refused our client certificate"),
    ("alert unknown ca", "peer refused our client certificate"),
    ("alert handshake failure", "peer refused our TLS parameters, or wants a client certificate"),
    ("unrecognized name", "peer does not know the host name"),
    ("dh key too small", "peer's key is too weak"),
    ("certificate verify failed", "certificate was refused"),
)


class CertificateRejected(TLSFailed):
    """
    The peer's certificate proves nothing, or another identity than the one we want.

    `verify_error` is OpenSSL's number and `depth` the place in the chain, 0 being the peer; `verify_error` is 0 when
    the chain is good and the name is not.
    """

    def __init__(self, text: str, *, verify_error: int = 0, depth: int = 0) -> None:
        super().__init__(text)
        self.verify_error = verify_error
        self.depth = depth


@frozen
class Trust:
    """
    The authorities we believe: the platform's, and those of extra PEM bundles beside them.

    The platform's are OpenSSL's default paths, `SSL_CERT_FILE` and `SSL_CERT_DIR` included.

    Raises:
        ValueError: nobody is trusted, or a bundle holds no certificate.
    """

    platform: bool = True
    bundles: tuple[bytes, ...] = ()
    _extra: tuple[x509.Certificate, ...] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not (self.platform or self.bundles):
            raise ValueError("neither the platform's certificate authorities nor others are trusted")
        extra = tuple(certificate for bundle in self.bundles for certificate in _certificates(bundle))
        object.__setattr__(self, "_extra", extra)

    def load_into(self, context: SSL.Context) -> None:
        """The context believes these authorities."""
        if self.platform:
            context.set_default_verify_paths()
        store = context.get_cert_store()
        assert store is not None
        for certificate in self._extra:
            store.add_cert(crypto.X509.from_cryptography(certificate))


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
        wanted = _service_identity(host)
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
    """Hands out connection creators for any host, from contexts that are built once."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._contexts: dict[tuple[str, str | None, ClientIdentity | None], SSL.Context] = {}

    def options(self, host: str, settings: TLSSettings, identity: ClientIdentity | None = None) -> StrictClientTLS:
        """
        What `startTLS` and `wrapClientTLS` want to have.

        Raises:
            ValueError: the host, a TLS version or the client certificate cannot be used; the text holds no secret.
        """
        key = (settings.minimum, settings.maximum, identity)
        context = self._contexts.get(key)
        if context is None:
            context = _build_context(self._trust, settings, identity)
            if len(self._contexts) >= _CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
            self._contexts[key] = context
        return StrictClientTLS(context, host, check_name=settings.check_name)


@implementer(IPolicyForHTTPS)
class HTTPSPolicy:
    """The same strictness for `twisted.web.client.Agent`, and so for treq."""

    def __init__(self, tls: ClientTLS, identity: ClientIdentity | None = None) -> None:
        self._tls = tls
        self._identity = identity
        self._settings = TLSSettings(TLSMode.IMPLICIT)

    def creatorForNetloc(self, hostname: bytes, port: int) -> StrictClientTLS:  # noqa: ARG002 - the interface's
        """The creator for one network location; the port does not matter."""
        return self._tls.options(hostname.decode("ascii"), self._settings, self._identity)


def describe_tls_failure(failure: Failure) -> str:
    """One sentence for the operator about why a connection that wanted TLS came to nothing."""
    error = failure.value
    if isinstance(error, CertificateRejected):
        return str(error)
    if isinstance(error, SSL.Error):
        return _describe_openssl_error(error)
    if isinstance(error, (ResponseFailed, RequestTransmissionFailed)) and error.reasons:
        return describe_tls_failure(error.reasons[0])
    return f"TLS failed ({type(error).__name__})"


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
        problem = None if self.wanted is None else _name_problem(certificate, self.wanted)
        return None if problem is None else CertificateRejected(problem)


def _refuse(*_: object) -> bool:
    """The context's own answer: a connection that wants nobody in particular gets nobody."""
    return False


def _chain_error(number: int, depth: int) -> CertificateRejected:
    words = _VERIFY_WORDS.get(number, "certificate was refused")
    return CertificateRejected(f"{words} (verify error {number} at depth {depth})", verify_error=number, depth=depth)


def _name_problem(certificate: crypto.X509, wanted: DNS_ID | IPAddress_ID) -> str | None:
    """Why the certificate does not prove to be `wanted`'s; None when it does."""
    try:
        patterns = _patterns(certificate.to_cryptography())
        if not patterns:
            return "certificate has no usable name: its subjectAltName names no host"
        try:
            verify_service_identity(patterns, [wanted], [])
        except VerificationError:
            return f"certificate is for another host: {_words(patterns)}, not {_host(wanted)}"
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here, nothing was proved
        return f"certificate has no usable name: {printable(str(error))}"
    return None


def _patterns(certificate: x509.Certificate) -> list[CertificatePattern]:
    """
    Every name of a host that the certificate holds; other kinds (URI, e-mail) say nothing about a host.

    Raises:
        Exception: of several kinds, when one entry is malformed, whether or not it is the one that matters.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    patterns: list[CertificatePattern] = [
        DNSPattern.from_bytes(name.encode()) for name in names.get_values_for_type(x509.DNSName)
    ]
    for address in names.get_values_for_type(x509.IPAddress):
        if not isinstance(address, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
            raise ValueError(f"{address} is no address")  # noqa: TRY004 - the certificate's fault, not a caller's
        patterns.append(IPAddressPattern(address))
    return patterns


def _host(wanted: DNS_ID | IPAddress_ID) -> str:
    return wanted.hostname.decode("ascii") if isinstance(wanted, DNS_ID) else str(wanted.ip)


def _words(patterns: list[CertificatePattern]) -> str:
    """The names in a certificate, for the operator."""
    names = (p.pattern.decode() if isinstance(p, DNSPattern) else str(getattr(p, "pattern", "?")) for p in patterns)
    return printable(", ".join(names))


def _describe_openssl_error(error: SSL.Error) -> str:
    queue = error.args[0] if error.args and isinstance(error.args[0], (list, tuple)) else ()
    reason = "; ".join(printable(str(entry[-1])) for entry in queue) or type(error).__name__
    for sign, words in _HANDSHAKE_WORDS:
        if sign in reason:
            return f"{words} ({reason})"
    return f"TLS handshake failed ({reason})"


def _service_identity(host: str) -> DNS_ID | IPAddress_ID:
    """What a certificate has to prove, from a host as people write it (`mail.example.com.`, `[::1]`)."""
    host = host.removesuffix(".").removeprefix("[").removesuffix("]")
    try:
        return IPAddress_ID(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return DNS_ID(host)
    except Exception as error:  # idna raises kinds of its own
        raise ValueError(f"{printable(host)!r} is no host name") from error


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ValueError("no certificate in PEM form, or a broken one") from error


def _build_context(trust: Trust, settings: TLSSettings, identity: ClientIdentity | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(_version(settings.minimum))
    if settings.maximum is not None:
        context.set_max_proto_version(_version(settings.maximum))
    # No resumption: a resumed session would show us no certificate to judge.
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(_CIPHERS)
    context.set_verify(_VERIFY, _refuse)
    trust.load_into(context)
    if identity is not None:
        _add_identity(context, identity)
    return context


def _version(name: str) -> int:
    try:
        return _VERSIONS[name]
    except KeyError:
        raise ValueError(f"TLS version {printable(name)!r} is not one of {', '.join(_VERSIONS)}") from None


def _add_identity(context: SSL.Context, identity: ClientIdentity) -> None:
    """The peer is shown this certificate and its chain when it asks."""
    leaf, *chain = _certificates(identity.certificate)
    try:
        key = load_pem_private_key(identity.key, password=None)
        assert isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey))
        context.use_certificate(leaf)
        context.use_privatekey(key)
        context.check_privatekey()
    except Exception:  # noqa: BLE001 - cryptography, pyOpenSSL: each has its own kinds
        # The cause is dropped on purpose: nobody promises that it does not quote the key.
        raise ValueError("client certificate: the key cannot be read, or does not fit the certificate") from None
    for certificate in chain:
        context.add_extra_chain_cert(certificate)
