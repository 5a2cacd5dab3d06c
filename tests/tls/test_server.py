"""TLS towards mail clients: what they are shown, which versions are spoken, and whose certificates count."""

from __future__ import annotations

import datetime as dt
import gc
import socket
import ssl
import weakref
from functools import partial

import pytest
import pytest_twisted
from attrs import evolve
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from mailproxy.sandbox import pki
from mailproxy.sandbox.pki import Authority
from mailproxy.tls import describe_client_tls_failure
from mailproxy.tls.words import ClientRefused
from tests.tls.handshake import AnyClient, listener_tls, say, shake_hands, write_certificate
from tests.tls.loopback import (
    AUTHORITY,
    GREETING,
    HOST,
    LOGIN,
    OTHER_AUTHORITY,
    SETTINGS,
    TLS,
    assert_accepted,
    attempt,
    both_ways,
)

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
RECORD = b"\x16\x03\x01"
VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)

CLIENTS = Authority.create("clients' CA")
GOOD_CLIENT = CLIENTS.issue("robot", client=True)
DEEP_CLIENT = CLIENTS.subordinate().issue("robot", client=True)
ISSUED = [
    AUTHORITY.subordinate().issue(*names)
    for names in (
        [HOST, "*.example.com"],
        ["smtp.example.net", "*.example.net"],
        ["smtp.example.net", "pop.example.net"],
    )
]

names = pytest.mark.parametrize("name", [None, b"smtp.example.net"])


def own_certificate(authority):
    """The authority's own certificate, as if it were a client's."""
    return pki.Issued(authority.certificate_pem, pki._key_pem(authority.key), authority.certificate_pem)


@pytest.fixture
def certificates(tmp_path):
    """The files of three certificates, the first of which is the default."""
    return [write_certificate(tmp_path, issued, f"mail{number}") for number, issued in enumerate(ISSUED)]


@pytest.fixture
def tls(certificates, tmp_path):
    """Makes TLS for a listener."""
    clients_ca = CLIENTS.write(tmp_path / "clients.pem")

    def make(**settings):
        if settings.get("client_certificates", "none") != "none":
            settings.setdefault("client_ca_files", (clients_ca,))
        return listener_tls(*certificates, **settings)

    return make


def test_it_is_what_twisted_wants(tls):
    assert verifyObject(IOpenSSLServerConnectionCreator, tls())


# --- which certificate ---


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param(None, 0, id="none"),
        pytest.param(b"mail.example.com", 0, id="exactly"),
        pytest.param(b"smtp.example.net", 1, id="in two certificates, the first counts"),
        pytest.param(b"pop.example.net", 2, id="exactly, though an earlier one has a wildcard"),
        pytest.param(b"SMTP.Example.NET", 1, id="case does not matter"),
        pytest.param(b"smtp.example.net.", 1, id="nor does a dot at the end"),
        pytest.param(b"imap.example.net", 1, id="by a wildcard"),
        pytest.param(b"\xff.example.net", 1, id="by a wildcard, octets beyond ASCII"),
        pytest.param(b"a.imap.example.net", 0, id="a wildcard is not two labels"),
        pytest.param(b"example.net", 0, id="nor none"),
        pytest.param(b"unknown.example", 0, id="unknown"),
        pytest.param(b"127.0.0.1", 0, id="an address"),
        pytest.param(b"*", 0, id="a star"),
        pytest.param(b".", 0, id="a dot"),
        pytest.param(b"x" * 255, 0, id="as long as can be"),
    ],
)
@pytest.mark.parametrize("only", VERSIONS)
def test_the_name_that_a_client_asks_for_chooses_the_certificate(tls, name, number, only):
    result = shake_hands(tls(), AnyClient(name, only=only))
    assert result.good
    assert result.shown == ISSUED[number].certificate_pem
    assert len(result.client.get_peer_cert_chain()) == 2


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name))
def test_no_name_ends_the_handshake(tls, name):
    result = shake_hands(tls(), AnyClient(name))
    assert result.good
    assert result.shown in {issued.certificate_pem for issued in ISSUED}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=2000), st.sampled_from([b"", RECORD, RECORD + b"\x00\x40\x01\x00\x00\x3c"]))
