"""STARTTLS of SMTP: what may be said before it, that nothing may be behind it, and that nothing before it counts."""

import pytest

from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp_policy import SMTPPolicy
from tests.session.smtp_script import Script, extensions, play

OFFERED = SMTPPolicy("proxy.test", encryption=Encryption.OFFERED)
REQUIRED = SMTPPolicy("proxy.test", encryption=Encryption.REQUIRED)
IMPLICIT = SMTPPolicy("proxy.test", encryption=Encryption.IMPLICIT)
PLAINTEXT = SMTPPolicy("proxy.test")

GREETING = "S: 220 proxy.test ESMTP mailproxy\n"
EHLO = (
    GREETING
    + "C: EHLO client\nopen PIPELINING DSN\nS: 250-proxy.test\nS: 250-PIPELINING\nS: 250-STARTTLS\nS: 250 DSN\n"
)
MAIL = "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 250 2.1.0 Ok\nS: 250 2.1.0 Ok\n"
RCPT = "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 250 2.1.5 Ok\nS: 250 2.1.5 Ok\n"
DATA = "C: DATA\nM: DATA\nU: 354 go\nS: 354 go\n"
STARTTLS = "C: STARTTLS\nS: 220 2.0.0 Ready to start TLS\ntls\nquiet\n"
SYNC = "S: 554 5.5.0 Error: SMTP protocol synchronization\n"
TLS_FIRST = "S: 530 5.7.0 Must issue a STARTTLS command first\n"


