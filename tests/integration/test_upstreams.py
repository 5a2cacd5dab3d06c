"""
Mail servers with other abilities: one mechanism only, no pipelining, no 8-bit text, no TLS.
"""

from __future__ import annotations

import pytest

from tests.integration.conftest import Launch, NewSetup
from tests.support.accounts import ACME
from tests.support.bed import Bed
from tests.support.clients import COLLECTORS, SENDERS, Visitor
from tests.support.letters import Letter, body_of
from tests.support.proxy import Proxy
from tests.support.routes import basic, oauth
from tests.support.setup import FILES
from tests.support.terminal import bare_socket
from tests.support.tools import Tools
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_empty_mailboxes")]

SMTP_MECHANISMS = {
    "only-plain": "PLAIN",
    "only-login": "LOGIN",
    "only-xoauth2": "XOAUTH2",
    "only-oauthbearer": "OAUTHBEARER",
}
POP3_MECHANISMS = {
    "PLAIN": "PLAIN",
    "LOGIN": "PLAIN",  # the destination's word for USER and PASS, which Dovecot logs like this
    "XOAUTH2": "XOAUTH2",
    "OAUTHBEARER": "OAUTHBEARER",
}
TOKEN_MECHANISMS = {"XOAUTH2", "OAUTHBEARER"}


@pytest.fixture(scope="module")
def proxy(bed: Bed, new_setup: NewSetup, launch: Launch) -> Proxy:
    """One listener for each of them."""
    setup = new_setup()
    ports = bed.postfix.ports
    for name, mechanism in SMTP_MECHANISMS.items():
        if mechanism in TOKEN_MECHANISMS:
            setup.add(ACME.tenant, oauth(name, "smtp", ports[name], ACME, setup.token_url), FILES)
        else:
            setup.add(ACME.tenant, basic(name, "smtp", ports[name], ACME), FILES)
    for name in ("no-pipelining", "no-8bitmime", "no-tls"):
        setup.add(ACME.tenant, basic(name, "smtp", ports[name], ACME), FILES)
    opportunistic = {"mail.smtp.starttls.required": "false"}
    setup.add(ACME.tenant, basic("opportunistic", "smtp", ports["no-tls"], ACME, **opportunistic), FILES)
    for mechanism in POP3_MECHANISMS:
        wanted = {"mail.pop3s.auth.mechanisms": mechanism}
        pop3s = bed.dovecot.pop3s
        if mechanism in TOKEN_MECHANISMS:
            setup.add(ACME.tenant, oauth(mechanism, "pop3s", pop3s, ACME, setup.token_url, **wanted), FILES)
        else:
            setup.add(ACME.tenant, basic(mechanism, "pop3s", pop3s, ACME, **wanted), FILES)
    return launch(setup)


@pytest.mark.parametrize(("name", "mechanism"), SMTP_MECHANISMS.items())
def test_the_one_smtp_mechanism_is_used(bed: Bed, tools: Tools, proxy: Proxy, name: str, mechanism: str) -> None:
    letter = Letter(ACME.address)
    SENDERS["smtplib"](tools, proxy.ports[ACME.tenant, name], letter)
    assert bed.postfix.login_of(letter.message_id) == (name, mechanism, ACME.user)
    bed.mailbox(ACME).wait_for(letter.marker.encode())  # or the next test would have it in its mailbox


@pytest.mark.parametrize(("mechanism", "logged"), POP3_MECHANISMS.items())
def test_the_pop3_mechanism_of_the_destination_is_used(
    bed: Bed, tools: Tools, proxy: Proxy, mechanism: str, logged: str
) -> None:
    letter = Letter(ACME.address)
    bed.mailbox(ACME).put(letter.octets)
    place = len(bed.dovecot.log)
    (message,) = COLLECTORS["poplib"](tools, proxy.ports[ACME.tenant, mechanism], Visitor())
    assert body_of(message) == letter.body
    login = f"Login: user=<{ACME.user}>, method={logged},"
    until(lambda: login in bed.dovecot.log[place:], login)


@pytest.mark.parametrize("client", ["smtplib", "curl", "nodemailer"])
@pytest.mark.parametrize("name", ["no-pipelining", "no-8bitmime"])
def test_sends_where_an_extension_is_missing(bed: Bed, tools: Tools, proxy: Proxy, name: str, client: str) -> None:
    letter = Letter(ACME.address)
    SENDERS[client](tools, proxy.ports[ACME.tenant, name], letter)
    assert body_of(bed.mailbox(ACME).wait_for(letter.marker.encode())) == letter.body


def test_commands_sent_together_are_answered_in_order_by_a_server_without_pipelining(bed: Bed, proxy: Proxy) -> None:
    with bare_socket(proxy.ports[ACME.tenant, "no-pipelining"]) as terminal:
        terminal.read_reply()
        terminal.ask("EHLO client.test")
        terminal.type(f"MAIL FROM:<a@b.test>\r\nRCPT TO:<{ACME.address}>\r\nRCPT TO:<>\r\nDATA")
        assert [terminal.read_reply()[:3] for _ in range(4)] == [b"250", b"250", b"501", b"354"]


def test_ehlo_mirrors_the_mail_server(proxy: Proxy) -> None:
    def keywords(name: str) -> set[bytes]:
        with bare_socket(proxy.ports[ACME.tenant, name]) as terminal:
            terminal.read_reply()
            terminal.type("EHLO client.test")
            lines = [terminal.read_line()]
            while lines[-1][3:4] == b"-":
                lines.append(terminal.read_line())
            return {line[4:].split()[0] for line in lines[1:]}

    usual = {b"PIPELINING", b"SIZE", b"8BITMIME", b"SMTPUTF8", b"DSN", b"ENHANCEDSTATUSCODES"}
    assert keywords("only-plain") == usual
    assert keywords("no-pipelining") == usual
    assert keywords("no-8bitmime") == usual - {b"8BITMIME", b"SMTPUTF8"}


def test_without_tls_there_is_no_session(proxy: Proxy) -> None:
    with bare_socket(proxy.ports[ACME.tenant, "no-tls"]) as terminal:
        terminal.read_reply()
        assert terminal.ask("MAIL FROM:<a@b.test>").startswith(b"451 4.7.4 ")


def test_a_password_never_travels_unencrypted_without_the_operators_word(proxy: Proxy) -> None:
    with bare_socket(proxy.ports[ACME.tenant, "opportunistic"]) as terminal:
        terminal.read_reply()
        assert terminal.ask("MAIL FROM:<a@b.test>").startswith(b"451 4.7.")