def test_octets_that_are_no_handshake_never_are_one(tls, octets, before):
    server = tls().serverConnectionForTLS(None)
    server.set_accept_state()
    server.bio_write(before + octets)
    with pytest.raises(SSL.Error):
        server.do_handshake()


@pytest.mark.parametrize("extra", [[x509.DNSName("192.0.2.1")], [x509.RFC822Name("a@b.example")]])
def test_an_entry_that_nobody_can_ask_for_does_no_harm(tmp_path, extra):
    issued = AUTHORITY.issue(sans=[*extra, x509.DNSName("b.example")])
    made = listener_tls(write_certificate(tmp_path, ISSUED[0], "default"), write_certificate(tmp_path, issued, "other"))
    assert shake_hands(made, AnyClient(b"b.example")).shown == issued.certificate_pem
    assert shake_hands(made, AnyClient(b"192.0.2.1")).shown == ISSUED[0].certificate_pem


def test_the_chain_may_stand_in_a_file_of_its_own(tmp_path):
    issued = AUTHORITY.subordinate().issue(HOST)
    files = write_certificate(tmp_path, issued)
    files.certificate.write_bytes(issued.certificate_pem)
    assert len(shake_hands(listener_tls(files)).client.get_peer_cert_chain()) == 1
    chain = tmp_path / "chain.pem"
    chain.write_bytes(issued.chain_pem.removeprefix(issued.certificate_pem))
    files = type(files)(files.certificate, files.key, chain)
    assert len(shake_hands(listener_tls(files)).client.get_peer_cert_chain()) == 2


@both_ways
@pytest_twisted.ensureDeferred
async def test_our_own_strict_client_is_content(way, tls):
    assert_accepted(await attempt(way, TLS.options(HOST, SETTINGS), tls()))
    assert_accepted(await attempt(way, TLS.options("smtp.example.net", SETTINGS), tls()))


# --- versions, ciphers, renegotiation ---


@pytest.mark.parametrize(
    ("minimum", "only", "good"),
    [
        ("TLSv1.2", SSL.TLS1_VERSION, False),
        ("TLSv1.2", SSL.TLS1_1_VERSION, False),
        ("TLSv1.2", SSL.TLS1_2_VERSION, True),
        ("TLSv1.2", SSL.TLS1_3_VERSION, True),
        ("TLSv1.3", SSL.TLS1_2_VERSION, False),
        ("TLSv1.3", SSL.TLS1_3_VERSION, True),
    ],
)
@pytest.mark.parametrize("name", [None, b"smtp.example.net"])
def test_versions_below_the_minimum_are_not_spoken(tls, minimum, only, good, name):
    result = shake_hands(tls(minimum=minimum), AnyClient(name, only=only))
    assert result.good is good
    if not good:
        assert "no TLS version in common" in describe_client_tls_failure(result.server_failure)
        assert "alert protocol version" in str(result.client_failure.value)


def test_ciphers_without_forward_secrecy_are_not_spoken(tls):
    names = tls().serverConnectionForTLS(None).get_cipher_list()
    assert names
    assert all(name.startswith(("TLS_", "ECDHE-", "DHE-")) for name in names)


@pytest.mark.parametrize("ciphers", [b"AES128-GCM-SHA256", b"AES256-SHA"])
def test_a_client_with_no_other_ciphers_is_refused(tls, ciphers):
    result = shake_hands(tls(), AnyClient(only=SSL.TLS1_2_VERSION, ciphers=ciphers))
    assert describe_client_tls_failure(result.server_failure) == "no cipher in common (no shared cipher)"


def test_a_client_cannot_renegotiate(tls):
    result = shake_hands(tls(), AnyClient(only=SSL.TLS1_2_VERSION))
    result.client.renegotiate()
    with pytest.raises(SSL.WantReadError):
        result.client.do_handshake()
    say(result.client, result.server)
    with pytest.raises(SSL.WantReadError):
        result.server.recv(1)
    say(result.server, result.client)
    with pytest.raises(SSL.Error, match="no renegotiation"):
        result.client.recv(1)
    assert result.server.total_renegotiations() == 0