CONVERSATIONS = {
    "it_is_announced_until_it_is_there": (
        OFFERED,
        EHLO
        + STARTTLS
        + """
            secured
            C: EHLO client
            S: 250-proxy.test
            S: 250-PIPELINING
            S: 250 DSN
            quiet
        """,
    ),
    "helo_announces_nothing": (OFFERED, GREETING + "C: HELO client\nopen\nS: 250 proxy.test\nquiet"),
    "it_may_be_the_first_command": (OFFERED, GREETING + STARTTLS + "secured\nC: NOOP\nS: 250 2.0.0 OK\nquiet"),
    "a_listener_without_tls_does_not_know_it": (
        PLAINTEXT,
        GREETING + "C: STARTTLS\nS: 502 5.5.1 Command not implemented\nquiet",
    ),
    "implicit_tls_is_there_already": (
        IMPLICIT,
        GREETING
        + """
            C: EHLO client
            open
            S: 250-proxy.test
            S: 250 PIPELINING
            C: STARTTLS
            S: 503 5.5.1 TLS is active already
            quiet
        """,
    ),
    "once_is_enough": (
        OFFERED,
        GREETING + STARTTLS + "secured\nC: STARTTLS\nS: 503 5.5.1 TLS is active already\nquiet",
    ),
    "it_takes_no_argument": (
        OFFERED,
        GREETING + "C: STARTTLS now\nS: 501 5.5.4 STARTTLS takes no argument\nquiet\n" + STARTTLS,
    ),
    "not_in_a_mail_transaction": (
        OFFERED,
        EHLO
        + MAIL
        + "C: STARTTLS\nS: 503 5.5.1 STARTTLS is not possible in a mail transaction\nquiet\n"
        + "C: RSET\nM: RSET\nU: 250 flushed\nS: 250 flushed\n"
        + STARTTLS,
    ),
    "not_in_a_mail_transaction_whose_server_is_lost": (
        OFFERED,
        EHLO
        + MAIL
        + "lost\nC: STARTTLS\nS: 503 5.5.1 STARTTLS is not possible in a mail transaction\n"
        + "C: RSET\nS: 250 2.0.0 OK\n"
        + STARTTLS,
    ),
    "the_login_at_the_mail_server_stays": (
        OFFERED,
        EHLO + STARTTLS + "secured\n" + MAIL + RCPT + DATA + "C: .\nm: .\\r\\n\nU: 250 queued\nS: 250 queued\nquiet",
    ),
    "a_mail_server_lost_in_the_handshake_is_replaced": (
        OFFERED,
        EHLO + STARTTLS + "lost\nsecured\nC: MAIL FROM:<a@x>\nopen\nM: MAIL FROM:<a@x>\nquiet",
    ),
    "what_ehlo_has_brought_is_forgotten": (
        OFFERED,
        EHLO + STARTTLS + "secured\nC: MAIL FROM:<a@x> RET=HDRS\nS: 555 5.5.4 Unsupported parameter\nquiet",
    ),
    "nothing_goes_out_between_the_answer_and_tls": (
        OFFERED,
        EHLO + STARTTLS + "U: 421 4.3.2 idle\nabort\nquiet\nsecured\nC: NOOP\nS: 250 2.0.0 OK\nquiet",
    ),
    "the_last_of_a_group": (
        OFFERED,
        EHLO
        + MAIL
        + """
            c: RSET\\r\\nNOOP\\r\\nSTARTTLS\\r\\n
            M: RSET
            quiet
            U: 250 flushed
            S: 250 flushed
            S: 250 2.0.0 OK
            S: 220 2.0.0 Ready to start TLS
            tls
            quiet
        """,
    ),
    "not_the_last_of_a_group": (
        OFFERED,
        EHLO
        + MAIL
        + "c: RSET\\r\\nSTARTTLS\\r\\nEHLO x\\r\\n\nM: RSET\nU: 250 flushed\nS: 250 flushed\n"
        + SYNC
        # Not "sent ahead": to us it is all the same whether it is too early or too much.
        + "release\nclose bad_pipeline\nquiet",
    ),
    "octets_while_it_waits_for_earlier_replies": (
        OFFERED,
        EHLO
        + MAIL
        + """
            c: RSET\\r\\nSTARTTLS\\r\\n
            M: RSET
            c: E
            quiet
            U: 250 flushed
            S: 250 flushed
        """
        + SYNC
        + "release\nclose downstream_desync\nquiet",
    ),
    "octets_that_did_not_come_through_tls": (
        OFFERED,
        GREETING + STARTTLS + "c: E\n" + SYNC + "close downstream_desync\nquiet\nsecured\nC: NOOP\nquiet",
    ),
    "a_handshake_that_takes_too_long": (
        OFFERED,
        EHLO + STARTTLS + "expire DOWNSTREAM_HANDSHAKE\nrelease\nbreak downstream_tls_failed\nquiet",
    ),
    "a_client_gone_in_the_handshake": (OFFERED, GREETING + STARTTLS + "gone\nclose downstream_tls_failed\nquiet"),
    "a_client_that_closes_its_side_in_the_handshake": (
        OFFERED,
        GREETING + STARTTLS + "eof\nclose downstream_tls_failed\nquiet",
    ),
    "required_ehlo_makes_no_login": (
        REQUIRED,
        GREETING
        + """
            C: EHLO client
            S: 250-proxy.test
            S: 250-PIPELINING
            S: 250 STARTTLS
            C: HELO client
            S: 250 proxy.test
            C: NOOP
            S: 250 2.0.0 OK
            quiet
        """
        + STARTTLS
        + """
            secured
            C: EHLO client
            open SIZE=10
            S: 250-proxy.test
            S: 250-PIPELINING
            S: 250 SIZE 10
        """
        + MAIL,
    ),
    "required_quit_is_carried_out": (
        REQUIRED,
        GREETING + "C: QUIT\nS: 221 2.0.0 proxy.test closing connection\nclose quit\nquiet",
    ),
    "required_a_chunk_is_swallowed": (
        REQUIRED,
        GREETING + "c: BDAT 6\\r\\nQUIT\\r\\nNOOP\\r\\n\n" + TLS_FIRST + "S: 250 2.0.0 OK\nquiet",
    ),
    "required_a_chunk_without_end": (
        REQUIRED,
        GREETING + "C: BDAT x\nS: 501 5.5.4 Bad BDAT\nclose bad_line\nquiet",
    ),
    "required_data_and_what_is_behind_it": (
        REQUIRED,
        GREETING + "c: DATA\\r\\nQUIT\\r\\n\n" + SYNC + "close bad_pipeline\nquiet",
    ),
    "required_auth_and_what_is_behind_it": (
        REQUIRED,
        GREETING + "c: AUTH LOGIN\\r\\nQUIT\\r\\n\n" + SYNC + "close bad_pipeline\nquiet",
    ),
    "required_a_browser": (
        REQUIRED,
        GREETING + "C: GET / HTTP/1.1\nS: 421 4.7.0 This is a mail server\nclose not_smtp",
    ),
    "required_without_ehlo_after_tls": (
        REQUIRED,
        GREETING + STARTTLS + "secured\nC: MAIL FROM:<a@x>\nopen\nM: MAIL FROM:<a@x>\nquiet",
    ),
}
CUT = {
    name: conversation
    for name, conversation in CONVERSATIONS.items()
    if conversation[1].count("c: ") == 0 or name == "required_a_chunk_is_swallowed"
}
"""Those that do not depend on what arrives together."""


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation(name):
    policy, text = CONVERSATIONS[name]
    play(text, policy)


