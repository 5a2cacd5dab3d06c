"""The throw-away certificates are what a strict verifier accepts, and carry what was asked for."""

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from mailproxy.sandbox.pki import Authority


def verify_server(authority, issued, subject):
    leaf, *above = x509.load_pem_x509_certificates(issued.chain_pem)
    store = Store([x509.load_pem_x509_certificate(authority.certificate_pem)])
    return PolicyBuilder().store(store).build_server_verifier(subject).verify(leaf, above)


def alternative_names(issued):
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem)
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def test_a_server_certificate_satisfies_a_strict_verifier_for_its_name_and_its_address():
    authority = Authority.create()
    issued = authority.issue("mail.example.com", "127.0.0.1")
    verify_server(authority, issued, x509.DNSName("mail.example.com"))
    verify_server(authority, issued, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    with pytest.raises(VerificationError):
        verify_server(authority, issued, x509.DNSName("other.example.com"))


def test_a_subordinate_authority_comes_along_in_the_chain():
    authority = Authority.create()
    issued = authority.subordinate().issue("mail.example.com")
    assert issued.chain_pem.startswith(issued.certificate_pem)
    assert issued.chain_pem.count(b"BEGIN CERTIFICATE") == 2
    assert len(verify_server(authority, issued, x509.DNSName("mail.example.com"))) == 3


def test_the_private_key_fits_and_stays_out_of_repr():
    issued = Authority.create().issue("mail.example.com")
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem)
    assert load_pem_private_key(issued.key_pem, None).public_key() == certificate.public_key()
    assert "PRIVATE" not in repr(issued)


def test_names_are_sorted_into_dns_names_and_addresses():
    issued = Authority.create().issue("*.example.com", "::1")
    assert alternative_names(issued) == [
        x509.DNSName("*.example.com"),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]


def test_given_entries_replace_the_names_and_no_entries_leave_the_extension_out():
    authority = Authority.create()
    assert alternative_names(authority.issue("a.example", sans=[x509.RFC822Name("a@example.com")])) == [
        x509.RFC822Name("a@example.com")
    ]
    with pytest.raises(x509.ExtensionNotFound):
        alternative_names(authority.issue("a.example", sans=()))


def test_validity_and_purpose_are_as_asked():
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    end = dt.datetime(2020, 2, 1, tzinfo=dt.UTC)
    issued = Authority.create().issue("a.example", not_before=start, not_after=end, client=True)
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem)
    assert (certificate.not_valid_before_utc, certificate.not_valid_after_utc) == (start, end)
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_files_hold_the_chain_and_a_key_only_its_owner_may_read(tmp_path):
    authority = Authority.create()
    issued = authority.subordinate().issue("mail.example.com")
    certificate, key = issued.write(tmp_path, "mail")
    assert certificate == tmp_path / "mail.pem"
    assert certificate.read_bytes() == issued.chain_pem
    assert key == tmp_path / "mail.key"
    assert key.read_bytes() == issued.key_pem
    assert key.stat().st_mode & 0o777 == 0o600
    assert authority.write(tmp_path / "ca.pem").read_bytes() == authority.certificate_pem
