"""
What SAP's documentation tells people to type works as it stands there.
"""

from __future__ import annotations

import pytest

from tests.integration.conftest import Launch, NewSetup
from tests.support.accounts import ACCOUNTS, ACME
from tests.support.bed import Bed
from tests.support.letters import Letter
from tests.support.proxy import Proxy
from tests.support.routes import BASIC, Route, properties_of
from tests.support.setup import FILES
from tests.support.terminal import Terminal, bare_socket, telnet

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_empty_mailboxes")]

SMTP, POP3S = (Route(kind, BASIC, FILES) for kind in ("smtp", "pop3s"))


@pytest.fixture(scope="module")
def proxy(bed: Bed, new_setup: NewSetup, launch: Launch) -> Proxy:
    """A proxy for sending and for collecting."""
    setup = new_setup()
    for route in (SMTP, POP3S):
        for account in ACCOUNTS:
            setup.add(account.tenant, properties_of(route, bed, account, setup.token_url), route.service)
    return launch(setup)


@pytest.mark.parametrize("connect", [bare_socket, telnet])
def test_a_mail_is_sent_and_read_back(bed: Bed, proxy: Proxy, connect) -> None:
    with connect(proxy.ports[ACME.tenant, SMTP.name]) as terminal:
        assert terminal.read_reply().startswith(b"220 ")
        assert terminal.ask("MAIL FROM:sender@transparentproxy.com").startswith(b"250 ")
        assert terminal.ask(f"RCPT TO:{ACME.address}").startswith(b"250 ")
        assert terminal.ask("DATA").startswith(b"354 ")
        for line in ("", "Some test data.", ""):
            terminal.type(line)
        assert terminal.ask(".").startswith(b"250 ")
    bed.mailbox(ACME).wait_for(b"\nSome test data.\n")
    with connect(proxy.ports[ACME.tenant, POP3S.name]) as terminal:
        assert terminal.read_line().startswith(b"+OK")
        assert _ask_for_list(terminal).startswith(b"1 ")
        assert terminal.ask("retr 1").startswith(b"+OK")
        assert b"\nSome test data.\n" in terminal.read_body()
        assert terminal.ask("retr 2").startswith(b"-ERR")
        assert terminal.ask("quit").startswith(b"+OK")
        assert terminal.read_line() in {b"", b"Connection closed by foreign host."}


def test_a_dropped_connection_deletes_nothing(bed: Bed, proxy: Proxy) -> None:
    bed.mailbox(ACME).put(Letter(ACME.address).octets)
    with bare_socket(proxy.ports[ACME.tenant, POP3S.name]) as terminal:
        terminal.read_line()
        assert terminal.ask("dele 1").startswith(b"+OK")
    proxy.wait_for_log(f"{ACME.tenant}/{POP3S.name}.*ended: (?!quit)")
    assert len(bed.mailbox(ACME).messages()) == 1


def test_quit_deletes_what_was_marked(bed: Bed, proxy: Proxy) -> None:
    bed.mailbox(ACME).put(Letter(ACME.address).octets)
    with bare_socket(proxy.ports[ACME.tenant, POP3S.name]) as terminal:
        terminal.read_line()
        assert terminal.ask("dele 1").startswith(b"+OK")
        assert terminal.ask("quit").startswith(b"+OK")
    assert bed.mailbox(ACME).messages() == []


def _ask_for_list(terminal: Terminal) -> bytes:
    assert terminal.ask("list").startswith(b"+OK")
    return terminal.read_body()
