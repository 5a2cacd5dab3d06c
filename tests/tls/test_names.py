"""Names in certificates: one for every doubt."""

import ipaddress

import pytest
import pytest_twisted
from cryptography import x509
from OpenSSL import SSL

from mailproxy.sandbox import pki
from mailproxy.tls import names
from tests.tls.loopback import (
    ANOTHER_HOST,
    AUTHORITY,
    HOST,
    NO_USABLE_NAME,
    SETTINGS,
    TLS,
    address,
    assert_accepted,
    assert_refused,
    attempt_with,
    both_ways,
    dns,
)


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

    monkeypatch.setattr(names, "verify_service_identity", fails)
    assert_refused(await attempt_with(way, AUTHORITY.issue(HOST)), NO_USABLE_NAME)


def test_names_in_the_operators_sentence_are_escaped_and_bounded():
    issued = AUTHORITY.issue(sans=dns("x\x1b[31m.example", *(f"host{n}.example" for n in range(99))))
    certificate = SSL.X509.from_cryptography(x509.load_pem_x509_certificate(issued.certificate_pem))
    sentence = names.name_problem(certificate, names.service_identity(HOST))
    assert r"x\x1b[31m.example" in sentence
    assert len(sentence) < 400


@pytest.mark.parametrize("host", ["", ".", "a b", "mail example", "1234", "a\r\nb", "b\u00fc\u0000cher"])
def test_what_can_be_no_host_is_an_error_before_any_connection(host):
    with pytest.raises(ValueError, match="is no host name"):
        TLS.options(host, SETTINGS)
