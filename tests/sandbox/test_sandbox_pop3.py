"""The sandbox's POP3 server: octets in, octets out, and real clients over real TLS."""

import poplib
from base64 import b64encode

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from mailproxy.sandbox.conversation import HOST_NAME
from mailproxy.sandbox.pop3 import POP3Server
from tests.sandbox.talk import PASSWORD, USER, Talk

LOGIN = [f"USER {USER}".encode(), f"PASS {PASSWORD}".encode()]
FIRST = b"Subject: 1\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n"
SECOND = b"Subject: 2\r\n\r\na\r\nb\r\n"


@pytest.fixture
def talk():
    talk = Talk(POP3Server)
    talk.mailboxes.deliver([USER], FIRST)
    talk.mailboxes.deliver([USER], SECOND)
    return talk


def unique_ids(talk):
    return [message.unique_id for message in talk.mailboxes.mailbox(USER).messages]


def test_it_greets_without_a_timestamp_and_tells_what_it_can_do_over_tls(talk):
    assert talk.greeting == f"+OK {HOST_NAME} POP3 sandbox\r\n"
    capabilities = talk.ask(b"capa").splitlines()
    assert capabilities[0] == "+OK"
    assert capabilities[-1] == "."
    assert {"USER", "SASL PLAIN LOGIN XOAUTH2 OAUTHBEARER", "TOP", "UIDL", "PIPELINING"} <= set(capabilities)
    assert "STLS" not in capabilities


def test_without_tls_there_is_no_login():
    talk = Talk(POP3Server, encrypted=False)
    capabilities = talk.ask(b"CAPA").splitlines()
    assert "STLS" in capabilities
    assert "USER" not in capabilities
    for line in (*LOGIN, b"AUTH PLAIN"):
        assert talk.ask(line).startswith("-ERR [SYS/PERM]")
    assert talk.ask(b"STLS") == "+OK begin TLS\r\n"
    assert talk.wire.tls == "tls options"
    assert talk.ask(*LOGIN).startswith("+OK")


def test_octets_behind_stls_end_the_session_without_tls():
    talk = Talk(POP3Server, encrypted=False)
    assert talk.raw(b"STLS\r\nCAPA\r\n").startswith("-ERR")
    assert talk.closed
    assert talk.wire.tls is None


def test_the_maildrop_is_listed_and_read(talk):
    first, second = unique_ids(talk)
    assert talk.ask(*LOGIN) == "+OK 2 messages\r\n"
    assert talk.ask(b"STAT") == f"+OK 2 {len(FIRST) + len(SECOND)}\r\n"
    assert talk.ask(b"list") == f"+OK 2 messages\r\n1 {len(FIRST)}\r\n2 {len(SECOND)}\r\n.\r\n"
    assert talk.ask(b"LIST 2") == f"+OK 2 {len(SECOND)}\r\n"
    assert talk.ask(b"UIDL") == f"+OK 2 messages\r\n1 {first}\r\n2 {second}\r\n.\r\n"
    assert talk.ask(b"UIDL 2") == f"+OK 2 {second}\r\n"
    assert talk.ask(b"NOOP") == "+OK\r\n"


def test_messages_are_byte_stuffed(talk):
    talk.ask(*LOGIN)
    stuffed = "Subject: 1\r\n\r\n..dot\r\n...\r\n..\r\nend\r\n.\r\n"
    assert talk.ask(b"RETR 1") == f"+OK {len(FIRST)} octets\r\n{stuffed}"


@pytest.mark.parametrize(("lines", "body"), [(0, ""), (1, "a\r\n"), (2, "a\r\nb\r\n"), (9, "a\r\nb\r\n")])
def test_top_shows_the_header_and_some_lines(talk, lines, body):
    talk.ask(*LOGIN)
    assert talk.ask(b"TOP 2 %d" % lines) == f"+OK\r\nSubject: 2\r\n\r\n{body}.\r\n"


def test_deletion_happens_at_quit(talk):
    talk.ask(*LOGIN)
    assert talk.ask(b"DELE 1").startswith("+OK")
    assert talk.ask(b"RETR 1").startswith("-ERR")
    assert talk.ask(b"STAT") == f"+OK 1 {len(SECOND)}\r\n"
    assert talk.mail == [FIRST, SECOND]
    assert talk.ask(b"QUIT") == "+OK bye\r\n"
    assert talk.closed
    assert talk.mail == [SECOND]


def test_rset_takes_deletions_back(talk):
    talk.ask(*LOGIN, b"DELE 1", b"RSET", b"QUIT")
    assert talk.mail == [FIRST, SECOND]


def test_a_lost_connection_deletes_nothing_and_lets_go(talk):
    talk.ask(*LOGIN, b"DELE 1")
    talk.server.connectionLost()
    assert talk.mail == [FIRST, SECOND]
    assert not talk.mailboxes.mailbox(USER).held
    assert not talk.clock.getDelayedCalls()


def test_one_session_at_a_time_holds_the_maildrop(talk):
    talk.mailboxes.mailbox(USER).held = True
    assert talk.ask(*LOGIN).startswith("-ERR [IN-USE]")
    talk.mailboxes.mailbox(USER).held = False
    assert talk.ask(*LOGIN).startswith("+OK")
    assert talk.mailboxes.mailbox(USER).held
    talk.ask(b"QUIT")
    assert not talk.mailboxes.mailbox(USER).held


