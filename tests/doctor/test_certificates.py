"""What a certificate says, also one that follows no rule."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from OpenSSL import crypto

from mailproxy.doctor.certificates import Seen
from mailproxy.sandbox.pki import Authority


def seen(*chain):
    """The certificates of a chain, the peer's own first, as they are judged: from the root on."""
    found = Seen()
    for depth, certificate in reversed(list(enumerate(chain))):
        found(crypto.X509.from_cryptography(certificate), depth)
    return found


def certificate(issued):
    return x509.load_pem_x509_certificate(issued.certificate_pem)


def test_names_issuer_dates_and_chain():
    authority = Authority.create("The CA")
    ends = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
    leaf = certificate(authority.issue("mail.example.com", "*.example.com", "192.0.2.1", not_after=ends))
    found = seen(leaf, authority.certificate)
    facts = found.facts()
    assert facts["names"] == ["mail.example.com", "*.example.com", "192.0.2.1"]
    assert facts["issuer"] == "CN=The CA"
    assert facts["valid_until"] == "2040-01-02 03:04:05 UTC"
    assert facts["chain"] == ["CN=mail.example.com", "CN=The CA"]
    assert 20 < found.days_left(datetime.now(UTC)) < 31


def test_one_that_has_ended():
    authority = Authority.create()
    ended = datetime.now(UTC) - timedelta(days=3)
    leaf = certificate(authority.issue("a.example", not_before=ended - timedelta(days=1), not_after=ended))
    assert seen(leaf).days_left(datetime.now(UTC)) < 0


def test_names_that_follow_no_rule_are_left_out():
    names = [x509.DNSName("*.*.example.com"), x509.DNSName("good.example.com")]
    facts = seen(certificate(Authority.create().issue(sans=names, common_name="x"))).facts()
    assert "names" not in facts
    assert facts["chain"] == ["CN=x"]


def test_nothing_was_seen():
    assert Seen().facts() == {}
    assert Seen().days_left(datetime.now(UTC)) is None