@names
def test_compression_renegotiation_and_tickets_are_switched_off(tls, name):
    """Some of it is OpenSSL's default today, which no handshake can tell apart."""
    wanted = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET
    assert shake_hands(tls(), AnyClient(name)).server.set_options(0) & wanted == wanted


# --- clients' certificates ---


REFUSED = [
    pytest.param(
        OTHER_AUTHORITY.issue("robot", client=True), "not trusted or not known (verify error 20", "unknown ca", id="CA"
    ),
    pytest.param(
        CLIENTS.issue("robot", client=True, not_before=NOW - 9 * DAY, not_after=NOW - DAY),
        "certificate has expired (verify error 10 at depth 0)",
        "certificate expired",
        id="expired",
    ),
    pytest.param(
        CLIENTS.issue("robot", client=True, not_before=NOW + DAY),
        "certificate is not yet valid (verify error 9",
        "bad certificate",
        id="not yet valid",
    ),
    pytest.param(
        CLIENTS.issue("robot"),
        "certificate is not meant for clients (verify error 26",
        "unsupported certificate",
        id="a server's",
    ),
    pytest.param(
        own_certificate(Authority.create("robot")),
        "certificate is self-signed and not trusted (verify error 18",
        "unknown ca",
        id="self-signed",
    ),
    pytest.param(
        pki.Issued(b"", DEEP_CLIENT.key_pem, DEEP_CLIENT.certificate_pem),
        "not trusted or not known (verify error 20",
        "unknown ca",
        id="without its intermediate",
    ),
]
versions = pytest.mark.parametrize("only", VERSIONS)


@names
@versions
@pytest.mark.parametrize("wanted", ["optional", "required"])
@pytest.mark.parametrize("shows", [GOOD_CLIENT, DEEP_CLIENT])
def test_a_client_of_the_authorities_comes_in(tls, wanted, only, name, shows):
    result = shake_hands(tls(client_certificates=wanted), AnyClient(name, shows=shows, only=only))
    assert result.good
    shown = result.server.get_peer_certificate().to_cryptography()
    assert shown == x509.load_pem_x509_certificate(shows.certificate_pem)


@names
@versions
@pytest.mark.parametrize("wanted", ["optional", "required"])
@pytest.mark.parametrize(("shows", "words", "alert"), REFUSED)
def test_a_client_that_shows_something_else_does_not(tls, wanted, only, name, shows, words, alert):
    result = shake_hands(tls(client_certificates=wanted), AnyClient(name, shows=shows, only=only))
    assert isinstance(result.server_failure.value, ClientRefused)
    sentence = describe_client_tls_failure(result.server_failure)
    assert sentence.startswith("client's certificate ")
    assert words in sentence
    assert f"alert {alert}" in str(result.client_failure.value)


@names
@versions
def test_a_client_without_a_certificate_comes_in_where_it_is_optional(tls, only, name):
    assert shake_hands(tls(client_certificates="optional"), AnyClient(name, only=only)).good


@names
@versions
def test_a_client_without_a_certificate_does_not_where_it_is_required(tls, only, name):
    result = shake_hands(tls(client_certificates="required"), AnyClient(name, only=only))
    sentence = describe_client_tls_failure(result.server_failure)
    assert sentence.startswith("client showed no certificate, and one is required")
    assert "alert" in str(result.client_failure.value)


@names
def test_nobody_is_asked_where_nobody_is_wanted(tls, name):
    result = shake_hands(tls(), AnyClient(name, shows=OTHER_AUTHORITY.issue("robot", client=True)))
    assert result.good
    assert result.client.get_client_ca_list() == []
    assert result.server.get_peer_certificate() is None


@names
@versions
def test_the_client_is_told_whose_certificates_count(tls, tmp_path, only, name):
    both = tmp_path / "both.pem"
    both.write_bytes(CLIENTS.certificate_pem + OTHER_AUTHORITY.certificate_pem)
    made = tls(client_certificates="optional", client_ca_files=(both, AUTHORITY.write(tmp_path / "third.pem")))
    told = shake_hands(made, AnyClient(name, only=only)).client.get_client_ca_list()
    assert [each.CN for each in told] == [_common_name(each) for each in (CLIENTS, OTHER_AUTHORITY, AUTHORITY)]