def test_mail_that_comes_during_the_session_is_seen_in_the_next_one(talk):
    talk.ask(*LOGIN)
    talk.mailboxes.deliver([USER], b"third\r\n")
    assert talk.ask(b"LIST 3").startswith("-ERR")
    talk.ask(b"DELE 1", b"QUIT")
    assert talk.mail == [SECOND, b"third\r\n"]


def test_pipelined_commands_are_answered_in_order(talk):
    talk.ask(*LOGIN)
    assert talk.raw(b"STAT\r\nDELE 2\r\nLIST\r\nQUIT\r\n").split("\r\n") == [
        f"+OK 2 {len(FIRST) + len(SECOND)}",
        "+OK message 2 deleted",
        "+OK 1 messages",
        f"1 {len(FIRST)}",
        ".",
        "+OK bye",
        "",
    ]


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        (b"PLAIN", b64encode(f"\0{USER}\0{PASSWORD}".encode())),
        (b"XOAUTH2", b64encode(f"user={USER}\x01auth=Bearer good\x01\x01".encode())),
        (b"OAUTHBEARER", b64encode(f"n,a={USER},\x01auth=Bearer good\x01\x01".encode())),
    ],
)
def test_auth_in_two_steps(talk, mechanism, response):
    talk.mailboxes.tokens.accept("good", USER, 60)
    assert talk.ask(b"AUTH " + mechanism) == "+ \r\n"
    assert talk.ask(response) == "+OK 2 messages\r\n"
    assert talk.mailboxes.logins[0].mechanism == mechanism.decode()


def test_a_bad_token_gets_its_challenge_before_the_refusal(talk):
    bad = b64encode(f"user={USER}\x01auth=Bearer bad\x01\x01".encode())
    assert talk.ask(b"AUTH XOAUTH2", bad).startswith("+ ey")
    assert talk.ask(b"").startswith("-ERR [AUTH]")


def test_auth_alone_lists_the_mechanisms(talk):
    assert talk.ask(b"AUTH") == "+OK\r\nPLAIN\r\nLOGIN\r\nXOAUTH2\r\nOAUTHBEARER\r\n.\r\n"


@pytest.mark.parametrize(
    ("before", "line", "answer"),
    [
        ([], b"LIST", "-ERR not in this state"),
        (LOGIN, b"USER a", "-ERR not in this state"),
        ([], b"APOP a b", "-ERR unknown command"),
        ([], b"PASS a", "-ERR USER first"),
        ([b"USER a"], b"PASS a", "-ERR [AUTH]"),
        ([], b"USER", "-ERR argument missing"),
        ([], b"AUTH DIGEST-MD5", "-ERR unknown mechanism"),
        ([], b"AUTH PLAIN !", "-ERR cannot understand"),
        ([b"AUTH PLAIN"], b"*", "-ERR authentication cancelled"),
        ([], b"STLS", "-ERR TLS is active"),
        ([], b"CAPA now", "-ERR no arguments"),
        (LOGIN, b"RETR", "-ERR no such message"),
        (LOGIN, b"RETR 0", "-ERR no such message"),
        (LOGIN, b"RETR 3", "-ERR no such message"),
        (LOGIN, b"RETR -1", "-ERR no such message"),
        (LOGIN, b"TOP 1", "-ERR TOP takes"),
        ([], b"x" * 300, "-ERR line too long"),
        ([], b"QUIT", "+OK bye"),
    ],
)
def test_one_line_after_others(talk, before, line, answer):
    assert talk.ask(*before, line).startswith(answer)


def test_a_password_may_hold_blanks(talk):
    talk.mailboxes.add_account("b@acme.example", " two words ")
    assert talk.ask(b"USER b@acme.example", b"PASS  two words ").startswith("+OK")


@pytest_twisted.ensureDeferred
async def test_poplib_collects_over_both_ports_with_a_password(world, acme, trust):
    world.mailboxes.deliver([acme.user], FIRST)

    def collect(client):
        client.user(acme.user)
        client.pass_(acme.password)
        lines = client.retr(1)[1]
        client.quit()
        return b"".join(line + b"\r\n" for line in lines)

    def collect_twice():
        stls = poplib.POP3("mail.localhost", world.servers.pop3, timeout=10)
        stls.stls(trust)
        return [
            collect(stls),
            collect(poplib.POP3_SSL("mail.localhost", world.servers.pop3s, context=trust, timeout=10)),
        ]

    assert await deferToThread(collect_twice) == [FIRST, FIRST]
    assert [login.tls for login in world.mailboxes.logins] == ["TLSv1.3", "TLSv1.3"]


@pytest_twisted.ensureDeferred
async def test_another_tenants_password_opens_nothing(world, acme, globex, trust):
    def attempt():
        client = poplib.POP3_SSL("mail.localhost", world.servers.pop3s, context=trust, timeout=10)
        client.user(acme.user)
        with pytest.raises(poplib.error_proto, match="AUTH"):
            client.pass_(globex.password)
        client.quit()

    await deferToThread(attempt)
    assert not world.mailboxes.logins
