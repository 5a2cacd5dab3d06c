"""The files of a listener's certificates: what is wrong with them at the start, and what follows when they change."""

from __future__ import annotations

import datetime as dt
import gc
import shutil
import ssl

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from mailproxy.config import CertificateConfig
from mailproxy.errors import ConfigError
from mailproxy.sandbox import pki
from mailproxy.sandbox.pki import Authority
from tests.tls.handshake import AnyClient, go_on, listener_tls, say_hello, shake_hands, write_certificate
from tests.tls.logs import sentences
from tests.tls.loopback import AUTHORITY, HOST, OTHER_AUTHORITY

WHERE = "mailproxy.toml: listener_tls.inside."
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
SENTINEL = b"c2VudGluZWwgb2YgYSBrZXk="
GOOD = AUTHORITY.issue(HOST)


def pem(key, form=PrivateFormat.PKCS8, encryption=None):
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def issue_for(key):
    """A certificate for a key of any kind."""
    builder = pki._begin(pki._name(HOST), AUTHORITY.certificate.subject, key, None, None)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), False)
    certificate = AUTHORITY._sign(pki._as_leaf(builder, client=False)).public_bytes(Encoding.PEM)
    return pki.Issued(certificate, pem(key), certificate)


def problems(*certificates, **settings):
    with pytest.raises(ConfigError) as caught:
        listener_tls(*certificates, where=WHERE, **settings)
    assert all(each.startswith(WHERE) for each in caught.value.problems)
    return [each.removeprefix(WHERE) for each in caught.value.problems]


# --- what can be used ---


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(rsa.generate_private_key(65537, 2048), id="RSA"),
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="ECDSA"),
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="Ed25519"),
    ],
)
def test_every_usual_kind_of_key_is_good(tmp_path, key):
    assert shake_hands(listener_tls(write_certificate(tmp_path, issue_for(key)))).good


def test_a_key_may_be_in_the_old_form_behind_its_parameters(tmp_path):
    files = write_certificate(tmp_path, GOOD)
    old = pem(load_pem_private_key(GOOD.key_pem, None), PrivateFormat.TraditionalOpenSSL)
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    files.key.write_bytes(parameters + old)
    assert shake_hands(listener_tls(files)).good


def test_key_and_certificate_may_be_in_one_file(tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(GOOD.key_pem + GOOD.chain_pem)
    assert shake_hands(listener_tls(CertificateConfig(both, both))).good


def test_the_default_may_be_good_for_addresses_alone(tmp_path):
    assert shake_hands(listener_tls(write_certificate(tmp_path, AUTHORITY.issue("192.0.2.1")))).good


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"not_before": NOW - 9 * DAY, "not_after": NOW - DAY}, f"has expired on {NOW - DAY:%Y-%m-%d}"),
        ({"not_before": NOW + DAY}, f"is not valid before {NOW + DAY:%Y-%m-%d}"),
    ],
)
def test_a_certificate_out_of_its_time_is_used_with_a_warning(tmp_path, times, words):
    files = write_certificate(tmp_path, AUTHORITY.issue(HOST, **times))
    with capturedLogs() as events:
        assert shake_hands(listener_tls(files)).good
    assert sentences(events, LogLevel.warn) == [f"{WHERE}certificates[0].certificate: {files.certificate}: {words}"]


# --- what cannot ---


def test_every_file_that_is_missing_is_named(tmp_path):
    missing = CertificateConfig(tmp_path / "no.pem", tmp_path / "no.key", tmp_path / "no.chain")
    found = problems(
        write_certificate(tmp_path, GOOD),
        missing,
        evolve(missing, certificate=tmp_path),
        client_certificates="required",
        client_ca_files=(tmp_path / "no.ca",),
    )
    assert found == [
        f"certificates[1].certificate: {tmp_path}/no.pem: cannot be read: No such file or directory",
        f"certificates[1].chain: {tmp_path}/no.chain: cannot be read: No such file or directory",
        f"certificates[1].key: {tmp_path}/no.key: cannot be read: No such file or directory",
        f"certificates[2].certificate: {tmp_path}: is no file",
        f"certificates[2].chain: {tmp_path}/no.chain: cannot be read: No such file or directory",
        f"certificates[2].key: {tmp_path}/no.key: cannot be read: No such file or directory",
        f"client_ca_files[0]: {tmp_path}/no.ca: cannot be read: No such file or directory",
    ]


