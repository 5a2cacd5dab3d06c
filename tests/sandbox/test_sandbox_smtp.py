"""The sandbox's SMTP server: octets in, octets out, and real clients over real TLS."""

import smtplib
import ssl
from base64 import b64encode

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from mailproxy.sandbox.conversation import HOST_NAME
from mailproxy.sandbox.smtp import SIZE_LIMIT, SMTPServer
from tests.sandbox.talk import PASSWORD, USER, Talk

LOGIN = b"AUTH PLAIN " + b64encode(f"\0{USER}\0{PASSWORD}".encode())
READY = [b"EHLO client.example", LOGIN]


@pytest.fixture
def talk():
    return Talk(SMTPServer)


def keywords(reply):
    return {line[4:].partition(" ")[0] for line in reply.splitlines()[1:]}


def test_it_greets_and_says_what_it_can_do_over_tls(talk):
    assert talk.greeting == f"220 {HOST_NAME} ESMTP sandbox\r\n"
    reply = talk.ask(b"EHLO client.example")
    assert keywords(reply) == {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "AUTH"}
    assert "250 AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER\r\n" in reply
    assert talk.ask(b"HELO client.example") == f"250 {HOST_NAME}\r\n"


def test_without_tls_there_is_no_login_and_no_mail():
    talk = Talk(SMTPServer, encrypted=False)
    assert {"STARTTLS"} == keywords(talk.ask(b"EHLO client.example")) & {"STARTTLS", "AUTH"}
    assert talk.ask(LOGIN).startswith("538 5.7.11")
    assert talk.ask(b"MAIL FROM:<a@b.example>").startswith("530 5.7.0")


def test_starttls_forgets_what_was_said_before():
    talk = Talk(SMTPServer, encrypted=False)
    assert talk.ask(b"EHLO client.example", b"STARTTLS") == "220 2.0.0 Ready to start TLS\r\n"
    assert talk.wire.tls == "tls options"
    assert talk.ask(LOGIN).startswith("503 5.5.1")
    assert talk.ask(b"EHLO client.example", LOGIN).startswith("235 2.7.0")
    assert talk.ask(b"STARTTLS").startswith("503 5.5.1")


