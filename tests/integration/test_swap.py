"""
Each tenant's secrets are its own: exchanged, they open nothing.
"""

from __future__ import annotations

import pytest

from tests.integration.conftest import Launch, NewSetup
from tests.support.accounts import ACCOUNTS, ACME, GLOBEX, Account
from tests.support.bed import Bed
from tests.support.cloud import MailClient
from tests.support.leaks import leaked
from tests.support.letters import Letter
from tests.support.proxy import Proxy
from tests.support.routes import KINDS, Properties, basic, oauth, server_port
from tests.support.setup import CLOUD, FILES, Setup
from tests.support.terminal import bare_socket
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_empty_mailboxes")]

OTHER = {ACME: GLOBEX, GLOBEX: ACME}
OWN, SWAPPED = ("own-password", "own-client"), ("other-password", "other-client-secret", "other-client")
SERVICES = (FILES, CLOUD)
LOGIN = "Login: user="
TEMPORARY_SMTP, PERMANENT_POP3 = b"451 4.7.0 ", b"-ERR [SYS/PERM] "


def _name(case: str, kind: str, service: str) -> str:
    return f"{case}-{kind}-{service}"


def _properties(case: str, kind: str, service: str, bed: Bed, account: Account, url: str) -> Properties:
    name, port, other = _name(case, kind, service), server_port(bed, kind), OTHER[account]
    swaps = {
        "other-client-secret": {"clientSecret": MailClient.of(other).secret},
        "other-client": {"clientSecret": MailClient.of(other).secret, "clientId": MailClient.of(other).id},
    }
    match case:
        case "own-password":
            return basic(name, kind, port, account)
        case "other-password":
            return basic(name, kind, port, account, **{"mail.password": other.password})
        case _:
            return oauth(name, kind, port, account, url, **swaps.get(case, {}))


@pytest.fixture(scope="module")
def setup(bed: Bed, new_setup: NewSetup) -> Setup:
    """Own and exchanged secrets side by side."""
    setup = new_setup()
    for service in SERVICES:
        for case in (*OWN, *SWAPPED):
            for kind in KINDS:
                for account in ACCOUNTS:
                    setup.add(account.tenant, _properties(case, kind, service, bed, account, setup.token_url), service)
    for kind in KINDS:
        for account in ACCOUNTS:
            setup.add(account.tenant, basic(f"changing-{kind}", kind, server_port(bed, kind), account), FILES)
    return setup


@pytest.fixture(scope="module")
def proxy(setup: Setup, launch: Launch) -> Proxy:
    """All of it in one process."""
    return launch(setup)


def _first_answer(port: int, kind: str) -> bytes:
    """What a client hears that wants to send, or to collect."""
    with bare_socket(port) as terminal:
        greeting = terminal.read_line()
        return terminal.ask("MAIL FROM:<a@b.test>") if kind.startswith("smtp") else greeting


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.tenant)
class TestSideBySide:
    @pytest.mark.parametrize("case", OWN)
    def test_own_secrets_open_a_session(
        self, bed: Bed, proxy: Proxy, service: str, kind: str, account: Account, case: str
    ) -> None:
        place = len(bed.dovecot.log)
        answer = _first_answer(proxy.ports[account.tenant, _name(case, kind, service)], kind)
        assert answer.startswith((b"250 ", b"+OK"))
        if kind.startswith("pop3"):  # or a later test would take this login for one of its own
            until(lambda: f"{LOGIN}<{account.user}>" in bed.dovecot.log[place:], "the login in Dovecot's log")

    @pytest.mark.parametrize("case", SWAPPED)
    def test_the_others_secrets_open_none(
        self, bed: Bed, proxy: Proxy, service: str, kind: str, account: Account, case: str
    ) -> None:
        bed.mailbox(OTHER[account]).put(Letter(account.address).octets)
        place = len(bed.dovecot.log)
        answer = _first_answer(proxy.ports[account.tenant, _name(case, kind, service)], kind)
        assert answer.startswith((TEMPORARY_SMTP, PERMANENT_POP3)), answer
        assert LOGIN not in bed.dovecot.log[place:]


@pytest.mark.parametrize("kind", KINDS)
def test_files_exchanged_while_running_fail_and_mended_files_work_again(
    bed: Bed, setup: Setup, proxy: Proxy, kind: str
) -> None:
    name, port = f"changing-{kind}", server_port(bed, kind)

    def answers() -> list[bytes]:
        return [_first_answer(proxy.ports[account.tenant, name], kind).split()[0] for account in ACCOUNTS]

    fine, refused = ([b"250"] * 2, [b"451"] * 2) if kind.startswith("smtp") else ([b"+OK"] * 2, [b"-ERR"] * 2)
    assert answers() == fine
    for account in ACCOUNTS:
        swapped = {"mail.password": OTHER[account].password}
        setup.write_file(account.tenant, basic(name, kind, port, account, **swapped))
    assert answers() == refused
    for account in ACCOUNTS:
        setup.write_file(account.tenant, basic(name, kind, port, account))
    assert answers() == fine


def test_no_secret_is_in_the_log(proxy: Proxy) -> None:
    assert leaked(proxy.log) == []
