"""Sessions that are taken up again: for whom, for how long, and for whom not."""

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.python.failure import Failure

from mailproxy.destination.model import ClientIdentity, TLSMode, TLSSettings
from mailproxy.sandbox.pki import Authority
from mailproxy.tls import ClientTLS, Resumption, Trust, keep_session
from mailproxy.tls.resumption import DEPTH, FULL_AGAIN_SECONDS, Kept, Proof
from tests.tls.handshake import go_on

HOST = "mail.example.com"
AUTHORITY = Authority.create()
ISSUED = AUTHORITY.issue(HOST)
CLIENT = AUTHORITY.issue("we.example.com", client=True)
TRUST = Trust(platform=False, bundles=(AUTHORITY.certificate_pem,))
VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


class Judge:
    """Hears of refusals."""

    refused = None

    def failVerification(self, reason: Failure):
        self.refused = reason.value


class Source:
    """Whom we believe, which may change."""

    def __init__(self, trust=TRUST):
        self.trust = trust

    def current(self):
        return self.trust


class Transport:
    def __init__(self, handle):
        self.handle = handle

    def getHandle(self):
        return self.handle


class Pair:
    """A client's side and a mail server, which meet again and again."""

    def __init__(self, version="TLSv1.3", issued=ISSUED):
        self.now = time.time()
        self.source = Source()
        self.tls = ClientTLS(self.source)
        self.resumption = Resumption(lambda: self.now)
        self.settings = {"minimum": version, "maximum": version}
        self.judge = Judge()
        self.serve(issued)

    def serve(self, issued):
        """From now on the mail server shows this, and knows no session of before."""
        self.server = SSL.Context(SSL.TLS_SERVER_METHOD)
        leaf, *_ = x509.load_pem_x509_certificates(issued.chain_pem)
        self.server.use_certificate(leaf)
        self.server.use_privatekey(load_pem_private_key(issued.key_pem, None))

    def meet(self, host=HOST, *, keep=True, twice=False, resumption=None, identity=None, **settings):
        """Whether the mail server had to show its certificate, None where there is no connection."""
        settings = TLSSettings(TLSMode.IMPLICIT, **(self.settings | settings))
        options = self.tls.options(host, settings, identity, self.resumption if resumption is None else resumption)
        client = options.clientConnectionForTLS(self.judge)
        client.set_connect_state()
        server = SSL.Connection(self.server, None)
        server.set_accept_state()
        if not go_on(client, server).good:
            return None
        if keep:
            keep_session(Transport(client))
        if twice:
            keep_session(Transport(client))
        self.proven_until = client.proven_until
        client.shutdown()  # a session behind which nobody said goodbye is not resumed
        return "full" if client.check.passed else "resumed"


def test_a_session_is_taken_up_again(version):
    pair = Pair(version)
    assert [pair.meet() for _ in range(4)] == ["full", "resumed", "resumed", "resumed"]


def test_only_a_session_that_its_owner_keeps_is(version):
    pair = Pair(version)
    assert [pair.meet(keep=False), pair.meet()] == ["full", "full"]


def test_each_session_is_used_once(version):
    pair = Pair(version)
    assert [pair.meet(), pair.meet(keep=False), pair.meet(keep=False)] == ["full", "resumed", "full"]


def test_owners_share_nothing(version):
    pair = Pair(version)
    other = Resumption(lambda: pair.now)
    assert [pair.meet(), pair.meet(resumption=other), pair.meet()] == ["full", "full", "resumed"]


def test_another_host_is_judged(version):
    pair = Pair(version)
    assert pair.meet() == "full"
    assert pair.meet("other.example.com") is None
    assert "another host" in str(pair.judge.refused)


def test_what_was_not_judged_by_its_name_is_judged_where_the_name_counts(version):
    pair = Pair(version, AUTHORITY.issue("www.example.com"))
    assert pair.meet(check_name=False) == "full"
    assert pair.meet(check_name=False) == "resumed"
    assert pair.meet() is None
    assert "another host" in str(pair.judge.refused)