@pytest.mark.parametrize("name", CUT)
def test_conversation_octet_by_octet(name):
    policy, text = CUT[name]
    play(text, policy, cut=lambda data: [data[i : i + 1] for i in range(len(data))])


UNKNOWN = ["FROB", "BURL x", "XCLIENT NAME=x", "STARTTLSX", "ETRN x"]


@pytest.mark.parametrize(
    "line",
    [
        "MAIL FROM:<a@b>",
        "MAIL",
        "RCPT TO:<a@b>",
        "DATA",
        "RSET",
        "VRFY x",
        "EXPN x",
        "HELP",
        "AUTH PLAIN AGEAYg==",
        *UNKNOWN,
    ],
)
def test_where_tls_is_required_nothing_else_is_carried_out_before_it(line):
    play(GREETING + f"C: {line}\n" + TLS_FIRST + "quiet", REQUIRED)


def test_where_tls_is_required_errors_before_it_are_counted():
    script = play(GREETING + ("C: MAIL FROM:<a@b>\n" + TLS_FIRST) * 19, REQUIRED)
    script.run("C: RCPT TO:<a@b>\n" + TLS_FIRST + "S: 421 4.7.0 Too many errors\nclose too_many_errors\nquiet")


def test_errors_before_tls_do_not_count_behind_it():
    errors = "C: FROB\nS: 500 5.5.1 Command not recognized\n" * 19
    play(GREETING + errors + STARTTLS + "secured\n" + errors + "quiet", OFFERED)


def test_refused_logins_before_tls_do_not_count_behind_it():
    refused = "C: MAIL FROM:<a@b>\nfail Unreachable\nS: 451 4.4.1 Upstream not reachable\n" * 3
    play(GREETING + refused + STARTTLS + "secured\n" + refused + "quiet", OFFERED)


def test_ehlo_before_tls_is_no_ehlo_behind_it():
    policy = SMTPPolicy("proxy.test", encryption=Encryption.OFFERED, require_helo=True)
    play(EHLO + STARTTLS + "secured\nC: MAIL FROM:<a@b>\nS: 503 5.5.1 Send EHLO first\nquiet", policy)


@pytest.mark.parametrize("tail", [b"E", b"\r", b"\0", b"EHLO x\r\n", b"\x16\x03\x01", b"STARTTLS\r\n", b"\r\n"])
@pytest.mark.parametrize("policy", [OFFERED, REQUIRED], ids=["offered", "required"])
def test_no_octet_behind_starttls_is_ever_taken_for_one_that_came_through_tls(policy, tail):
    whole = b"NOOP\r\nstarttls\r\n" + tail
    for place in range(len(whole) + 1):
        script = Script(policy, lambda data, place=place: [data[:place], data[place:]])
        script.client(whole)
        alone = place == len(whole) - len(tail)
        assert (b"220 2.0.0 Ready to start TLS\r\n" in script.down) is alone
        assert script.down.endswith(b"554 5.5.0 Error: SMTP protocol synchronization\r\n")
        script.session.downstream_secured()
        script.client(b"NOOP\r\n")
        assert script.down.count(b"250 2.0.0 OK\r\n") == 1
        assert "downstream_tls" not in script.reports


@pytest.mark.parametrize("size", range(1, 11))
def test_starttls_alone_may_come_in_any_pieces(size):
    script = Script(OFFERED, lambda data: [data[i : i + size] for i in range(0, len(data), size)])
    script.client(b"STARTTLS\r\n")
    script.run(GREETING + "S: 220 2.0.0 Ready to start TLS\ntls\nquiet\nsecured\n")
    assert script.session.reading
    script.client(b"NOOP\r\nQUIT\r\n")
    script.run("S: 250 2.0.0 OK\nS: 221 2.0.0 proxy.test closing connection\nclose quit")


def test_handshakes_and_mail_without_tls_are_counted():
    assert play(GREETING + STARTTLS + "secured\n" + "C: MAIL FROM:<a@x>\nopen\n", OFFERED).reports == [
        "bad_ehlo",
        "downstream_tls",
        "transaction",
    ]
    twice = "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 550 no\nS: 550 no\n" * 2
    assert play(EHLO + twice, OFFERED).reports == ["esmtp_unencrypted", "transaction", "transaction"]
    assert play(GREETING, IMPLICIT).reports == ["downstream_tls"]


def test_a_listener_without_tls_does_not_count_mail_without_it():
    script = Script(PLAINTEXT)
    script.client(b"EHLO x\r\n")
    script.session.upstream_opened(extensions())
    script.client(b"MAIL FROM:<a@x>\r\n")
    assert "esmtp_unencrypted" not in script.reports
