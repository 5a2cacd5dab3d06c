"""STLS of POP3: what may be said before it, that nothing may be behind it, and what is left of what was said before."""

import pytest

from mailproxy.session.actions import SendDownstream, StartTLS
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3 import POP3Session
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.wire.pop3 import POP3Capabilities
from tests.session.script import Script

LISTED = POP3Capabilities({"TOP": (), "UIDL": (), "STLS": ()})
BEGIN = "> start\n= open\n> opened\nS: +OK ready\n"
BEGIN_REQUIRED = "> start\nS: +OK ready\n"
STLS = "C: STLS\nS: +OK begin TLS\n= tls\n? handshake\n"
SECURED = STLS + "> secured\n"
CAPA = "C: CAPA\nS: +OK capability list follows\nS: USER\nS: PIPELINING\n"
ALL = CAPA + "S: TOP\nS: UIDL\nS: .\n"


@pytest.fixture(params=[None, 1, 3], ids=["whole", "octets", "threes"])
def size(request):
    return request.param


@pytest.fixture
def offered(size):
    return Script(session(Encryption.OFFERED), LISTED, size=size).play(BEGIN)


@pytest.fixture
def required(size):
    return Script(session(Encryption.REQUIRED), LISTED, size=size).play(BEGIN_REQUIRED)


def session(encryption, **policy):
    return POP3Session(POP3Policy(encryption=encryption, **policy))


# Where TLS is offered


def test_stls_is_listed_until_tls_is_there(offered):
    offered.play(CAPA + "S: STLS\nS: TOP\nS: UIDL\nS: .\n" + SECURED + ALL)


def test_stls_is_listed_until_a_command_went_to_the_mail_server(offered):
    offered.play("C: STAT\nP: STAT\nM: +OK 1 2\nS: +OK 1 2\n" + ALL + "C: STLS\nS: -ERR already authenticated\n")


def test_the_session_at_the_mail_server_stays_and_there_is_no_second_greeting(offered):
    offered.play(SECURED + "? command\nC: STAT\nP: STAT\nM: +OK 1 2\nS: +OK 1 2")


def test_stls_may_follow_a_login_that_means_nothing(offered):
    offered.play("C: USER x\nS: +OK\nC: PASS y\nS: +OK logged in\n" + SECURED + "C: PASS z\nS: +OK logged in")


def test_stls_is_possible_where_logins_of_the_client_are_refused(size):
    script = Script(session(Encryption.OFFERED, accept_any_login=False), LISTED, size=size)
    script.play(
        BEGIN + "C: USER x\nS: -ERR already authenticated\n" + SECURED + "C: USER x\nS: -ERR already authenticated"
    )


def test_an_exchange_of_auth_is_no_stls(offered):
    offered.play("C: AUTH LOGIN\nS: + VXNlcm5hbWU6\nC: STLS\nS: + UGFzc3dvcmQ6\nC: x\nS: +OK logged in")


def test_stls_takes_no_argument(offered):
    offered.play("C: STLS now\nS: -ERR invalid argument\n" + SECURED)


def test_once_is_enough(offered):
    offered.play(SECURED + "C: STLS\nS: -ERR TLS is active already")


def test_a_listener_without_tls_does_not_know_it(size):
    Script(session(Encryption.PLAINTEXT), LISTED, size=size).play(BEGIN + "C: STLS\nS: -ERR STLS not supported\n" + ALL)


def test_implicit_tls_is_there_already(size):
    Script(session(Encryption.IMPLICIT), LISTED, size=size).play(BEGIN + ALL + "C: STLS\nS: -ERR TLS is active already")


def test_a_user_that_was_named_in_plain_text_gets_no_password_through_tls(size):
    script = Script(session(Encryption.OFFERED), POP3Capabilities(None, logged_in=False), size=size)
    script.play(BEGIN + "C: USER x\nP: USER x\nM: +OK\nS: +OK\nC: STLS\nS: -ERR STLS not permitted now")


def test_who_logs_in_behind_tls_does_so_at_the_mail_server(size):
    script = Script(session(Encryption.OFFERED), POP3Capabilities(None, logged_in=False), size=size)
    script.play(BEGIN + SECURED + "C: USER x\nP: USER x\nM: +OK\nS: +OK\nC: PASS y\nP: PASS y\nM: +OK\nS: +OK")


# Where TLS is required


def test_required_the_client_is_greeted_and_nobody_logs_in(required):
    required.play("? first_command\n" + CAPA + "S: STLS\nS: .\nC: NOOP\nS: +OK\n? command")


