"""Whom we talk TLS to: a certificate for every doubt, over real connections on loopback, implicit TLS and STARTTLS."""

import contextlib
import datetime as dt
import ipaddress

import pytest
import pytest_twisted
import treq
from attrs import define
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from mailproxy import tls
from mailproxy.destination.model import ClientIdentity, TLSMode, TLSSettings
from mailproxy.errors import TLSFailed
from mailproxy.sandbox import pki
from mailproxy.sandbox.pki import Authority
from mailproxy.tls import CertificateRejected, ClientTLS, HTTPSPolicy, Trust, describe_tls_failure

HOST = "mail.example.com"
SETTINGS = TLSSettings(TLSMode.IMPLICIT)
GREETING = b"220 behind TLS\r\n"
LOGIN = b"LOGIN user secret\r\n"
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)

AUTHORITY = Authority.create()
OTHER_AUTHORITY = Authority.create("somebody else's CA")
TLS = ClientTLS(Trust(platform=False, bundles=(AUTHORITY.certificate_pem,)))

both_ways = pytest.mark.parametrize("way", ["implicit", "starttls"])


# --- a server and a client that say as little as possible ---


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """The server's side: what it presents, what it asks for, and what it learns."""

    def __init__(self, issued, *, only=None, ciphers=None, client_authority=None):
        self.names = []
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
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


class Server(Protocol):
    def __init__(self, creator):
        self.creator = creator
        self.received = b""
        self.client_chain = []
        self.lost = Deferred()

    def connectionMade(self):
        if self.creator is None:
            self.transport.write(GREETING)

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
        await server.lost.addTimeout(10, reactor)
    finally:
        await port.stopListening()
    return Attempt(client.verified, client.received, server.received, reason)


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


# --- names ---


