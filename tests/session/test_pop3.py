"""POP3 sessions as conversations; every script runs whole and octet by octet."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.session.actions import (
    AbortDownstream,
    AbortUpstream,
    CloseDownstream,
    Report,
    SendDownstream,
    SendUpstream,
    Waiting,
)
from mailproxy.session.pop3 import POP3Session
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.wire.pop3 import POP3Capabilities
from tests.session.script import Script

OFFERED = POP3Capabilities(
    {
        "TOP": (),
        "UIDL": (),
        "RESP-CODES": (),
        "AUTH-RESP-CODE": (),
        "EXPIRE": ("60", "USER"),
        "LOGIN-DELAY": ("900",),
        "LANG": (),
        "PIPELINING": (),
        "SASL": ("PLAIN", "XOAUTH2"),
        "STLS": (),
        "UTF8": ("USER",),
        "IMPLEMENTATION": ("Secret-Server",),
        "X-OTHER": (),
    }
)
BEGIN = """
    > start
    = open
    > opened
    S: +OK ready
"""


@pytest.fixture(params=[None, 1, 3], ids=["whole", "octets", "threes"])
def size(request):
    return request.param


@pytest.fixture
def play(size):
    def play_it(text, capabilities=OFFERED, begin=BEGIN, **policy):
        script = Script(POP3Session(POP3Policy(**policy)), capabilities, size=size)
        return script.play(begin + text) if begin else script.play(text)

    return play_it


# The greeting


def test_the_client_is_greeted_only_when_the_mail_server_is_ready(play):
    play(
        """
        > start
        = open
        ? login
        > opened
        S: +OK ready
        ? first_command
        C: CAPX
        S: -ERR unknown command
        ? command
        """,
        begin="",
    )


def test_list_right_after_connecting_works_without_any_login(play):
    play(
        """
        > start
        = open
        C: list
        C: retr 1
        > opened
        S: +OK ready
        P: LIST
        m: +OK 1 messages\\r\\n1 7\\r\\n.\\r\\n
        S: +OK 1 messages
        S: 1 7
        S: .
        P: RETR 1
        m: +OK\\r\\nhello\\r\\n.\\r\\n
        S: +OK
        S: hello
        S: .
        C: quit
        P: QUIT
        M: +OK bye
        S: +OK bye
        = abort server
        = close quit
        ? nobody
        """,
        begin="",
    )


FAILURES = [
    ("NameLookupFailed", "[SYS/TEMP] mail server not reachable", "upstream_name_lookup_failed"),
    ("HostNotFound", "[SYS/TEMP] mail server not reachable", "upstream_host_not_found"),
    ("Unreachable", "[SYS/TEMP] mail server not reachable", "upstream_unreachable"),
    ("RefusedSession", "[SYS/TEMP] mail server not reachable", "upstream_refused_session"),
    ("ConnectionLost", "[SYS/TEMP] mail server not reachable", "upstream_lost"),
    ("UpstreamTimeout", "[SYS/TEMP] mail server not reachable", "upstream_timeout"),
    ("Violation", "[SYS/TEMP] mail server not reachable", "upstream_protocol_error"),
    ("LacksTLS", "[SYS/PERM] mail server login not possible", "upstream_lacks_tls"),
    ("TLSFailed", "[SYS/PERM] mail server login not possible", "upstream_tls_failed"),
    ("LacksMechanism", "[SYS/PERM] mail server login not possible", "upstream_lacks_mechanism"),
    ("RefusedLogin", "[SYS/PERM] mail server login not possible", "upstream_refused_login"),
    ("RefusedLogin later", "[SYS/TEMP] mail server refuses the login for now", "upstream_refused_login"),
    ("RefusedLogin later SYS/TEMP", "[SYS/TEMP] mail server refuses the login for now", "upstream_refused_login"),
    ("RefusedLogin later IN-USE", "[IN-USE] mailbox is in use by another session", "upstream_refused_login"),
    ("RefusedLogin later LOGIN-DELAY", "[LOGIN-DELAY] too soon after the last session", "upstream_refused_login"),
    ("LoopDetected", "[SYS/PERM] mail server login not possible", "loop"),
    ("DestinationUnavailable", "[SYS/TEMP] credentials currently unavailable", "destination_unavailable"),
    ("TokenRefused", "[SYS/PERM] mail server login not possible", "token_refused"),
    ("DestinationUnknown", "[SYS/PERM] mail server login not possible", "destination_unknown"),
    ("DestinationUnusable", "[SYS/PERM] mail server login not possible", "destination_unusable"),
    ("LimitReached", "[SYS/TEMP] too many sessions, try later", "limit_reached"),
]


@pytest.mark.parametrize(("error", "words", "outcome"), FAILURES)
def test_a_failed_login_is_one_line_in_place_of_the_greeting(play, error, words, outcome):
    assert "[AUTH]" not in words
    play(
        f"""
        > start
        = open
        C: LIST
        > failed {error}
        S: -ERR {words}
        = close {outcome}
        """,
        begin="",
    )


def test_a_login_that_takes_too_long_is_given_up(play):
    script = play(
        """
        > start
        = open
        > expired
        S: -ERR [SYS/TEMP] mail server not reachable
        = abort server
        = close upstream_timeout
        > opened
        > failed Unreachable
        """,
        begin="",
    )
    assert [report.event for report in script.reports] == ["upstream_dropped"]


def test_a_client_that_leaves_during_the_login_ends_it(play):
    play(
        """
        > start
        = open
        > client lost
        = abort server
        = close downstream_lost
        > opened
        """,
        begin="",
    )


def test_a_probe_that_connects_and_closes_ends_the_login(play):
    play(
        """
        > start
        = open
        > client ended
        = abort server
        = close downstream_closed
        """,
        begin="",
    )


# Clients that log in although they need not


def test_user_and_pass_are_taken_and_mean_nothing(play):
    script = play(
        """
        C: USER anybody
        S: +OK
        C: PASS sentinel-secret
        S: +OK logged in
        C: STAT
        P: STAT
        M: +OK 0 0
        S: +OK 0 0
        """
    )
    assert script.reports == [Report("login_ignored", {"command": "USER"})]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("PASS y", "+OK logged in"),
        ("APOP x c4c9334bac560ecc979e58001b3e22fb", "-ERR APOP not supported"),
        ("AUTH", "-ERR no mechanism is offered"),
        ("AUTH XOAUTH2", "-ERR unknown mechanism"),
        ("AUTH CRAM-MD5", "-ERR unknown mechanism"),
        ("AUTH PLAIN a b", "-ERR invalid argument"),
        ("AUTH PLAIN AGEAYg==", "+OK logged in"),
        ("auth plain =", "+OK logged in"),
        ("STLS", "-ERR STLS not supported"),
    ],
)
def test_each_kind_of_login_has_its_answer(play, line, reply):
    play(f"C: {line}\nS: {reply}")


def test_auth_plain_is_played_along_with(play):
    play(
        """
        C: AUTH PLAIN
        s: + \\r\\n
        C: AGEAc2VudGluZWw=
        S: +OK logged in
        C: NOOP
        P: NOOP
        M: +OK
        S: +OK
        """
    )


def test_auth_login_is_played_along_with(play):
    play(
        """
        C: AUTH LOGIN
        S: + VXNlcm5hbWU6
        C: QUIT
        S: + UGFzc3dvcmQ6
        C: c2VudGluZWw=
        S: +OK logged in
        C: auth login YQ==
        S: + UGFzc3dvcmQ6
        C: Yg==
        S: +OK logged in
        """
    )


def test_a_star_gives_an_exchange_up(play):
    play(
        """
        C: AUTH LOGIN
        S: + VXNlcm5hbWU6
        C: *
        S: -ERR AUTH cancelled
        C: LIST 1
        P: LIST 1
        M: -ERR no such message
        S: -ERR no such message
        """
    )


def test_an_over_long_line_gives_an_exchange_up(play):
    play(
        f"""
        C: AUTH PLAIN
        s: + \\r\\n
        C: {"A" * 600}
        S: -ERR line too long
        C: AUTH
        S: -ERR no mechanism is offered
        """
    )


@pytest.mark.parametrize("line", ["USER x", "PASS y", "APOP x y", "AUTH", "AUTH PLAIN", "STLS"])
def test_after_the_first_command_of_the_transaction_a_login_is_refused(play, line):
    play(
        f"""
        C: NOOP
        P: NOOP
        M: +OK
        S: +OK
        C: {line}
        S: -ERR already authenticated
        """
    )


@pytest.mark.parametrize("line", ["USER x", "PASS y", "APOP x y", "AUTH", "AUTH PLAIN", "STLS"])
def test_logins_are_refused_at_once_where_the_operator_wants_that(play, line):
    play(f"C: {line}\nS: -ERR already authenticated", accept_any_login=False)


# CAPA


def test_capa_is_our_own_made_of_what_the_mail_server_offers(play):
    play(
        """
        C: capa
        S: +OK capability list follows
        S: USER
        S: PIPELINING
        S: TOP
        S: UIDL
        S: RESP-CODES
        S: AUTH-RESP-CODE
        S: EXPIRE 60 USER
        S: LOGIN-DELAY 900
        S: LANG
        S: .
        """
    )


def test_what_the_mail_server_does_not_offer_is_not_announced(play):
    play(
        """
        C: CAPA
        S: +OK capability list follows
        S: USER
        S: PIPELINING
        S: UIDL
        S: .
        """,
        POP3Capabilities({"UIDL": ("strange", "words"), "UTF8": ()}),
    )


def test_a_mail_server_without_capa_is_taken_to_have_top_and_uidl(play):
    play(
        """
        C: CAPA
        S: +OK capability list follows
        S: USER
        S: PIPELINING
        S: TOP
        S: UIDL
        S: .
        C: TOP 1 0
        P: TOP 1 0
        M: -ERR what is TOP?
        S: -ERR what is TOP?
        C: LANG
        S: -ERR unknown command
        """,
        POP3Capabilities(None),
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("NEVER",), "EXPIRE NEVER"),
        (("30", "USER"), "EXPIRE 30 USER"),
        (("<script>",), "EXPIRE"),
        ((), "EXPIRE"),
    ],
)
def test_arguments_of_a_capability_pass_only_as_the_standard_has_them(play, arguments, line):
    play(
        f"""
        C: CAPA
        S: +OK capability list follows
        S: USER
        S: PIPELINING
        S: {line}
        S: .
        """,
        POP3Capabilities({"EXPIRE": arguments}),
    )


# Commands and their responses


SINGLE = ["STAT", "LIST 2", "DELE 1", "NOOP", "RSET", "UIDL 2", "LANG de"]
MULTI = ["LIST", "UIDL", "RETR 1", "TOP 1 0", "LANG"]


@pytest.mark.parametrize("line", SINGLE)
def test_a_response_of_one_line_is_relayed_as_it_is(play, line):
    play(
        f"""
        C: {line.lower()}
        P: {line if "LANG" not in line else "LANG de"}
        ? reply
        M: +OK [SYS/TEMP]  two  blanks \\xe4
        S: +OK [SYS/TEMP]  two  blanks \\xe4
        ? command
        """
    )


@pytest.mark.parametrize("line", MULTI)
def test_a_response_of_many_lines_is_relayed_as_it_is(play, line):
    play(
        f"""
        C: {line.lower()}
        P: {line}
        M: +OK
        S: +OK
        ? body
        m: a\\nb\\r\\n..stuffed\\r\\n.\\r\\n
        s: a\\nb\\r\\n..stuffed\\r\\n.\\r\\n
        ? command
        """
    )


@pytest.mark.parametrize("line", SINGLE + MULTI)
def test_a_refusal_is_always_one_line(play, line):
    play(
        f"""
        C: {line}
        P: {line}
        M: -ERR [IN-USE] not now
        S: -ERR [IN-USE] not now
        ? command
        """
    )


def test_an_empty_body_ends_with_the_status_lines_own_crlf(play):
    play(
        """
        C: LIST
        P: LIST
        m: +OK\\r\\n.\\r\\n
        s: +OK\\r\\n.\\r\\n
        ? command
        """
    )


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("RETR", "-ERR invalid argument"),
        ("RETR one", "-ERR invalid argument"),
        ("RETR 12345678901", "-ERR invalid argument"),
        ("TOP 1", "-ERR invalid argument"),
        ("DELE -1", "-ERR invalid argument"),
        ("LIST 1 2", "-ERR invalid argument"),
        ("STAT x", "-ERR invalid argument"),
        ("LANG a_b", "-ERR invalid argument"),
        ("UTF8", "-ERR unknown command"),
        ("XTND XMIT", "-ERR unknown command"),
        ("GETS 1", "-ERR unknown command"),
        ("", "-ERR invalid command"),
        ("123", "-ERR invalid command"),
        ("LI\\x00ST", "-ERR invalid command"),
        ("LIST\\rDELE 1", "-ERR invalid command"),
    ],
)
def test_what_cannot_be_followed_is_refused_here_and_the_session_goes_on(play, line, reply):
    play(
        f"""
        C: {line}
        S: {reply}
        C: DELE 1
        P: DELE 1
        M: +OK
        S: +OK
        """
    )


@pytest.mark.parametrize(
    "line",
    [
        "GET / HTTP/1.1",
        "post /x HTTP/1.0",
        " OPTIONS * HTTP/1.1",
        "SSH-2.0-OpenSSH_9.6",
        pytest.param("POST /" + "a" * 600 + " HTTP/1.1", id="an_address_longer_than_a_line"),
        pytest.param("POST /" + "a" * 9000 + " HTTP/1.1", id="an_endless_address"),
    ],
)
def test_a_client_of_another_protocol_is_sent_away_and_what_it_brings_is_not_done(play, line):
    """A web page can make a browser send it: behind the header there can be commands."""
    play(
        f"""
        c: {line}\\r\\nHost: mail.test\\r\\n\\r\\nDELE 1\\r\\nQUIT\\r\\n
        S: -ERR this is a mail server
        = abort server
        = close not_pop3
        """
    )


@pytest.mark.parametrize("octets", ["\\x16\\x03\\x01\\x00", "\\x05\\x01\\x00", "\\x80\\x2e"])
def test_what_begins_like_no_command_is_cut_off(play, octets):
    play(
        f"""
        c: {octets}DELE 1\\r\\nQUIT\\r\\n
        = abort server
        = close not_pop3
        """
    )


def test_later_on_such_an_octet_is_only_an_invalid_command(play):
    play(
        """
        C: NOOP
        P: NOOP
        M: +OK
        S: +OK
        C: \\xff
        S: -ERR invalid command
        """
    )


def test_a_line_may_end_with_lf_alone(play):
    play(
        """
        c: stat\\n
        P: STAT
        M: +OK 0 0
        S: +OK 0 0
        """
    )


def test_a_line_may_have_512_octets(play):
    play(f"C: USER {'x' * 505}\nS: +OK")
    play(f"C: USER {'x' * 506}\nS: -ERR line too long\nC: USER x\nS: +OK")


def test_over_long_lines_are_refused_and_8_kib_of_them_end_the_session(play):
    script = play(
        f"""
        C: {"x" * 4000}
        S: -ERR line too long
        C: {"x" * 4000}
        S: -ERR line too long
        C: {"x" * 4000}
        S: -ERR line too long
        = abort server
        = close bad_line
        """
    )
    assert script.reports == [Report("bad_line", {})] * 3


def test_a_line_without_end_ends_the_session(play):
    play(
        f"""
        c: {"x" * 9000}
        S: -ERR line too long
        = abort server
        = close bad_line
        """
    )


# Pipelining


def test_pipelined_commands_go_upstream_one_at_a_time_and_are_answered_in_order(play):
    play(
        """
        c: DELE 1\\r\\nCAPA\\r\\nBAD\\r\\nRETR 2\\r\\nNOOP\\r\\nQUIT\\r\\n
        P: DELE 1
        M: +OK marked
        S: +OK marked
        S: +OK capability list follows
        S: USER
        S: PIPELINING
        S: .
        S: -ERR unknown command
        P: RETR 2
        m: +OK\\r\\nx\\r\\n
        s: +OK\\r\\nx\\r\\n
        m: .\\r\\n
        s: .\\r\\n
        P: NOOP
        M: +OK
        S: +OK
        P: QUIT
        M: +OK bye
        S: +OK bye
        = abort server
        = close quit
        """,
        POP3Capabilities({}),
    )


def test_what_comes_behind_quit_is_thrown_away(play):
    play(
        """
        c: QUIT\\r\\nDELE 1\\r\\n
        P: QUIT
        C: RETR 1
        ? quit_reply
        M: +OK bye
        S: +OK bye
        = abort server
        = close quit
        C: NOOP
        M: +OK
        """
    )


@pytest.mark.parametrize("early", [True, False])
def test_a_client_that_sends_ahead_without_end_is_not_read_any_further(early):
    session = POP3Session(POP3Policy(max_queued_octets=100))
    script = Script(session, OFFERED)
    script.play("> start\n= open" if early else BEGIN + "C: NOOP\nP: NOOP")
    session.receive_downstream(b"NOOP\r\n" * 16)
    assert session.next_action() is None
    assert session.reading
    session.receive_downstream(b"NOOP\r\n" * 4)
    assert session.next_action() is None
    assert not session.reading
    answers = 0
    if early:
        session.upstream_opened(OFFERED)
    else:
        session.receive_upstream(b"+OK\r\n")
    while (action := session.next_action()) is not None:
        if isinstance(action, SendUpstream):
            answers += 1
            session.receive_upstream(b"+OK\r\n")
    assert answers == 20
    assert session.reading


# Bodies


def test_a_body_is_passed_on_in_pieces_as_it_comes():
    session = POP3Session(POP3Policy())
    script = Script(session, OFFERED).play(BEGIN + "C: RETR 1\nP: RETR 1\nM: +OK\nS: +OK")
    chunk = b"0123456789" * 6000
    serials = set()
    for _ in range(50):
        session.receive_upstream(chunk)
        assert session.next_action().raw is chunk
        assert session.next_action() is None
        serials.add((session.waiting, session.wait_serial))
    assert len(serials) == 50, "progress starts the clock of the body anew"
    script.play("m: \\r\\n.\\r\\n\ns: \\r\\n.\\r\\n\n? command")


def test_bare_newlines_in_a_body_are_mended_where_the_operator_wants_that(play):
    play(
        """
        C: RETR 1
        P: RETR 1
        m: +OK\\r\\na\\n.\\n+OK forged\\r\\n.\\r\\n
        s: +OK\\r\\na\\r\\n..\\r\\n+OK forged\\r\\n.\\r\\n
        ? command
        """,
        fix_newlines=True,
    )


def test_a_mail_server_lost_inside_a_body_never_completes_it(play):
    play(
        """
        C: RETR 1
        P: RETR 1
        m: +OK\\r\\nhalf a mail\\r\\n.
        s: +OK\\r\\nhalf a mail\\r\\n
        > server lost
        = abort upstream_lost
        ? nobody
        """
    )


def test_a_body_that_stands_still_never_is_completed(play):
    play(
        """
        C: RETR 1
        P: RETR 1
        m: +OK\\r\\nhalf
        s: +OK\\r\\nhalf
        ? body
        > expired
        = abort server
        = abort upstream_timeout
        """
    )


# What is no response


@pytest.mark.parametrize(
    "octets",
    [
        "* OK\\r\\n",
        "+OKAY\\r\\n",
        "+ok\\r\\n",
        "+OK\\n",
        "-ERR\\tx\\r\\n",
        "220 hi\\r\\n",
        "x" * 5000,
        "+OK a\\rb\\r\\n",
    ],
)
def test_what_is_no_status_line_ends_the_session(play, octets):
    script = play(
        f"""
        C: STAT
        P: STAT
        m: {octets}
        S: -ERR [SYS/TEMP] mail server protocol error
        = abort server
        = close upstream_protocol_error
        """
    )
    (report,) = script.reports
    assert report.event == "upstream_dropped"
    assert report.fields["reason"].endswith("waiting for the response to STAT")


def test_a_status_line_may_have_4096_octets(play):
    play(f"C: STAT\nP: STAT\nM: +OK {'x' * 4090}\nS: +OK {'x' * 4090}")


def test_the_owner_conceals_what_no_status_line_may_tell(play):
    script = play("")
    script.session.conceal = lambda text: text.replace(b"secret", b"?")
    script.play(
        """
        C: RETR 1
        P: RETR 1
        m: +OK the secret\\r\\nsecret\\r\\n.\\r\\n
        s: +OK the ?\\r\\nsecret\\r\\n.\\r\\n
        """
    )


def test_control_octets_of_a_status_line_are_not_passed_on(play):
    play(
        """
        C: RETR 1
        P: RETR 1
        m: -ERR [SYS/TEMP] \\x1b[2J\\x07\\x7f\\r\\n
        S: -ERR [SYS/TEMP] ?[2J??
        """
    )


def test_octets_out_of_turn_are_never_delivered(play):
    script = play(
        """
        m: +OK forged\\r\\n
        = abort server
        = close upstream_desync
        """
    )
    assert [report.event for report in script.reports] == ["upstream_desync"]


@pytest.mark.parametrize("body", ["+OK\\r\\n", "+OK\\r\\nx\\r\\n.\\r\\n"])
def test_octets_behind_a_response_are_never_delivered(play, body):
    line = "RETR 1" if "x" in body else "STAT"
    play(
        f"""
        C: {line}
        P: {line}
        m: {body}+OK forged\\r\\n
        s: {body}
        = abort server
        = close upstream_desync
        """
    )


def test_octets_before_the_login_is_over_end_the_session(play):
    play(
        """
        > start
        = open
        m: +OK forged\\r\\n
        S: -ERR [SYS/TEMP] mail server not reachable
        = abort server
        = close upstream_desync
        """,
        begin="",
    )


# QUIT, drops, deletions


def test_quit_goes_upstream_and_its_answer_comes_back(play):
    play(
        """
        C: DELE 1
        P: DELE 1
        M: +OK marked
        S: +OK marked
        C: QUIT
        P: QUIT
        ? quit_reply
        M: -ERR some deleted messages not removed
        S: -ERR some deleted messages not removed
        = abort server
        = close quit
        """
    )


@pytest.mark.parametrize("event", ["> server lost", "> expired", "m: 250 bye\\r\\n"])
def test_a_lost_answer_to_quit_is_said_to_be_lost(play, event):
    outcome = {"> server lost": "upstream_lost", "> expired": "upstream_timeout"}.get(event, "upstream_protocol_error")
    play(
        f"""
        C: QUIT
        P: QUIT
        {event}
        S: -ERR [SYS/TEMP] connection lost, some deleted messages may remain
        {"" if "lost" in event else "= abort server"}
        = close {outcome}
        """
    )


def test_a_client_that_drops_deletes_nothing(play):
    play(
        """
        C: DELE 1
        P: DELE 1
        M: +OK marked
        S: +OK marked
        > client lost
        = abort server
        = close downstream_lost
        ? nobody
        """
    )


def test_a_client_that_drops_inside_a_body_ends_the_connection_at_once(play):
    play(
        """
        C: RETR 1
        P: RETR 1
        m: +OK\\r\\nhalf
        s: +OK\\r\\nhalf
        > client lost
        = abort server
        = close downstream_lost
        """
    )


def test_a_quit_that_went_upstream_is_seen_through_when_the_client_drops(play):
    play(
        """
        C: QUIT
        P: QUIT
        > client lost
        ? quit_reply
        M: +OK bye
        = abort server
        = close quit
        """
    )


def test_a_quit_that_still_waits_is_not_sent_for_a_client_that_drops(play):
    play(
        """
        c: DELE 1\\r\\nQUIT\\r\\n
        P: DELE 1
        > client lost
        = abort server
        = close downstream_lost
        """
    )


def test_a_half_closed_client_gets_all_its_answers(play):
    play(
        """
        c: STAT\\r\\nNOOP\\r\\nRE
        P: STAT
        > client ended
        M: +OK 0 0
        S: +OK 0 0
        P: NOOP
        M: +OK
        S: +OK
        = abort server
        = close downstream_closed
        """
    )


def test_a_half_closed_client_that_sent_quit_has_its_deletions_carried_out(play):
    play(
        """
        > start
        = open
        c: DELE 1\\r\\nQUIT\\r\\n
        > client ended
        > opened
        S: +OK ready
        P: DELE 1
        M: +OK
        S: +OK
        P: QUIT
        M: +OK
        S: +OK
        = abort server
        = close quit
        """,
        begin="",
    )


def test_an_idle_client_that_half_closes_is_gone_without_quit(play):
    play("> client ended\n= abort server\n= close downstream_closed")


def test_a_mail_server_lost_between_commands_ends_the_clients_connection(play):
    play("> server lost\n= abort upstream_lost")


def test_a_mail_server_lost_while_a_command_is_pending_is_told(play):
    play(
        """
        C: STAT
        P: STAT
        m: +OK 1
        > server lost
        S: -ERR [SYS/TEMP] connection to mail server lost
        = close upstream_lost
        """
    )


def test_a_mail_server_that_does_not_answer_is_told(play):
    script = play(
        """
        C: STAT
        P: STAT
        > expired
        S: -ERR [SYS/TEMP] mail server did not answer in time
        = abort server
        = close upstream_timeout
        """
    )
    reason = "the mail server did not answer in time: waiting for the response to STAT"
    assert script.reports == [Report("upstream_dropped", {"reason": reason})]


@pytest.mark.parametrize("octets", ["", "LIS"])
def test_an_idle_client_is_sent_away_without_a_word_and_without_quit(play, octets):
    play(
        f"""
        C: DELE 1
        P: DELE 1
        M: +OK
        S: +OK
        c: {octets}
        ? {"line" if octets else "command"}
        > expired
        = abort server
        = close downstream_timeout
        """
    )


def test_a_first_command_that_has_begun_has_as_long_as_any_line():
    session = POP3Session(POP3Policy())
    Script(session, OFFERED).play(BEGIN)
    assert session.waiting is Waiting.DOWNSTREAM_FIRST_COMMAND
    serial = session.wait_serial + 1
    for octet in b"NOOP\r":
        session.receive_downstream(bytes([octet]))
        assert session.next_action() is None
        assert (session.waiting, session.wait_serial) == (Waiting.DOWNSTREAM_LINE, serial)


def test_octets_that_trickle_in_do_not_prolong_the_wait_for_their_line():
    session = POP3Session(POP3Policy())
    Script(session, OFFERED).play(BEGIN + "C: CAPX\nS: -ERR unknown command\n")
    waits = []
    for octet in b"NOOP\r":
        session.receive_downstream(bytes([octet]))
        assert session.next_action() is None
        waits.append((session.waiting, session.wait_serial))
    assert len(set(waits)) == 1
    assert waits[0][0] is Waiting.DOWNSTREAM_LINE


def test_a_status_line_that_trickles_in_has_one_deadline():
    session = POP3Session(POP3Policy())
    script = Script(session, OFFERED).play(BEGIN + "C: STAT\nP: STAT")
    serial = session.wait_serial
    for octet in b"+OK 1 200\r":
        session.receive_upstream(bytes([octet]))
        assert (session.waiting, session.wait_serial) == (Waiting.UPSTREAM_REPLY, serial)
    script.play(
        "> expired\nS: -ERR [SYS/TEMP] mail server did not answer in time\n= abort server\n= close upstream_timeout"
    )


def test_every_command_starts_the_clock_anew():
    session = POP3Session(POP3Policy())
    script = Script(session, OFFERED).play(BEGIN)
    serials = {session.wait_serial}
    for _ in range(3):
        script.play("C: CAPX\nS: -ERR unknown command\n? command")
        serials.add(session.wait_serial)
    assert len(serials) == 4


# Destinations without login


ANONYMOUS = POP3Capabilities({"TOP": ()}, logged_in=False)


def test_without_a_login_of_ours_the_client_brings_its_own(play):
    script = play(
        """
        C: list
        S: -ERR log in first
        C: NOOP
        S: -ERR log in first
        C: user bob smith
        P: USER bob smith
        M: +OK send PASS
        S: +OK send PASS
        C: pass wrong
        P: PASS wrong
        M: -ERR [AUTH] no
        S: -ERR [AUTH] no
        C: STAT
        S: -ERR log in first
        C: PASS  two  blanks\\x20
        P: PASS  two  blanks\\x20
        M: +OK welcome
        S: +OK welcome
        C: stat
        P: STAT
        M: +OK 0 0
        S: +OK 0 0
        C: USER again
        S: -ERR already authenticated
        """,
        ANONYMOUS,
    )
    assert script.reports == []


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("APOP x y", "-ERR APOP not supported"),
        ("AUTH", "-ERR AUTH not supported"),
        ("AUTH PLAIN AGEAYg==", "-ERR AUTH not supported"),
        ("STLS", "-ERR STLS not supported"),
        ("USER", "-ERR invalid argument"),
        ("PASS ", "-ERR invalid argument"),
        ("RETR 1", "-ERR log in first"),
        ("XYZ", "-ERR unknown command"),
    ],
)
def test_without_a_login_other_ways_in_are_refused(play, line, reply):
    play(f"C: {line}\nS: {reply}", ANONYMOUS)


def test_without_a_login_quit_and_capa_work(play):
    play(
        """
        C: CAPA
        S: +OK capability list follows
        S: USER
        S: PIPELINING
        S: TOP
        S: .
        C: QUIT
        P: QUIT
        M: +OK
        S: +OK
        = abort server
        = close quit
        """,
        ANONYMOUS,
    )


def test_a_refused_client_still_reads_the_refusal_when_the_mail_server_closes(play):
    play(
        """
        C: PASS x
        P: PASS x
        M: -ERR no
        S: -ERR no
        > server lost
        = close upstream_lost
        """,
        ANONYMOUS,
    )


# Whatever happens

PIECES = st.sampled_from(
    [
        b"LIST\r\n",
        b"retr 1\r\n",
        b"QUIT\r\n",
        b"USER x\r\n",
        b"AUTH LOGIN\r\n",
        b"*\r\n",
        b"CAPA\r\n",
        b"\xff\0\n",
        b"x" * 600,
    ]
)
RESPONSES = st.sampled_from([b"+OK\r\n", b"-ERR\r\n", b"+OK x\r\n.\r\n", b"a\r\n", b".\r\n", b"\n", b"+", b"junk\r\n"])
STEPS = st.one_of(
    PIECES.map(lambda raw: ("receive_downstream", raw)),
    RESPONSES.map(lambda raw: ("receive_upstream", raw)),
    st.sampled_from([("expired",), ("downstream_ended",), ("downstream_lost",), ("upstream_opened", OFFERED)]),
)


def actions(session):
    found = []
    while (action := session.next_action()) is not None:
        found.append(action)
    return found


@settings(max_examples=200)
@given(st.lists(STEPS, max_size=14))
def test_every_session_ends_once_and_quits_only_for_its_client(steps):
    session = POP3Session(POP3Policy())
    session.start()
    done = actions(session)
    session.upstream_opened(OFFERED)
    done += actions(session)
    sent = b""
    for name, *arguments in [*steps, ("downstream_lost",), ("expired",), ("expired",)]:
        if name == "receive_downstream":
            sent += arguments[0]
        getattr(session, name)(*arguments)
        done += actions(session)
    ends = [action for action in done if isinstance(action, CloseDownstream | AbortDownstream)]
    assert len(ends) == 1
    assert done[-1] is ends[0]
    assert session.waiting is Waiting.NOBODY
    assert done.count(AbortUpstream()) == 1
    if b"QUIT" not in sent:
        assert SendUpstream(b"QUIT\r\n") not in done


def merged(found):
    """The octets to each side, and all else, in order."""
    down = b"".join([action.raw for action in found if isinstance(action, SendDownstream)])
    up = b"".join([action.raw for action in found if isinstance(action, SendUpstream)])
    return down, up, [action for action in found if not isinstance(action, SendDownstream | SendUpstream)]


class MailServer:
    """Answers each command at once, its octets cut at given places."""

    def __init__(self, session, sizes):
        self.session = session
        self.sizes = sizes

    def cut(self, octets):
        pieces, number = [], 0
        while octets:
            size = self.sizes[number % len(self.sizes)] if self.sizes else len(octets)
            pieces.append(octets[:size])
            octets, number = octets[size:], number + 1
        return pieces

    def run(self):
        done = []
        while (action := self.session.next_action()) is not None:
            done.append(action)
            if isinstance(action, SendUpstream):
                many = re.fullmatch(rb"(LIST|RETR 1)\r\n", action.raw)
                for piece in self.cut(b"+OK\r\na\n.\n..b\r\n.\r\n" if many else b"+OK\r\n"):
                    self.session.receive_upstream(piece)
        return done


CONVERSATIONS = st.lists(PIECES, max_size=10).map(b"".join)
SIZES = st.lists(st.integers(1, 9), max_size=6)


def converse(octets, sizes):
    session = POP3Session(POP3Policy())
    server = MailServer(session, sizes)
    session.start()
    done = server.run()
    session.upstream_opened(OFFERED)
    done += server.run()
    for piece in server.cut(octets):
        session.receive_downstream(piece)
        done += server.run()
    return merged(done)


@settings(max_examples=150, deadline=None)
@given(CONVERSATIONS, SIZES)
def test_the_same_octets_have_the_same_effect_however_they_are_cut(octets, sizes):
    assert converse(octets, sizes) == converse(octets, [])


def test_a_client_has_no_name_that_a_mail_server_could_be_told():
    assert POP3Session(POP3Policy()).helo == (b"", False)