@pytest.mark.parametrize(
    "line",
    ["USER x", "PASS y", "APOP x y", "AUTH", "AUTH PLAIN AAAA", "STAT", "LIST", "RETR 1", "DELE 1", "RSET", "FROB"],
)
def test_required_nothing_else_is_carried_out_before_tls(required, line):
    required.play(f"C: {line}\nS: -ERR [SYS/PERM] TLS required\n? command")


def test_required_quit_is_answered_here(required):
    required.play("C: QUIT\nS: +OK bye\n= close quit")


def test_required_the_login_comes_behind_tls(required):
    required.play(SECURED + "= open\n? login\n> opened\n? command\nC: STAT\nP: STAT\nM: +OK 1 2\nS: +OK 1 2\n" + ALL)


def test_required_what_the_client_sends_ahead_of_the_login_waits(required):
    required.play(SECURED + "= open\nC: CAPA\nC: STAT\n> opened\n" + ALL.partition("\n")[2] + "P: STAT\n")


def test_required_a_login_that_fails_is_told_in_place_of_the_next_answer(required):
    required.play(
        SECURED + "= open\nC: STAT\n> failed Unreachable\nS: -ERR [SYS/TEMP] mail server not reachable\n"
        "= close upstream_unreachable\n? nobody"
    )


def test_required_a_client_lost_during_the_login_gives_it_up(required):
    required.play(SECURED + "= open\n> client lost\n= abort server\n= close downstream_lost")


def test_required_a_client_that_closes_its_side_without_tls(required):
    required.play("> client ended\n= close downstream_closed")


def test_required_what_waits_for_the_login_is_bounded():
    one = session(Encryption.REQUIRED, max_queued_octets=10)
    script = Script(one, LISTED).play(BEGIN_REQUIRED + SECURED + "= open\n")
    assert one.reading
    script.play("c: NOOP\\r\\nNOOP\\r\\n")
    assert not one.reading


# The handshake


def test_the_handshake_takes_too_long(offered):
    offered.play(STLS + "> expired\n= abort server\n= abort downstream_tls_failed")


def test_the_client_is_gone_in_the_handshake(required):
    required.play(STLS + "> client lost\n= abort downstream_tls_failed")


def test_the_client_closes_its_side_in_the_handshake(required):
    required.play(STLS + "> client ended\n= abort downstream_tls_failed")


def test_the_mail_server_is_lost_in_the_handshake(offered):
    offered.play(STLS + "> server lost\n= abort upstream_lost\n> secured")


def test_octets_that_did_not_come_through_tls_end_the_session(required):
    required.play(STLS + "c: C\n= close downstream_desync\n> secured\nC: CAPA")


@pytest.mark.parametrize("tail", [b"C", b"\r", b"\0", b"CAPA\r\n", b"\x16\x03\x01", b"STLS\r\n", b"\n"])
@pytest.mark.parametrize("encryption", [Encryption.OFFERED, Encryption.REQUIRED])
def test_no_octet_behind_stls_is_ever_taken_for_one_that_came_through_tls(encryption, tail):
    whole = b"USER x\r\nstls\r\n" + tail
    for place in range(len(whole) + 1):
        one = session(encryption)
        script = Script(one, LISTED).play(BEGIN if encryption is Encryption.OFFERED else BEGIN_REQUIRED)
        for piece in (whole[:place], whole[place:]):
            one.receive_downstream(piece)
            script._collect()
        alone = place == len(whole) - len(tail)
        assert (("=", "tls") in script._caused) is alone
        assert ("=", "close downstream_desync" if alone else "close bad_pipeline") == script._caused[-1]
        one.downstream_secured()
        one.receive_downstream(b"CAPA\r\n")
        assert one.next_action() is None


def test_stls_behind_a_command_that_is_running_waits_for_it_and_is_refused(offered):
    offered.play("c: STAT\\r\\nSTLS\\r\\n\nP: STAT\nM: +OK 1 2\nS: +OK 1 2\nS: -ERR already authenticated")


def test_reading_goes_on_in_the_handshake(offered):
    offered.play(STLS)
    assert offered.session.reading


def test_the_answer_to_stls_comes_before_tls():
    one = session(Encryption.REQUIRED)
    Script(one, LISTED).play(BEGIN_REQUIRED)
    one.receive_downstream(b"STLS\r\n")
    assert [one.next_action(), one.next_action()] == [SendDownstream(b"+OK begin TLS\r\n"), StartTLS()]


def test_a_handshake_is_counted(size):
    script = Script(session(Encryption.OFFERED), LISTED, size=size).play(BEGIN + SECURED)
    assert [report.event for report in script.reports] == ["downstream_tls"]
    script = Script(session(Encryption.IMPLICIT), LISTED, size=size).play(BEGIN)
    assert [report.event for report in script.reports] == ["downstream_tls"]
