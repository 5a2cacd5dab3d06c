"""Whom we talk TLS to: a certificate for every doubt about the chain, versions, and what the server learns."""

import contextlib
import datetime as dt

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
)
from zope.interface import implementer

from mailproxy.destination.model import ClientIdentity, TLSMode, TLSSettings
from mailproxy.errors import TLSFailed
from mailproxy.sandbox import pki
from mailproxy.sandbox.pki import Authority
from mailproxy.tls import CertificateRejected, ClientTLS, Trust, client, describe_tls_failure
from mailproxy.tls.names import service_identity
from tests.tls.loopback import (
    ANOTHER_HOST,
    AUTHORITY,
    HOST,
    OTHER_AUTHORITY,
    SETTINGS,
    TLS,
    ServerTLS,
    assert_accepted,
    assert_refused,
    attempt,
    attempt_with,
    both_ways,
)

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


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
    check = client._PeerCheck(service_identity(HOST), lambda: None)
    assert check.verify(None, None, 20, 1, 0) is False


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
    monkeypatch.setattr(client, "_CONTEXTS", 3)
    client_tls = ClientTLS(Trust(platform=False, bundles=(AUTHORITY.certificate_pem,)))
    identities = [ClientIdentity(i.chain_pem, i.key_pem) for i in (AUTHORITY.issue("m", client=True) for _ in range(5))]
    contexts = [client_tls.options(HOST, SETTINGS, identity)._context for identity in identities]
    assert len(client_tls._contexts) == 3
    assert client_tls.options(HOST, SETTINGS, identities[-1])._context is contexts[-1]