@both_ways
@pytest.mark.parametrize(
    ("names", "host"),
    [
        pytest.param([HOST], HOST, id="the name itself"),
        pytest.param(["Mail.Example.COM"], HOST, id="case does not matter"),
        pytest.param([HOST], "MAIL.example.com", id="nor in what was configured"),
        pytest.param([HOST], f"{HOST}.", id="a trailing dot is no part of the name"),
        pytest.param(["other.example.com", HOST], HOST, id="one of several"),
        pytest.param(["*.example.com"], HOST, id="a wildcard for the left-most label"),
        pytest.param(["xn--bcher-kva.example"], "b\u00fccher.example", id="an international name"),
        pytest.param(["192.0.2.1"], "192.0.2.1", id="an IPv4 address"),
        pytest.param(["2001:db8::1"], "2001:DB8:0::1", id="an IPv6 address"),
        pytest.param(["2001:db8::1"], "[2001:db8::1]", id="an IPv6 address in brackets"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_certificate_for_the_host_is_accepted(way, names, host):
    assert_accepted(await attempt_with(way, AUTHORITY.issue(*names), host=host))


@pytest_twisted.ensureDeferred
async def test_entries_that_name_no_host_do_no_harm_beside_one_that_does():
    sans = [
        x509.RFC822Name("postmaster@example.com"),
        x509.UniformResourceIdentifier("https://mail.example.com:8443/"),
        x509.UniformResourceIdentifier("urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        *dns(HOST),
    ]
    assert_accepted(await attempt_with("implicit", AUTHORITY.issue(sans=sans)))


ANOTHER_HOST = "certificate is for another host: "
NO_USABLE_NAME = "certificate has no usable name: "


@both_ways
@pytest.mark.parametrize(
    ("sans", "host", "words"),
    [
        pytest.param(dns("www.example.com"), HOST, ANOTHER_HOST + "www.example.com", id="wrong name"),
        pytest.param(dns("example.com"), HOST, ANOTHER_HOST, id="its parent"),
        pytest.param(dns(f"a.{HOST}"), HOST, ANOTHER_HOST, id="its child"),
        pytest.param(dns(f"{HOST}.evil.example"), HOST, ANOTHER_HOST, id="it as a prefix"),
        pytest.param((), HOST, NO_USABLE_NAME, id="no subjectAltName, though the common name fits"),
        pytest.param([x509.RFC822Name(f"a@{HOST}")], HOST, NO_USABLE_NAME, id="e-mail only"),
        pytest.param(
            [x509.UniformResourceIdentifier(f"https://{HOST}")], HOST, NO_USABLE_NAME, id="URI only, though it fits"
        ),
        pytest.param(dns("*"), HOST, NO_USABLE_NAME, id="wildcard for everything"),
        pytest.param(dns("*.com"), HOST, NO_USABLE_NAME, id="wildcard for a top-level domain"),
        pytest.param(dns("*.com"), "example.com", NO_USABLE_NAME, id="the same, where it would fit"),
        pytest.param(dns("*.*.com"), HOST, NO_USABLE_NAME, id="two wildcards"),
        pytest.param(dns("*.*.example.com"), "a.b.example.com", NO_USABLE_NAME, id="two wildcards, deeper"),
        pytest.param(dns("mail.*.com"), HOST, NO_USABLE_NAME, id="wildcard in the middle"),
        pytest.param(dns("*.example.com"), "example.com", ANOTHER_HOST, id="wildcard for the domain itself"),
        pytest.param(dns("*.example.com"), f"a.{HOST}", ANOTHER_HOST, id="wildcard for two labels"),
        pytest.param(dns("m*.example.com"), HOST, ANOTHER_HOST, id="wildcard for a part of a label"),
        pytest.param(dns("*.example"), "xn--bcher-kva.example", NO_USABLE_NAME, id="wildcard with too few labels"),
        pytest.param(
            dns("*.b.example"), "xn--bcher-kva.b.example", ANOTHER_HOST, id="wildcard for an international label"
        ),
        pytest.param(dns("192.0.2.1"), "192.0.2.1", NO_USABLE_NAME, id="address as a name"),
        pytest.param(dns("192.0.2.1"), HOST, NO_USABLE_NAME, id="address as a name, for another"),
        pytest.param([address("192.0.2.2")], "192.0.2.1", ANOTHER_HOST + "192.0.2.2", id="wrong address"),
        pytest.param([address("192.0.2.1")], HOST, ANOTHER_HOST, id="address for a name"),
        pytest.param(dns(HOST), "192.0.2.1", ANOTHER_HOST, id="name for an address"),
        pytest.param([address("::ffff:192.0.2.1")], "192.0.2.1", ANOTHER_HOST, id="address mapped into IPv6"),
        pytest.param(
            [x509.IPAddress(ipaddress.ip_network("192.0.2.0/24"))], "192.0.2.1", NO_USABLE_NAME, id="whole network"
        ),
        pytest.param(dns(HOST, "*"), HOST, NO_USABLE_NAME, id="good name beside a wildcard for everything"),
        pytest.param(dns("*.com", HOST), HOST, NO_USABLE_NAME, id="good name behind a wildcard that is too wide"),
        pytest.param(dns(HOST, "10.0.0.1"), HOST, NO_USABLE_NAME, id="good name beside an address as a name"),
        pytest.param(dns(HOST, ""), HOST, NO_USABLE_NAME, id="good name beside an empty one"),
        pytest.param(dns(HOST, f"a\0.{HOST}"), HOST, NO_USABLE_NAME, id="good name beside one with NUL"),
        pytest.param(dns(f"{HOST}\0.evil.example"), HOST, NO_USABLE_NAME, id="name cut by NUL"),
        pytest.param(
            [*dns(HOST), x509.IPAddress(ipaddress.ip_network("0.0.0.0/0"))],
            HOST,
            NO_USABLE_NAME,
            id="good name beside a network",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_certificate_that_does_not_prove_the_host_is_refused(way, sans, host, words):
    issued = AUTHORITY.issue(sans=sans, common_name=HOST)
    assert_refused(await attempt_with(way, issued, host=host), words)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(b"", "verify error", id="nothing"),
        pytest.param(b"\x30\x00", NO_USABLE_NAME, id="an empty list"),
        pytest.param(b"\x30\x07\x82\x10mail", "verify error", id="an entry longer than the list"),
        pytest.param(
            b"\x30\x19\x82\x10mail.example.com\x87\x05\1\2\3\4\5", NO_USABLE_NAME, id="good, and 5 octets of address"
        ),
        pytest.param(
            b"\x30\x15\x82\x10mail.example.com\x82\x01\xff", NO_USABLE_NAME, id="good, and a name beyond ASCII"
        ),
    ],
)
@both_ways
@pytest_twisted.ensureDeferred
async def test_a_name_extension_that_cannot_be_read_is_refused(way, value, words):
    assert_refused(await attempt_with(way, issue_with_raw_names(value)), words)


def issue_with_raw_names(value):
    """A certificate whose subjectAltName is exactly these octets."""
    key = pki.ec.generate_private_key(pki.ec.SECP256R1())
    builder = pki._begin(pki._name(HOST), AUTHORITY.certificate.subject, key, None, None)
    names = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, value)
    certificate = AUTHORITY._sign(pki._as_leaf(builder.add_extension(names, False), client=False))
    pem = certificate.public_bytes(pki.Encoding.PEM)
    return pki.Issued(pem, pki._key_pem(key), pem)


@both_ways
@pytest_twisted.ensureDeferred
async def test_whatever_the_name_check_raises_ends_the_handshake(way, monkeypatch):
    def fails(*_):
        raise RuntimeError("a library has changed its mind")

    monkeypatch.setattr(tls, "verify_service_identity", fails)
    assert_refused(await attempt_with(way, AUTHORITY.issue(HOST)), NO_USABLE_NAME)


def test_names_in_the_operators_sentence_are_escaped_and_bounded():
    issued = AUTHORITY.issue(sans=dns("x\x1b[31m.example", *(f"host{n}.example" for n in range(99))))
    certificate = SSL.X509.from_cryptography(x509.load_pem_x509_certificate(issued.certificate_pem))
    sentence = tls._name_problem(certificate, tls._service_identity(HOST))
    assert r"x\x1b[31m.example" in sentence
    assert len(sentence) < 400


@pytest.mark.parametrize("host", ["", ".", "a b", "mail example", "1234", "a\r\nb", "b\u00fc\u0000cher"])
def test_what_can_be_no_host_is_an_error_before_any_connection(host):
    with pytest.raises(ValueError, match="is no host name"):
        TLS.options(host, SETTINGS)


# --- the chain ---


@both_ways
@pytest.mark.parametrize(
    ("issued", "words", "number", "depth"),
    [
        pytest.param(
            AUTHORITY.issue(HOST, not_before=NOW - 9 * DAY, not_after=NOW - DAY), "has expired", 10, 0, id="expired"
        ),
        pytest.param(AUTHORITY.issue(HOST, not_before=NOW + DAY), "not yet valid", 9, 0, id="not yet valid"),
        pytest.param(OTHER_AUTHORITY.issue(HOST), "not trusted or not known", 20, 0, id="unknown authority"),
        pytest.param(AUTHORITY.issue(HOST, client=True), "not meant for servers", 26, 0, id="for clients only"),
        pytest.param(
            OTHER_AUTHORITY.subordinate().issue(HOST), "not trusted or not known", 20, 1, id="unknown, with a chain"
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_chain_that_is_not_good_is_refused_with_openssls_number(way, issued, words, number, depth):
    result = await attempt_with(way, issued)
    assert_refused(result, f"{words} (verify error {number} at depth {depth})")
    assert isinstance(result.reason.value, CertificateRejected)
    assert isinstance(result.reason.value, TLSFailed)
    assert (result.reason.value.verify_error, result.reason.value.depth) == (number, depth)


def own_certificate(authority):
    """The authority's own certificate, as if it were a server's."""
    return pki.Issued(authority.certificate_pem, pki._key_pem(authority.key), authority.certificate_pem)


@pytest_twisted.ensureDeferred
async def test_a_self_signed_certificate_is_refused():
    result = await attempt_with("implicit", own_certificate(Authority.create(HOST)))
    assert_refused(result, "self-signed and not trusted (verify error 18 at depth 0)")


@pytest_twisted.ensureDeferred
async def test_a_chain_without_its_intermediate_is_refused_and_accepted_with_it():
    issued = AUTHORITY.subordinate().issue(HOST)
    assert_accepted(await attempt_with("implicit", issued))
    alone = pki.Issued(issued.certificate_pem, issued.key_pem, issued.certificate_pem)
    assert_refused(await attempt_with("implicit", alone), "not trusted or not known")


@pytest_twisted.ensureDeferred
async def test_an_expired_authority_is_refused_though_it_is_trusted():
    old = Authority.create(not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    client_tls = ClientTLS(Trust(platform=False, bundles=(old.certificate_pem,)))
    result = await attempt_with("implicit", old.issue(HOST), client_tls=client_tls)
    assert_refused(result, "has expired (verify error 10 at depth 1)")


@pytest_twisted.ensureDeferred
async def test_a_servers_certificate_cannot_vouch_for_another():
    server = AUTHORITY.issue("www.example.com")
    certificate = x509.load_pem_x509_certificate(server.certificate_pem)
    forger = Authority(certificate, load_pem_private_key(server.key_pem, None), server.chain_pem)
    result = await attempt_with("implicit", forger.issue(HOST))
    assert_refused(result, "at depth 1)")


@both_ways
@pytest_twisted.ensureDeferred
async def test_without_the_name_check_the_chain_still_counts(way):
    settings = TLSSettings(TLSMode.IMPLICIT, check_name=False)
    assert_accepted(await attempt_with(way, AUTHORITY.issue("www.example.com"), settings=settings))
    assert_accepted(await attempt_with(way, AUTHORITY.issue(sans=()), settings=settings))
    assert_refused(await attempt_with(way, OTHER_AUTHORITY.issue(HOST), settings=settings), "verify error 20")


@pytest_twisted.ensureDeferred
async def test_every_connection_is_judged_anew():
    creator = TLS.options(HOST, SETTINGS)
    assert_accepted(await attempt("implicit", creator, ServerTLS(AUTHORITY.issue(HOST))))
    assert_refused(await attempt("implicit", creator, ServerTLS(AUTHORITY.issue("www.example.com"))), ANOTHER_HOST)
    assert_accepted(await attempt("starttls", creator, ServerTLS(AUTHORITY.issue(HOST))))


@pytest_twisted.ensureDeferred
async def test_a_connection_that_nobody_prepared_is_refused():
    context = TLS.options(HOST, SETTINGS)._context

    @implementer(IOpenSSLClientConnectionCreator)
    class Unprepared:
        def clientConnectionForTLS(self, _protocol):
            return SSL.Connection(context, None)

    result = await attempt("implicit", Unprepared(), ServerTLS(AUTHORITY.issue(HOST)))
    assert_refused(result, "certificate was refused")


def test_a_problem_whose_protocol_is_gone_is_still_a_refusal():
    check = tls._PeerCheck(tls._service_identity(HOST), lambda: None)
    assert check.verify(None, None, 20, 1, 0) is False


# --- trust ---


@pytest_twisted.ensureDeferred
async def test_extra_authorities_are_trusted_beside_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(OTHER_AUTHORITY.write(tmp_path / "platform.pem")))
    extra = (AUTHORITY.certificate_pem,)
    both = ClientTLS(Trust(platform=True, bundles=extra))
    assert_accepted(await attempt_with("implicit", AUTHORITY.issue(HOST), client_tls=both))
    assert_accepted(await attempt_with("implicit", OTHER_AUTHORITY.issue(HOST), client_tls=both))
    platform = ClientTLS(Trust())
    assert_accepted(await attempt_with("implicit", OTHER_AUTHORITY.issue(HOST), client_tls=platform))
    assert_refused(await attempt_with("implicit", AUTHORITY.issue(HOST), client_tls=platform), "verify error 20")
    own = ClientTLS(Trust(platform=False, bundles=extra))
    assert_refused(await attempt_with("implicit", OTHER_AUTHORITY.issue(HOST), client_tls=own), "verify error 20")


@pytest_twisted.ensureDeferred
async def test_every_certificate_of_every_bundle_counts():
    third = Authority.create("a third CA")
    bundles = (AUTHORITY.certificate_pem + OTHER_AUTHORITY.certificate_pem, third.certificate_pem)
    client_tls = ClientTLS(Trust(platform=False, bundles=bundles))
    for authority in (AUTHORITY, OTHER_AUTHORITY, third):
        assert_accepted(await attempt_with("implicit", authority.issue(HOST), client_tls=client_tls))


def test_a_trust_that_can_trust_nobody_is_an_error():
    with pytest.raises(ValueError, match="nor others are trusted"):
        Trust(platform=False)
    with pytest.raises(ValueError, match="no certificate in PEM form"):
        Trust(bundles=(b"# only a comment\n",))


# --- versions ---


@pytest.mark.parametrize(
    ("only", "minimum", "maximum", "accepted"),
    [
        (SSL.TLS1_2_VERSION, "TLSv1.2", None, True),
        (SSL.TLS1_3_VERSION, "TLSv1.2", None, True),
        (SSL.TLS1_3_VERSION, "TLSv1.3", None, True),
        (SSL.TLS1_2_VERSION, "TLSv1.2", "TLSv1.2", True),
        (SSL.TLS1_1_VERSION, "TLSv1.2", None, False),
        (SSL.TLS1_VERSION, "TLSv1.2", None, False),
        (SSL.TLS1_2_VERSION, "TLSv1.3", None, False),
        (SSL.TLS1_3_VERSION, "TLSv1.2", "TLSv1.2", False),
    ],
)
@both_ways
@pytest_twisted.ensureDeferred
async def test_only_the_wanted_versions_are_spoken(way, only, minimum, maximum, accepted):
    settings = TLSSettings(TLSMode.IMPLICIT, minimum=minimum, maximum=maximum)
    result = await attempt_with(way, AUTHORITY.issue(HOST), settings=settings, only=only, ciphers=b"ALL:@SECLEVEL=0")
    if accepted:
        assert_accepted(result)
    else:
        assert_refused(result, "no TLS version in common")


def test_an_old_server_is_refused_by_us_and_not_for_want_of_one():
    """The server of the test above does speak TLS 1.1, with a client that lets itself in for it."""
    client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client_context.set_min_proto_version(SSL.TLS1_VERSION)
    client_context.set_cipher_list(b"ALL:@SECLEVEL=0")
    server_tls = ServerTLS(AUTHORITY.issue(HOST), only=SSL.TLS1_1_VERSION, ciphers=b"ALL:@SECLEVEL=0")
    client, server = SSL.Connection(client_context, None), SSL.Connection(server_tls.context, None)
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(4):
        shake(client, server)
        shake(server, client)
    assert client.get_protocol_version_name() == "TLSv1.1"


def shake(one, other):
    """`one` goes as far as it can; what it wants to say reaches `other`."""
    with contextlib.suppress(SSL.WantReadError):
        one.do_handshake()
    with contextlib.suppress(SSL.WantReadError):
        other.bio_write(one.bio_read(65536))


def test_an_unknown_version_is_an_error():
    with pytest.raises(ValueError, match=r"'TLSv1' is not one of TLSv1\.2, TLSv1\.3"):
        TLS.options(HOST, TLSSettings(TLSMode.IMPLICIT, minimum="TLSv1"))


@pytest_twisted.ensureDeferred
async def test_ciphers_without_forward_secrecy_are_not_spoken():
    result = await attempt_with(
        "implicit", AUTHORITY.issue(HOST), only=SSL.TLS1_2_VERSION, ciphers=b"ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"
    )
    assert_accepted(result)
    names = SSL.Connection(TLS.options(HOST, SETTINGS)._context, None).get_cipher_list()
    assert names
    assert all(name.startswith(("TLS_", "ECDHE-", "DHE-")) for name in names)


# --- what the server learns ---


@pytest.mark.parametrize(
    ("host", "seen"),
    [(HOST, [HOST.encode()]), ("b\u00fccher.example.", [b"xn--bcher-kva.example"]), ("192.0.2.1", [None])],
)
@both_ways
@pytest_twisted.ensureDeferred
async def test_the_server_is_told_the_name_but_never_an_address(way, host, seen):
    server_tls = ServerTLS(AUTHORITY.issue(host.removesuffix(".").encode("idna").decode()))
    assert_accepted(await attempt(way, TLS.options(host, SETTINGS), server_tls))
    assert server_tls.names == seen


@pytest_twisted.ensureDeferred
async def test_the_server_is_told_the_name_also_when_the_name_is_not_checked():
    server_tls = ServerTLS(AUTHORITY.issue("www.example.com"))
    creator = TLS.options(HOST, TLSSettings(TLSMode.IMPLICIT, check_name=False))
    assert_accepted(await attempt("implicit", creator, server_tls))
    assert server_tls.names == [HOST.encode()]


@pytest.mark.parametrize("only", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@both_ways
@pytest_twisted.ensureDeferred
async def test_a_client_certificate_is_shown_with_its_chain(way, only):
    issued = OTHER_AUTHORITY.subordinate().issue("mailproxy", client=True)
    identity = ClientIdentity(issued.chain_pem, issued.key_pem)
    server = {"only": only, "client_authority": OTHER_AUTHORITY}
    assert_accepted(await attempt_with(way, AUTHORITY.issue(HOST), identity=identity, **server))


@pytest.mark.parametrize("only", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest_twisted.ensureDeferred
async def test_a_server_that_misses_a_client_certificate_is_described(only):
    result = await attempt_with("implicit", AUTHORITY.issue(HOST), only=only, client_authority=OTHER_AUTHORITY)
    assert result.client_received == b""
    assert "client certificate" in describe_tls_failure(result.reason)


@pytest_twisted.ensureDeferred
async def test_a_client_certificate_of_an_authority_the_server_does_not_know_is_described():
    issued = AUTHORITY.issue("mailproxy", client=True)
    identity = ClientIdentity(issued.chain_pem, issued.key_pem)
    result = await attempt_with(
        "implicit", AUTHORITY.issue(HOST), identity=identity, only=SSL.TLS1_2_VERSION, client_authority=OTHER_AUTHORITY
    )
    assert_refused(result, "peer refused our client certificate")


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        (AUTHORITY.issue(HOST).chain_pem, AUTHORITY.issue(HOST).key_pem),
        (AUTHORITY.issue(HOST).chain_pem, b"-----BEGIN PRIVATE KEY-----\nc2VudGluZWw=\n-----END PRIVATE KEY-----\n"),
        (b"no certificate", AUTHORITY.issue(HOST).key_pem),
    ],
)
def test_a_client_certificate_that_cannot_be_used_is_an_error_without_the_key(certificate, key):
    with pytest.raises(ValueError, match="certificate") as caught:
        TLS.options(HOST, SETTINGS, ClientIdentity(certificate, key))
    assert "c2VudGluZWw" not in str(caught.value)
    assert "PRIVATE" not in f"{caught.value!r} {caught.value.__cause__!r}"


# --- contexts ---


def test_contexts_are_built_once_for_all_hosts():
    client_tls = ClientTLS(Trust(platform=False, bundles=(AUTHORITY.certificate_pem,)))
    first = client_tls.options(HOST, SETTINGS)
    assert client_tls.options("www.example.com", TLSSettings(TLSMode.REQUIRED, check_name=False))._context is (
        first._context
    )
    assert client_tls.options(HOST, TLSSettings(TLSMode.IMPLICIT, minimum="TLSv1.3"))._context is not first._context


def test_contexts_of_client_certificates_that_rotate_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(tls, "_CONTEXTS", 3)
    client_tls = ClientTLS(Trust(platform=False, bundles=(AUTHORITY.certificate_pem,)))
    identities = [ClientIdentity(i.chain_pem, i.key_pem) for i in (AUTHORITY.issue("m", client=True) for _ in range(5))]
    contexts = [client_tls.options(HOST, SETTINGS, identity)._context for identity in identities]
    assert len(client_tls._contexts) == 3
    assert client_tls.options(HOST, SETTINGS, identities[-1])._context is contexts[-1]


# --- failures that are not the certificate's ---


@pytest_twisted.ensureDeferred
async def test_a_server_that_speaks_no_tls_is_described():
    server = Server(None)
    factory = Factory.forProtocol(lambda: server)
    factory.noisy = False
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    try:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = await connectProtocol(wrapClientTLS(TLS.options(HOST, SETTINGS), endpoint), Client())
        [reason] = await client.lost.addTimeout(10, reactor)
        await server.lost.addTimeout(10, reactor)
    finally:
        await port.stopListening()
    assert not client.verified
    assert describe_tls_failure(reason) == "peer does not speak TLS (wrong version number)"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SSL.Error([("SSL routines", "", "some new reason")]), "TLS handshake failed (some new reason)"),
        (SSL.Error([]), "TLS handshake failed (Error)"),
        (SSL.Error(), "TLS handshake failed (Error)"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "TLS handshake failed (SysCallError)"),
        (VerificationError([]), "TLS failed (VerificationError)"),
        (
            SSL.Error([("SSL routines", "", "sslv3 alert handshake failure")]),
            "peer refused our TLS parameters, or wants a client certificate (sslv3 alert handshake failure)",
        ),
        (ResponseNeverReceived([Failure(CertificateRejected("certificate has expired"))]), "certificate has expired"),
    ],
)
def test_each_kind_of_failure_has_one_sentence(error, sentence):
    assert describe_tls_failure(Failure(error)) == sentence


# --- HTTPS ---


class OneConnection(TLSMemoryBIOFactory):
    """Tells when its connection is over."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lost = Deferred()

    def unregisterProtocol(self, protocol):
        super().unregisterProtocol(protocol)
        self.lost.callback(None)


class Hello(Resource):
    isLeaf = True

    def render_GET(self, _request):
        return b"hello"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["127.0.0.1"], None),
        (["127.0.0.2"], ANOTHER_HOST + "127.0.0.2"),
        ([], NO_USABLE_NAME),
    ],
)
@pytest_twisted.ensureDeferred
async def test_https_is_as_strict(names, words):
    issued = AUTHORITY.issue(*names, common_name="127.0.0.1")
    site = Site(Hello())
    site.noisy = False
    served = OneConnection(ServerTLS(issued), False, site)
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(served)
    client = treq.client.HTTPClient(Agent(reactor, contextFactory=HTTPSPolicy(TLS)))
    try:
        response = await client.get(f"https://127.0.0.1:{port.getHost().port}/", headers={"Connection": ["close"]})
        assert await response.content() == b"hello"
        assert words is None
    except ResponseNeverReceived:
        assert words in describe_tls_failure(Failure())
    finally:
        await served.lost.addTimeout(10, reactor)
        await port.stopListening()
