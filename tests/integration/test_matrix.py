"""
Every kind of destination, with every kind of login, for two tenants at once, by every client.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.conftest import Launch, NewSetup
from tests.support.accounts import ACCOUNTS, Account
from tests.support.bed import Bed
from tests.support.clients import COLLECTORS, DELETERS, SENDERS, Visitor
from tests.support.leaks import leaked
from tests.support.letters import Letter, body_of
from tests.support.proxy import Proxy
from tests.support.routes import BASIC, KINDS, OAUTH, Route, properties_of
from tests.support.setup import CLOUD, FILES
from tests.support.tools import Tools
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_empty_mailboxes")]

ROUTES = [Route(kind, login, service) for kind in KINDS for login in (BASIC, OAUTH) for service in (FILES, CLOUD)]
SMTP_ROUTES = [route for route in ROUTES if route.kind.startswith("smtp")]
POP3_ROUTES = [route for route in ROUTES if route.kind.startswith("pop3")]
MECHANISMS = {BASIC: {"PLAIN"}, OAUTH: {"XOAUTH2", "OAUTHBEARER"}}


@pytest.fixture(scope="module")
def proxy(bed: Bed, new_setup: NewSetup, launch: Launch) -> Proxy:
    """One proxy for all of it."""
    setup = new_setup()
    for route in ROUTES:
        for account in ACCOUNTS:
            setup.add(account.tenant, properties_of(route, bed, account, setup.token_url), route.service)
    return launch(setup)


def _together(act: Callable[[Account], object]) -> None:
    """Both tenants do it at the same time."""
    with ThreadPoolExecutor(len(ACCOUNTS)) as threads:
        list(threads.map(act, ACCOUNTS))


@pytest.mark.parametrize("client", SENDERS)
@pytest.mark.parametrize("route", SMTP_ROUTES, ids=lambda route: route.name)
def test_each_tenant_sends_under_its_own_login(bed: Bed, tools: Tools, proxy: Proxy, route: Route, client: str) -> None:
    letters = {account: Letter(account.address) for account in ACCOUNTS}
    _together(lambda account: SENDERS[client](tools, proxy.ports[account.tenant, route.name], letters[account]))
    listener = {"smtp": "submission", "smtps": "submissions"}[route.kind]
    for account, letter in letters.items():
        message = bed.mailbox(account).wait_for(letter.marker.encode())
        assert body_of(message) == letter.body
        assert f"(Authenticated sender: {account.user})".encode() in message
        used, mechanism, user = bed.postfix.login_of(letter.message_id)
        assert (used, user) == (listener, account.user)
        assert mechanism in MECHANISMS[route.authentication]
    for account in ACCOUNTS:
        assert len(bed.mailbox(account).messages()) == 1


@pytest.mark.parametrize("client", COLLECTORS)
@pytest.mark.parametrize("route", POP3_ROUTES, ids=lambda route: route.name)
def test_each_tenant_collects_its_own_mail(bed: Bed, tools: Tools, proxy: Proxy, route: Route, client: str) -> None:
    letters = {account: [Letter(account.address) for _ in range(2)] for account in ACCOUNTS}
    for account, own in letters.items():
        for letter in own:
            bed.mailbox(account).put(letter.octets)
    place = len(bed.dovecot.log)

    def collect(account: Account) -> None:
        messages = COLLECTORS[client](tools, proxy.ports[account.tenant, route.name], Visitor())
        assert sorted(map(body_of, messages)) == sorted(letter.body for letter in letters[account])

    _together(collect)
    for account in ACCOUNTS:
        assert len(bed.mailbox(account).messages()) == (0 if client in DELETERS else 2)
        mechanisms = until(lambda user=account.user: _logins(bed, place, user), f"{account.user} in Dovecot's log")
        assert mechanisms <= MECHANISMS[route.authentication]


def _logins(bed: Bed, place: int, user: str) -> set[str]:
    """The mechanisms by which this user has logged in to Dovecot, over TLS, since its log was `place` long."""
    lines = re.findall(rf"Login: user=<{user}>, method=(\w+), .*, TLS,", bed.dovecot.log[place:])
    return {mechanism.upper() for mechanism in lines}


def test_no_secret_is_in_the_log(proxy: Proxy) -> None:
    assert leaked(proxy.log) == []
