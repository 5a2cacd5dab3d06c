"""
Connections to a real Postfix that are used again; its log says how many there were, and how each ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.integration.conftest import NewSetup
from tests.support.accounts import ACME, GLOBEX
from tests.support.bed import Bed
from tests.support.clients import SENDERS
from tests.support.letters import Letter, body_of
from tests.support.programs import run
from tests.support.proxy import Proxy, running
from tests.support.routes import basic
from tests.support.setup import FILES, Setup
from tests.support.tools import Tools
from tests.support.waiting import listens, until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_empty_mailboxes")]

NAME = "submission"
"""Of the destination, and of Postfix's listener."""

Send = Callable[[Proxy, str], Letter]


@pytest.fixture
def setup(bed: Bed, new_setup: NewSetup) -> Setup:
    """Two tenants at one mail server."""
    setup = new_setup()
    for account in (ACME, GLOBEX):
        setup.add(account.tenant, basic(NAME, "smtp", bed.postfix.ports[NAME], account), FILES)
    return setup


@pytest.fixture
def send(bed: Bed, tools: Tools) -> Send:
    """A session of a tenant that sends one letter, which arrives."""

    def send(proxy: Proxy, tenant: str) -> Letter:
        letter = Letter(ACME.address)
        SENDERS["smtplib"](tools, proxy.ports[tenant, NAME], letter)
        assert body_of(bed.mailbox(ACME).wait_for(letter.marker.encode())) == letter.body
        return letter

    return send


def connections(log: str) -> int:
    """How many Postfix has seen."""
    return len(re.findall(rf"postfix/{NAME}/smtpd\[\d+\]: connect from", log))


def ends(log: str) -> list[str]:
    """What Postfix says of each at its end."""
    return re.findall(rf"postfix/{NAME}/smtpd\[\d+\]: disconnect from .*", log)


def test_sessions_of_a_tenant_share_a_connection_and_no_other_tenant_does(bed: Bed, setup: Setup, send: Send) -> None:
    place = len(bed.postfix.log)
    with running(setup) as proxy:
        users = {
            bed.postfix.login_of(send(proxy, account.tenant).message_id)[2]: account
            for account in (ACME, GLOBEX, ACME, GLOBEX, ACME)
        }
        assert connections(bed.postfix.log[place:]) == 2
    assert users == {ACME.user: ACME, GLOBEX.user: GLOBEX}


def test_at_the_end_connections_that_nobody_uses_say_goodbye(bed: Bed, setup: Setup, send: Send) -> None:
    place = len(bed.postfix.log)
    with running(setup) as proxy:
        send(proxy, ACME.tenant)
        send(proxy, GLOBEX.tenant)
        assert ends(bed.postfix.log[place:]) == []
    until(lambda: len(ends(bed.postfix.log[place:])) == 2, "Postfix to see both end")
    assert all("quit=1" in end for end in ends(bed.postfix.log[place:]))


def test_nobody_notices_that_the_mail_server_was_restarted(bed: Bed, setup: Setup, send: Send) -> None:
    etc = bed.postfix.home / "etc"
    with running(setup) as proxy:
        send(proxy, ACME.tenant)
        run(["postfix", "-c", etc, "abort"])
        run(["postfix", "-c", etc, "start"])
        until(lambda: all(map(listens, bed.postfix.ports.values())), "Postfix to listen again")
        place, said = len(bed.postfix.log), len(proxy.log)
        send(proxy, ACME.tenant)
        assert connections(bed.postfix.log[place:]) == 1
        assert "lost" not in proxy.log_from(said)


def test_without_a_pool_each_session_has_a_connection_of_its_own(bed: Bed, setup: Setup, send: Send) -> None:
    setup.head = "pool.enabled = false"
    place = len(bed.postfix.log)
    with running(setup) as proxy:
        for _ in range(2):
            send(proxy, ACME.tenant)
    assert connections(bed.postfix.log[place:]) == 2