def _common_name(authority):
    return authority.certificate.subject.rfc4514_string().removeprefix("CN=")


def test_the_platforms_authorities_do_not_count(tls, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(OTHER_AUTHORITY.write(tmp_path / "platform.pem")))
    client = AnyClient(shows=OTHER_AUTHORITY.issue("robot", client=True))
    assert not shake_hands(tls(client_certificates="required"), client).good


def test_authorities_change_for_all_certificates(tls, tmp_path):
    """Moving to another certificate by name must not lead to another set of authorities."""
    clock = Clock()
    made = tls(client_certificates="required", seconds=clock.seconds)
    OTHER_AUTHORITY.write(tmp_path / "clients.pem")
    clock.advance(1)
    for name in (None, b"smtp.example.net", b"pop.example.net"):
        assert not shake_hands(made, AnyClient(name, shows=GOOD_CLIENT)).good
        assert shake_hands(made, AnyClient(name, shows=OTHER_AUTHORITY.issue("robot", client=True))).good


def test_a_context_without_a_connection_of_ours_believes_nobody(tls):
    context = tls(client_certificates="optional").serverConnectionForTLS(None).get_context()

    class Unprepared:
        def serverConnectionForTLS(self, _protocol):
            return SSL.Connection(context, None)

    assert not shake_hands(Unprepared(), AnyClient(shows=GOOD_CLIENT)).good


# --- behind Twisted ---


@both_ways
@pytest.mark.parametrize("client", [AnyClient(), AnyClient(shows=OTHER_AUTHORITY.issue("robot", client=True))])
@versions
@pytest_twisted.ensureDeferred
async def test_a_refused_client_says_and_hears_nothing(way, tls, client, only):
    """With TLS 1.3 the client believes that the handshake is done before it was judged."""
    result = await attempt(way, evolve(client, only=only), tls(client_certificates="required"))
    assert not result.server_verified
    assert result.server_received == b""
    assert result.client_received == b""
    assert describe_client_tls_failure(result.server_reason).startswith("client")
    assert "alert" in str(result.reason.value)


@both_ways
@pytest_twisted.ensureDeferred
async def test_a_client_that_is_believed_is_served(way, tls):
    result = await attempt(way, AnyClient(shows=GOOD_CLIENT), tls(client_certificates="required"))
    assert result.server_verified
    assert (result.server_received, result.client_received) == (LOGIN, GREETING)


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "client speaks HTTP and not TLS (http request)"),
        (b"CONNECT mail:25 HTTP/1.1\r\n\r\n", "client speaks HTTP and not TLS (https proxy request)"),
        (b"EHLO client.example\r\n", "client does not speak TLS (wrong version number)"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "client does not speak TLS (wrong version number)"),
        (b"\x05\x01\x00" + bytes(9), "client does not speak TLS (wrong version number)"),
        (bytes(64), "client does not speak TLS (wrong version number)"),
        (b"\x16\x03\x01\xff\xff", "client does not speak TLS (data length too long; record layer failure)"),
        (b"\x15\x03\x01\x00\x02\x02\x30", "TLS handshake failed (unexpected message)"),
        (b"", "client closed the connection"),
        (b"\x16\x03\x01", "client closed the connection"),
    ],
)
def test_what_is_no_handshake_is_described(tls, octets, sentence):
    lost = []

    class Listening(Protocol):
        def connectionLost(self, reason):
            lost.append(reason)

    factory = TLSMemoryBIOFactory(tls(), False, Factory.forProtocol(Listening))
    protocol, transport = factory.buildProtocol(None), StringTransportWithDisconnection()
    transport.protocol = protocol
    protocol.makeConnection(transport)
    if octets:
        protocol.dataReceived(octets)
    if transport.connected:
        transport.loseConnection()
    [reason] = lost
    assert sentence in describe_client_tls_failure(reason)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SSL.Error([("", "", "tlsv1 alert unknown ca")]), "client does not trust our certificate's authority"),
        (SSL.Error([("", "", "ssl/tls alert certificate expired")]), "client says that our certificate has expired"),
        (SSL.Error([("", "", "ssl/tls alert certificate unknown")]), "client refused our certificate"),
        (SSL.Error([("", "", "sslv3 alert bad certificate")]), "client refused our certificate"),
        (SSL.Error([("", "", "tls alert handshake failure")]), "client refused our TLS parameters"),
        (SSL.Error([("", "", "no suitable signature algorithm")]), "client cannot use our certificate's kind of key"),
        (SSL.Error([("", "", "no suitable key share")]), "no key exchange in common"),
        (SSL.Error([("", "", "inappropriate fallback")]), "client fell back to an older TLS version than both know"),
        (SSL.Error([("", "", "\x1b[31mnews\r\n")]), r"TLS handshake failed (\x1b[31mnews\x0d\x0a)"),
        (SSL.Error(), "TLS handshake failed (Error)"),
        (RuntimeError("x"), "TLS failed (RuntimeError)"),
        (ConnectionDone(), "client closed the connection"),
    ],
)
def test_each_other_kind_of_failure_has_one_sentence(error, sentence):
    assert describe_client_tls_failure(Failure(error)).startswith(sentence)