@pytest.mark.parametrize("last", [b"STARTTLS", b"EHLO x", LOGIN, b"DATA"])
def test_octets_behind_a_command_that_has_to_be_the_last_end_the_session(last):
    talk = Talk(SMTPServer, encrypted=last != b"STARTTLS")
    talk.ask(*(READY if last == b"DATA" else READY[:1]), b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>")
    assert talk.raw(last + b"\r\nRSET\r\n").startswith("554 5.5.0")
    assert talk.closed
    assert talk.wire.tls is None
    assert talk.ask(b"NOOP") == ""


def test_a_mail_is_delivered_with_the_trace_of_its_session(talk):
    talk.ask(*READY, b"MAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME", b"RCPT TO:<robot@acme.example> NOTIFY=NEVER")
    assert talk.ask(b"DATA").startswith("354 ")
    assert talk.raw(b"Subject: x\r\n\r\n..dot\r\n.\r\n").startswith("250 2.0.0")
    (octets,) = talk.mail
    assert octets.startswith(b"Return-Path: <a@b.example>\r\nReceived: from client.example (")
    assert b"(authenticated as robot@acme.example by PLAIN, TLSv1.3)" in octets
    assert octets.endswith(b"\r\nSubject: x\r\n\r\n.dot\r\n")
    assert [(login.user, login.mechanism, login.tls) for login in talk.mailboxes.logins] == [(USER, "PLAIN", "TLSv1.3")]


def test_text_typed_without_a_header_becomes_the_body(talk):
    talk.ask(*READY, b"MAIL FROM:<>", b"RCPT TO:<robot@acme.example>", b"DATA")
    talk.raw(b"Some test data.\r\n.\r\n")
    assert talk.mail[0].partition(b"\r\n\r\n")[2] == b"Some test data.\r\n"


def test_a_pipelined_group_is_answered_in_order(talk):
    talk.ask(*READY)
    replies = talk.raw(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@y.invalid>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
    assert [line[:3] for line in replies.splitlines()] == ["250", "550", "250", "354"]
    assert [line[:3] for line in talk.raw(b"hi\r\n.\r\nRSET\r\nQUIT\r\n").splitlines()] == ["250", "250", "221"]
    assert talk.closed


@pytest.mark.parametrize(
    ("before", "line", "code"),
    [
        ([], b"MAIL FROM:<a@b.example>", "503 5.5.1"),
        (READY[:1], b"MAIL FROM:<a@b.example>", "530 5.7.0"),
        (READY, b"MAIL FROM:a@b.example", "501 5.1.7"),
        (READY, b"MAIL FROM: <a@b.example>", "501 5.1.7"),
        (READY, b"MAIL TO:<a@b.example>", "501 5.5.4"),
        (READY, b"MAIL FROM:<a@b.example> XYZ=1", "555 5.5.4"),
        (READY, b"MAIL FROM:<a@b.example> SIZE=1 SIZE=1", "501 5.5.4"),
        (READY, b"MAIL FROM:<a@b.example> SIZE=many", "501 5.5.4"),
        (READY, b"MAIL FROM:<a@b.example> SIZE=%d" % (SIZE_LIMIT + 1), "552 5.3.4"),
        (READY, b"MAIL FROM:<a@b.example> BODY=BINARYMIME", "501 5.5.4"),
        (READY, b"MAIL FROM:<\xc3\xa4@b.example>", "553 5.6.7"),
        (READY, b"MAIL FROM:<\xc3\xa4@b.example> SMTPUTF8", "250 2.1.0"),
        (READY, b'MAIL FROM:<"a b>c"@b.example>', "250 2.1.0"),
        (READY, b"MAIL FROM:<@x.example:a@[127.0.0.1]> RET=HDRS ENVID=q AUTH=<>", "250 2.1.0"),
        ([*READY, b"MAIL FROM:<>"], b"MAIL FROM:<>", "503 5.5.1"),
        ([*READY, b"MAIL FROM:<>"], b"RCPT TO:<>", "501 5.1.3"),
        ([*READY, b"MAIL FROM:<>"], b"RCPT TO:<Postmaster>", "250 2.1.5"),
        ([*READY, b"MAIL FROM:<>"], b"RCPT TO:a@b.example", "501 5.1.3"),
        ([*READY, b"MAIL FROM:<>"], b"RCPT TO:<a@b.example> SIZE=1", "555 5.5.4"),
        ([*READY, b"MAIL FROM:<>"], b"DATA", "554 5.5.1"),
        ([*READY, b"MAIL FROM:<>", b"RSET"], b"RCPT TO:<a@b.example>", "503 5.5.1"),
        (READY, b"DATA", "503 5.5.1"),
        (READY, LOGIN, "503 5.5.1"),
        (READY[:1], b"AUTH DIGEST-MD5", "504 5.5.4"),
        (READY[:1], b"AUTH PLAIN !", "501 5.5.2"),
        (READY[:1], b"AUTH PLAIN " + b"x" * 600, "500 5.5.6"),
        (READY[:1], b"AUTH PLAIN " + b64encode(b"\0a\0b"), "535 5.7.8"),
        ([*READY[:1], b"AUTH PLAIN"], b"*", "501 5.7.0"),
        ([], b"EHLO", "501 5.5.4"),
        ([], b"STARTTLS now", "501 5.5.4"),
        (READY, b"MAIL FROM:<> SIZE==", "501 5.5.4"),
        (READY, b"RCPT TO:<a@b.example>", "503 5.5.1"),
        (READY, b"DATA now", "501 5.5.4"),
        (READY, b"RSET now", "501 5.5.4"),
        (READY, b"QUIT now", "501 5.5.4"),
        ([*READY[:1], b"AUTH LOGIN"], b64encode(USER.encode()), "334 "),
        ([*READY[:1], b"AUTH LOGIN", b64encode(USER.encode())], b64encode(PASSWORD.encode()), "235 2.7.0"),
        ([], b"XYZZY", "500 5.5.1"),
        ([], b"NOOP\0", "501 5.5.2"),
        ([], b"NOOP " + b"x" * 3000, "500 5.5.2"),
        ([], b"NOOP " + b"x" * 20_000, "500 5.5.2"),
        ([], b"VRFY a", "252 2.0.0"),
        ([], b"HELP", "214 2.0.0"),
    ],
)
def test_one_line_after_others(talk, before, line, code):
    assert talk.ask(*before, line).startswith(code)
    assert not talk.closed


def test_a_bare_lf_ends_the_session(talk):
    assert talk.raw(b"NOOP\n").startswith("500 5.5.2")
    assert talk.closed


@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\rb\r\n", b"a\0b\r\n"])
def test_stray_octets_in_mail_data_are_refused(talk, content):
    talk.ask(*READY, b"MAIL FROM:<>", b"RCPT TO:<robot@acme.example>", b"DATA")
    assert talk.raw(content + b".\r\n").startswith("550 5.5.2")
    assert not talk.mail


def test_a_message_over_the_limit_is_refused_at_its_end(talk, monkeypatch):
    monkeypatch.setattr("mailproxy.sandbox.smtp.SIZE_LIMIT", 10)
    talk.ask(*READY, b"MAIL FROM:<>", b"RCPT TO:<robot@acme.example>", b"DATA")
    assert talk.raw(b"x" * 100) == ""
    assert talk.raw(b"\r\n.\r\n").startswith("552 5.3.4")
    assert not talk.mail


def test_no_room_is_a_passing_refusal():
    talk = Talk(SMTPServer, capacity=10)
    talk.ask(*READY, b"MAIL FROM:<>", b"RCPT TO:<robot@acme.example>", b"DATA")
    assert talk.raw(b"hello\r\n.\r\n").startswith("452 4.3.1")


def test_too_many_recipients_are_refused_for_now(talk):
    talk.ask(*READY, b"MAIL FROM:<>", *(b"RCPT TO:<%d@d.example>" % number for number in range(1000)))
    assert talk.ask(b"RCPT TO:<one@more.example>").startswith("452 4.5.3")


def test_three_wrong_logins_end_the_session(talk):
    wrong = b"AUTH PLAIN " + b64encode(b"\0a\0b")
    assert talk.ask(READY[0], wrong, wrong, wrong).startswith("535 5.7.8")
    assert talk.closed


def test_twenty_errors_end_the_session(talk):
    assert "421 4.7.0" in talk.ask(*[b"XYZZY"] * 20)
    assert talk.closed


def test_silence_ends_the_session(talk):
    talk.clock.advance(299)
    talk.ask(b"NOOP")
    talk.clock.advance(299)
    assert not talk.closed
    talk.clock.advance(2)
    assert talk.take().startswith("421 4.4.2")
    assert talk.closed


def test_a_client_that_does_not_let_go_is_cut_off(talk):
    talk.ask(b"QUIT")
    talk.clock.advance(5)
    assert talk.wire.aborted


def test_nothing_is_left_behind_when_the_client_is_gone(talk):
    talk.server.connectionLost()
    assert not talk.clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_smtplib_sends_over_both_ports_with_a_password_and_with_a_token(world, acme, trust):
    token = world.mailboxes.tokens.issue(acme.user, 60)

    def send():
        with smtplib.SMTP("mail.localhost", world.servers.smtp, timeout=10) as client:
            client.starttls(context=trust)
            client.login(acme.user, acme.password)
            client.sendmail("a@b.example", [acme.user], b"Subject: one\r\n\r\n.text\r\n")
        with smtplib.SMTP_SSL("mail.localhost", world.servers.smtps, context=trust, timeout=10) as client:
            client.ehlo()
            client.auth("XOAUTH2", lambda challenge=None: f"user={acme.user}\x01auth=Bearer {token}\x01\x01")
            client.sendmail("a@b.example", [acme.user], b"Subject: two\r\n\r\ntext\r\n")

    await deferToThread(send)
    one, two = world.mailboxes.mailbox(acme.user).messages
    assert one.octets.endswith(b"Subject: one\r\n\r\n.text\r\n")
    assert two.octets.endswith(b"Subject: two\r\n\r\ntext\r\n")
    assert [login.mechanism for login in world.mailboxes.logins] == ["PLAIN", "XOAUTH2"]
    assert {login.tls for login in world.mailboxes.logins} == {"TLSv1.3"}


@pytest_twisted.ensureDeferred
async def test_the_certificate_is_for_the_mail_servers_name_only(world, trust):
    def connect():
        with pytest.raises(ssl.SSLCertVerificationError):
            smtplib.SMTP_SSL("provider.localhost", world.servers.smtps, context=trust, timeout=10)

    await deferToThread(connect)