ENCRYPTED = pem(ec.generate_private_key(ec.SECP256R1()), encryption=BestAvailableEncryption(b"secret"))
ENCRYPTED_OLD = (
    b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n"
    + SENTINEL
    + b"\n-----END EC PRIVATE KEY-----\n"
)
BROKEN = b"-----BEGIN PRIVATE KEY-----\n" + SENTINEL + b"\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("part", "octets", "reason"),
    [
        ("certificate", b"", "no certificate in PEM form, or a broken one"),
        ("certificate", GOOD.key_pem, "no certificate in PEM form, or a broken one"),
        ("certificate", GOOD.certificate_pem.replace(b"MII", b"AAA", 1), "no certificate in PEM form, or a broken one"),
        ("certificate", b"#" * 300_000, "is longer than 262144 octets"),
        ("certificate", AUTHORITY.issue(sans=()).chain_pem, None),
        ("chain", b"# nothing\n", "no certificate in PEM form, or a broken one"),
        ("key", b"", "no private key in PEM form"),
        ("key", GOOD.chain_pem, "no private key in PEM form"),
        ("key", SENTINEL, "no private key in PEM form"),
        ("key", ENCRYPTED, "the private key is encrypted, and nobody is here to type its password"),
        ("key", ENCRYPTED_OLD, "the private key is encrypted, and nobody is here to type its password"),
        ("key", BROKEN, "the private key is broken"),
        ("key", pem(ed448.Ed448PrivateKey.generate()), "the private key is neither RSA, ECDSA nor Ed25519"),
        ("key", pem(dsa.generate_private_key(2048)), "the private key is neither RSA, ECDSA nor Ed25519"),
        ("key", AUTHORITY.issue(HOST).key_pem, "does not fit the certificate in {folder}/mail.pem"),
        ("key", pem(rsa.generate_private_key(65537, 2048)), "does not fit the certificate in {folder}/mail.pem"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason_and_nothing_out_of_it(tmp_path, part, octets, reason):
    files = evolve(write_certificate(tmp_path, GOOD), chain=AUTHORITY.write(tmp_path / "chain.pem"))
    getattr(files, part).write_bytes(octets)
    if reason is None:
        part, reason = "key", "does not fit the certificate in {folder}/mail.pem"
    path = getattr(files, part)
    assert problems(files) == [f"certificates[0].{part}: {path}: {reason.format(folder=tmp_path)}"]


@pytest.mark.parametrize(
    ("issued", "reason"),
    [
        (AUTHORITY.issue(sans=()), "has no subjectAltName, so that no client takes it for any host"),
        (AUTHORITY.issue(sans=[x509.RFC822Name("a@b.example")]), "names no host that a client could ask for"),
        (AUTHORITY.issue(sans=[x509.DNSName("a b"), x509.DNSName("*")]), "names no host that a client could ask for"),
    ],
)
def test_a_certificate_that_names_no_host_is_an_error(tmp_path, issued, reason):
    files = write_certificate(tmp_path, issued)
    assert problems(files) == [f"certificates[0].certificate: {files.certificate}: {reason}"]


def test_a_certificate_that_nobody_could_ask_for_is_an_error(tmp_path):
    default = write_certificate(tmp_path, GOOD)
    other = write_certificate(tmp_path, AUTHORITY.issue("192.0.2.1"), "other")
    assert problems(default, other) == [
        f"certificates[1].certificate: {other.certificate}: names no host that a client could ask for"
    ]


def test_a_name_extension_that_cannot_be_read_is_an_error(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    builder = pki._begin(pki._name(HOST), AUTHORITY.certificate.subject, key, None, None)
    names = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x07\x82\x10mail")
    certificate = AUTHORITY._sign(pki._as_leaf(builder.add_extension(names, False), client=False))
    octets = certificate.public_bytes(Encoding.PEM)
    files = write_certificate(tmp_path, pki.Issued(octets, pem(key), octets))
    [problem] = problems(files)
    assert problem.startswith(f"certificates[0].certificate: {files.certificate}: its extensions cannot be read: ")


def test_a_certificate_for_a_kind_of_key_that_nobody_knows_is_an_error(tmp_path):
    oid_of_ed25519 = bytes.fromhex("06032b6570")
    issued = issue_for(ed25519.Ed25519PrivateKey.generate())
    octets = x509.load_pem_x509_certificate(issued.certificate_pem).public_bytes(Encoding.DER)
    unknown = octets.replace(oid_of_ed25519, bytes.fromhex("06032b657f"))
    assert unknown != octets
    files = write_certificate(tmp_path, issued)
    files.certificate.write_bytes(ssl.DER_cert_to_PEM_cert(unknown).encode())
    assert problems(files) == [f"certificates[0].key: {files.key}: does not fit the certificate in {files.certificate}"]


def test_a_key_that_is_too_weak_is_an_error(tmp_path):
    weak = rsa.generate_private_key(65537, 1024)
    files = write_certificate(tmp_path, issue_for(weak))
    [problem] = problems(files)
    assert problem == f"certificates[0].certificate: {files.certificate}: OpenSSL does not take it: ee key too small"


# --- what changes ---


class Inside:
    """A listener's TLS over files that change, and a client that looks."""

    def __init__(self, folder):
        self.folder = folder
        self.clock = Clock()
        self.files = write_certificate(folder, GOOD)
        self.ca = OTHER_AUTHORITY.write(folder / "ca.pem")
        self.tls = listener_tls(
            self.files, client_certificates="optional", client_ca_files=(self.ca,), seconds=self.clock.seconds
        )

    def shown(self, seconds=1.0):
        self.clock.advance(seconds)
        return shake_hands(self.tls).shown


@pytest.fixture
def inside(tmp_path):
    return Inside(tmp_path)


def test_a_new_certificate_is_shown_to_new_connections(inside):
    before = inside.tls.serverConnectionForTLS(None)
    renewed = AUTHORITY.issue(HOST)
    renewed.write(inside.folder, "mail")
    assert inside.shown(0.5) == GOOD.certificate_pem
    assert inside.shown(0.5) == renewed.certificate_pem
    assert before.get_context() is not inside.tls.serverConnectionForTLS(None).get_context()


def test_a_certificate_without_its_key_is_not_shown_until_both_are_there(inside):
    renewed = AUTHORITY.issue(HOST)
    with capturedLogs() as events:
        inside.files.certificate.write_bytes(renewed.chain_pem)
        assert [inside.shown() for _ in range(3)] == [GOOD.certificate_pem] * 3
        inside.files.key.write_bytes(renewed.key_pem)
        assert inside.shown() == renewed.certificate_pem
    reason = f"certificates[0].key: {inside.files.key}: does not fit the certificate in {inside.files.certificate}"
    assert sentences(events, LogLevel.warn) == [
        f"files have changed and cannot be used, those before stay in use: {WHERE}{reason}"
    ]


@pytest.mark.parametrize("octets", [b"", BROKEN, ENCRYPTED_OLD])
def test_a_broken_key_is_not_in_the_log(inside, octets):
    with capturedLogs() as events:
        inside.files.key.write_bytes(octets)
        assert inside.shown() == GOOD.certificate_pem
    [warning] = sentences(events, LogLevel.warn)
    assert str(inside.files.key) in warning
    assert SENTINEL.decode() not in repr(events)


def test_everything_is_followed_or_nothing(inside):
    """A new certificate that is good does not come into use beside authorities that are broken."""
    renewed = AUTHORITY.issue(HOST)
    renewed.write(inside.folder, "mail")
    inside.ca.write_bytes(b"broken")
    assert inside.shown() == GOOD.certificate_pem
    Authority.create().write(inside.ca)
    assert inside.shown() == renewed.certificate_pem


def test_clients_of_a_new_authority_come_in_and_those_of_the_old_do_not(inside):
    new = Authority.create("new clients' CA")
    of_old, of_new = (AnyClient(shows=each.issue("robot", client=True)) for each in (OTHER_AUTHORITY, new))
    assert (shake_hands(inside.tls, of_old).good, shake_hands(inside.tls, of_new).good) == (True, False)
    new.write(inside.ca)
    inside.clock.advance(1)
    assert (shake_hands(inside.tls, of_old).good, shake_hands(inside.tls, of_new).good) == (False, True)


def test_a_mounted_secret_that_is_swapped_is_followed(tmp_path):
    first, second = AUTHORITY.issue(HOST), AUTHORITY.issue(HOST)
    for folder, issued in (("..1", first), ("..2", second)):
        write_certificate(tmp_path / folder, issued, "tls")
    (tmp_path / "..data").symlink_to("..1")
    for name in ("tls.pem", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    clock = Clock()
    tls = listener_tls(CertificateConfig(tmp_path / "tls.pem", tmp_path / "tls.key"), seconds=clock.seconds)
    assert shake_hands(tls).shown == first.certificate_pem
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    shutil.rmtree(tmp_path / "..1")
    clock.advance(1)
    assert shake_hands(tls).shown == second.certificate_pem


def test_a_handshake_that_spans_a_change_ends_as_it_began(inside):
    client = AnyClient(HOST.encode()).clientConnectionForTLS(None)
    client.set_connect_state()
    server = inside.tls.serverConnectionForTLS(None)
    server.set_accept_state()
    say_hello(client, server)
    renewed = AUTHORITY.issue(HOST)
    renewed.write(inside.folder, "mail")
    assert inside.shown() == renewed.certificate_pem
    gc.collect()
    result = go_on(client, server)
    assert result.good
    assert result.shown == GOOD.certificate_pem