# --- somebody else's client ---


class Greeter(Protocol):
    """Greets at once, as an SMTP server does, and ends when it was answered."""

    def __init__(self, lost):
        self.lost = lost

    def connectionMade(self):
        self.transport.write(GREETING)

    def dataReceived(self, chunk):
        self.transport.loseConnection()

    def connectionLost(self, reason):
        self.lost.callback([reason])


async def visit(tls, call):
    """What a function gets to know that visits a listener in a thread, and why the listener's connection ended."""
    lost = Deferred()
    factory = Factory.forProtocol(lambda: Greeter(lost))
    factory.noisy = False
    served = TLSMemoryBIOFactory(tls, False, factory)
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(served)
    try:
        result = await deferToThread(call, ("127.0.0.1", port.getHost().port))
        [reason] = await lost.addTimeout(10, reactor)
        return result, reason
    finally:
        await port.stopListening()


def python_client(tmp_path, authority=AUTHORITY):
    context = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    context.load_cert_chain(*GOOD_CLIENT.write(tmp_path, "robot"))
    return context


def talk(context, name, session, place):
    """Version, whether the session was resumed, and the session for the next time."""
    with (
        socket.create_connection(place, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name, session=session) as secured,
    ):
        assert secured.recv(100) == GREETING
        secured.sendall(b"QUIT\r\n")
        assert secured.recv(100) == b""
        return secured.version(), secured.session_reused, secured.session


@pytest.mark.parametrize("name", [HOST, "smtp.example.net", "any.example.net"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("wanted", ["none", "required"])
@pytest_twisted.ensureDeferred
async def test_pythons_client_is_content_and_resumes_nothing(tmp_path, tls, name, version, wanted):
    made = tls(client_certificates=wanted)
    context = python_client(tmp_path)
    context.maximum_version = version
    session = None
    for _ in range(2):
        (spoken, resumed, session), _ = await visit(made, partial(talk, context, name, session))
        assert spoken == version.name.replace("_", ".")
        assert not resumed


@pytest.mark.parametrize(
    ("authority", "name", "sentence"),
    [
        (AUTHORITY, "www.example.org", "client refused our certificate ("),
        (OTHER_AUTHORITY, HOST, "client does not trust our certificate's authority ("),
    ],
)
@pytest_twisted.ensureDeferred
async def test_pythons_client_refuses_what_is_not_for_it_and_the_log_can_tell(tmp_path, tls, authority, name, sentence):
    def refused(place):
        with pytest.raises(ssl.SSLCertVerificationError):
            talk(python_client(tmp_path, authority), name, None, place)

    _, reason = await visit(tls(), refused)
    assert describe_client_tls_failure(reason).startswith(sentence)


# --- nothing is left ---


@pytest.mark.parametrize("wanted", ["none", "optional"])
def test_a_connection_that_is_over_leaves_nothing_for_the_garbage_collector(tls, wanted):
    made = tls(client_certificates=wanted)
    gc.disable()
    try:
        result = shake_hands(made, AnyClient(shows=GOOD_CLIENT))
        gone = weakref.ref(result.server)
        del result
        assert gone() is None
    finally:
        gc.enable()
