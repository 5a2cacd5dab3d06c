"""Whom we believe."""

import pytest
import pytest_twisted
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from mailproxy.sandbox.pki import Authority
from mailproxy.tls import ClientTLS, Trust, read_trust
from mailproxy.tls.trust import MAX_BUNDLE_OCTETS
from tests.tls.logs import sentences
from tests.tls.loopback import (
    AUTHORITY,
    HOST,
    OTHER_AUTHORITY,
    SETTINGS,
    ServerTLS,
    assert_accepted,
    assert_refused,
    attempt,
    attempt_with,
)


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


# --- bundles in files ---

WHERE = "mailproxy.toml: trust."


def test_without_files_the_trust_never_changes():
    trust, problems = read_trust((), platform=True, where=WHERE, seconds=lambda: 0.0)
    assert problems == []
    assert trust.current() is trust
    assert trust == Trust()


@pytest.mark.parametrize("platform", [True, False])
def test_files_are_what_is_trusted(tmp_path, platform):
    files = [AUTHORITY.write(tmp_path / "one.pem"), OTHER_AUTHORITY.write(tmp_path / "two.pem")]
    trust, problems = read_trust(files, platform=platform, where=WHERE, seconds=lambda: 0.0)
    assert problems == []
    assert trust.current() == Trust(platform, (AUTHORITY.certificate_pem, OTHER_AUTHORITY.certificate_pem))
    assert trust.current() is trust.current()


def test_every_bundle_that_cannot_be_used_is_named(tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    large = tmp_path / "large.pem"
    large.write_bytes(b"#" * (MAX_BUNDLE_OCTETS + 1))
    files = (AUTHORITY.write(tmp_path / "good.pem"), tmp_path / "none.pem", broken, large, tmp_path)
    trust, problems = read_trust(files, platform=False, where=WHERE, seconds=lambda: 0.0)
    assert problems == [
        f"{WHERE}ca_files[1]: {tmp_path}/none.pem: cannot be read: No such file or directory",
        f"{WHERE}ca_files[2]: {broken}: no certificate in PEM form, or a broken one",
        f"{WHERE}ca_files[3]: {large}: is longer than {MAX_BUNDLE_OCTETS} octets",
        f"{WHERE}ca_files[4]: {tmp_path}: is no file",
    ]
    assert trust.current() == Trust()


@pytest_twisted.ensureDeferred
async def test_connections_follow_the_files_and_a_broken_bundle_changes_nothing(tmp_path):
    clock = Clock()
    bundle = AUTHORITY.write(tmp_path / "ca.pem")
    trust, _ = read_trust([bundle], platform=False, where=WHERE, seconds=clock.seconds)
    client_tls = ClientTLS(trust)

    async def believes(authority):
        result = await attempt_with("implicit", authority.issue(HOST), client_tls=client_tls)
        return result.verified

    context = client_tls.options(HOST, SETTINGS)._context
    clock.advance(10)
    assert client_tls.options(HOST, SETTINGS)._context is context
    assert (await believes(AUTHORITY), await believes(OTHER_AUTHORITY)) == (True, False)
    with capturedLogs() as events:
        bundle.write_bytes(b"broken")
        for _ in range(3):
            clock.advance(1)
            assert (await believes(AUTHORITY), await believes(OTHER_AUTHORITY)) == (True, False)
    reason = f"{WHERE}ca_files[0]: {bundle}: no certificate in PEM form, or a broken one"
    assert sentences(events, LogLevel.warn) == [
        f"files have changed and cannot be used, those before stay in use: {reason}"
    ]
    OTHER_AUTHORITY.write(bundle)
    clock.advance(1)
    assert (await believes(AUTHORITY), await believes(OTHER_AUTHORITY)) == (False, True)


@pytest_twisted.ensureDeferred
async def test_a_creator_from_before_a_change_stays_as_it_was(tmp_path):
    clock = Clock()
    bundle = AUTHORITY.write(tmp_path / "ca.pem")
    trust, _ = read_trust([bundle], platform=False, where=WHERE, seconds=clock.seconds)
    client_tls = ClientTLS(trust)
    creator = client_tls.options(HOST, SETTINGS)
    OTHER_AUTHORITY.write(bundle)
    clock.advance(1)
    client_tls.options(HOST, SETTINGS)
    assert_accepted(await attempt("implicit", creator, ServerTLS(AUTHORITY.issue(HOST))))