def test_other_settings_are_judged_anew():
    pair = Pair()
    assert pair.meet() == "full"
    assert pair.meet(minimum="TLSv1.2") == "full"
    assert pair.meet(minimum="TLSv1.2") == "resumed"


def test_whom_we_do_not_believe_any_more_is_refused(version):
    pair = Pair(version)
    assert pair.meet() == "full"
    pair.source.trust = Trust(platform=False, bundles=(Authority.create("another").certificate_pem,))
    assert pair.meet() is None


def test_who_shows_another_certificate_is_somebody_else(version):
    pair = Pair(version)
    identity = ClientIdentity(CLIENT.chain_pem, CLIENT.key_pem)
    assert [pair.meet(), pair.meet(identity=identity), pair.meet(identity=identity)] == ["full", "full", "resumed"]
    assert pair.meet() == "full"


def test_everything_is_judged_again_after_a_while_however_often_it_was_resumed(version):
    pair = Pair(version)
    met = []
    for _ in range(7):
        met.append(pair.meet())
        pair.now += FULL_AGAIN_SECONDS / 5
    assert met == ["full", *["resumed"] * 4, "full", "resumed"]


def test_a_session_ends_with_the_certificate(version):
    pair = Pair(version)
    leaf, *_ = x509.load_pem_x509_certificates(ISSUED.chain_pem)
    pair.now = leaf.not_valid_after_utc.timestamp() - 10
    assert [pair.meet(), pair.meet()] == ["full", "resumed"]
    pair.now += 10
    assert pair.meet() == "full"


def test_a_connection_knows_how_long_its_chain_is_good_even_when_it_was_not_shown_again(version):
    pair = Pair(version)
    leaf, *_ = x509.load_pem_x509_certificates(ISSUED.chain_pem)
    for kind in ("full", "resumed", "resumed"):
        assert pair.meet() == kind
        assert pair.proven_until == leaf.not_valid_after_utc.timestamp()
    other = Pair(version)
    assert other.meet(keep=False) == "full"
    assert other.proven_until is None


def test_a_clock_that_was_set_back_is_no_reason_to_believe_a_session(version):
    pair = Pair(version)
    assert pair.meet() == "full"
    pair.now -= 1
    assert pair.meet() == "full"


def test_a_server_that_forgot_its_sessions_shows_its_certificate(version):
    pair = Pair(version)
    assert pair.meet() == "full"
    pair.serve(AUTHORITY.issue(HOST))
    assert pair.meet() == "full"
    pair.serve(AUTHORITY.issue("other.example.com"))
    assert pair.meet() is None


def test_a_refused_server_leaves_no_session(version):
    pair = Pair(version, AUTHORITY.issue("other.example.com"))
    assert [pair.meet(), len(pair.resumption)] == [None, 0]


def test_a_handshake_that_fails_with_a_session_speaks_against_all(version):
    pair = Pair(version)
    assert [pair.meet(keep=True) for _ in range(2)] == ["full", "resumed"]
    pair.serve(AUTHORITY.issue("other.example.com"))
    assert pair.meet() is None
    pair.serve(ISSUED)
    assert [pair.meet(), pair.meet()] == ["full", "full"]
    pair.now += FULL_AGAIN_SECONDS
    assert [pair.meet(), pair.meet()] == ["full", "resumed"]


def test_a_bounded_number_is_kept():
    pair = Pair()
    kept = Kept("session", Proof(0.0, 1e12))
    for _ in range(DEPTH + 5):
        pair.resumption.put("key", kept)
    assert len(pair.resumption) == DEPTH


def test_a_connection_is_kept_once():
    pair = Pair()
    assert pair.meet(twice=True) == "full"
    assert len(pair.resumption) == 1


def test_a_transport_without_tls_has_no_session():
    keep_session(Transport(None))
