"""
The doctor against a real Postfix and a real Dovecot: what is well is well, and their own words are known.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from tests.integration.conftest import NewSetup
from tests.support.accounts import ACCOUNTS, ACME, Account
from tests.support.bed import Bed
from tests.support.cloud import Cloud
from tests.support.routes import BASIC, KINDS, OAUTH, Route, basic, properties_of
from tests.support.setup import CLOUD, FILES, Setup
from tests.support.tools import CHECKOUT

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_empty_mailboxes")]

WRONG = evolve(ACME, password="not this one")


def check(config: Path, *arguments: str) -> tuple[int, dict]:
    """The status and the document of a run."""
    command = [sys.executable, "-m", "mailproxy", "check", "--config", str(config), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=120, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def troubles(report: dict) -> list[dict]:
    """Every failure in it."""
    return [step["trouble"] for each in report["checks"] for step in each["steps"] if step["trouble"]]


def with_files(bed: Bed, setup: Setup, account: Account, *kinds: str) -> Path:
    """A configuration with the account's destinations as files."""
    for kind in kinds:
        route = Route(kind, BASIC, FILES)
        setup.add(account.tenant, properties_of(route, bed, account, setup.token_url), FILES)
    return setup.write()


@pytest.fixture
def setup(new_setup: NewSetup) -> Setup:
    return new_setup()


def test_every_kind_of_destination_is_well(bed: Bed, setup: Setup) -> None:
    for route in (Route(kind, how, place) for kind in KINDS for how in (BASIC, OAUTH) for place in (FILES, CLOUD)):
        for account in ACCOUNTS:
            setup.add(account.tenant, properties_of(route, bed, account, setup.token_url), route.service)
    cloud = Cloud.start(setup.plan, bed.authority)
    try:
        status, report = check(setup.write())
    finally:
        cloud.daemon.stop()
    assert (status, troubles(report)) == (0, [])
    assert len(report["checks"]) == len(KINDS) * 8
    asked = [step["facts"] for each in report["checks"] for step in each["steps"] if step["step"] == "probe"]
    assert {facts["command"] for facts in asked} == {"NOOP", "STAT"}


def test_the_test_mail_arrives(bed: Bed, setup: Setup) -> None:
    config = with_files(bed, setup, ACME, "smtp")
    status, report = check(config, "--send-to", ACME.address, "--send-from", "sender@inbox.test")
    assert (status, troubles(report)) == (0, [])
    (facts,) = [step["facts"] for step in report["checks"][0]["steps"] if step["step"] == "mail"]
    mail = bed.mailbox(ACME).wait_for(facts["message_id"].encode())
    assert b"Subject: mailproxy check " in mail
    assert re.search(r"queued as \S+", facts["reply"])


@pytest.mark.parametrize(("kind", "answer"), [("smtp", "postfix-auth-failed"), ("pop3s", "dovecot-pop-auth-failed")])
def test_a_wrong_password_is_explained_by_the_servers_own_words(bed: Bed, setup: Setup, kind: str, answer: str) -> None:
    status, report = check(with_files(bed, setup, WRONG, kind))
    (trouble,) = troubles(report)
    assert (status, trouble["answer"], trouble["temporary"]) == (1, answer, False)
    assert WRONG.password not in json.dumps(report)


def test_a_recipient_that_postfix_does_not_relay_to_is_explained(bed: Bed, setup: Setup) -> None:
    config = with_files(bed, setup, ACME, "smtp")
    status, report = check(config, "--send-to", "nobody@inbox.test", "--send-from", "sender@inbox.test")
    (trouble,) = troubles(report)
    assert (status, trouble["answer"]) == (1, "postfix-user-unknown")


INTRODUCED = {
    "v1": ("smtp", "proxied", 'send_proxy = "v1"'),
    "v2": ("smtp", "proxied", 'send_proxy = "v2"'),
    "v2-before-tls": ("smtps", "proxied-tls", 'send_proxy = "v2"'),
    "offered": ("smtp", "xclient", 'xclient = "offered"'),
    "required": ("smtp", "xclient", 'xclient = "required"'),
    "pop3": ("pop3", "proxied", 'send_proxy = "v1"'),
    "pop3s": ("pop3s", "proxied_tls", 'send_proxy = "v2"'),
}
"""Destinations whose mail server has to be told of a client: their kind, their listener, and how it is told."""


def test_a_mail_server_that_is_told_of_clients_is_told_of_the_doctor(bed: Bed, setup: Setup) -> None:
    for name, (kind, listener, text) in INTRODUCED.items():
        port = bed.postfix.ports[listener] if kind.startswith("smtp") else getattr(bed.dovecot, listener)
        setup.add(ACME.tenant, basic(name, kind, port, ACME), FILES)
        setup.more[name] = text
    status, report = check(setup.write(), "--send-to", ACME.address, "--send-from", "sender@inbox.test")
    assert (status, troubles(report)) == (0, [])
    mails = [step["facts"] for each in report["checks"] for step in each["steps"] if step["step"] == "mail"]
    letters = [facts["message_id"] for facts in mails if facts]
    assert {bed.postfix.client_of(each.strip("<>")) for each in letters} == {"unknown[127.0.0.1]"}
    assert len(letters) == 5
