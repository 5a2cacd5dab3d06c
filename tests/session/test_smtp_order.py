"""Replies and commands that cross each other: every command keeps its own reply, and mail data is never a command."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.session.smtp_policy import SMTPPolicy
from tests.session.smtp_script import extensions, play
from tests.session.smtp_story import Story

GREETING = "S: 220 proxy.test ESMTP mailproxy\n"
EHLO = GREETING + "C: EHLO client\nopen PIPELINING\nS: 250-proxy.test\nS: 250 PIPELINING\n"
MAIL = "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 250 2.1.0 Ok\nS: 250 2.1.0 Ok\n"
RCPT = "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 250 2.1.5 Ok\nS: 250 2.1.5 Ok\n"
DATA = "C: DATA\nM: DATA\nU: 354 go\nS: 354 go\n"
SENT = EHLO + MAIL + RCPT + DATA + "C: .\nm: .\\r\\n\nU: 250 ok\nS: 250 ok\n"
LAX = SMTPPolicy("proxy.test", strict_sync=False)


CONVERSATIONS = {
    "the_next_command_of_a_group_may_come_in_the_middle_of_a_reply": EHLO
    + """
        C: MAIL FROM:<a@x>
        M: MAIL FROM:<a@x>
        u: 250-2.1.0 fi
        C: RCPT TO:<b@y>
        M: RCPT TO:<b@y>
        u: rst\\r\\n250 2.1.0 second\\r\\n250 2.1.5 Ok\\r\\n
        S: 250-2.1.0 first
        S: 250 2.1.0 second
        S: 250 2.1.5 Ok
        quiet
    """,
    "what_follows_a_mail_that_is_tried_again_keeps_its_place": SENT
    + """
        c: MAIL FROM:<c@x>\\r\\nNOOP\\r\\nFROB\\r\\n \\r\\nRCPT TO:<d@y>\\r\\n
        M: MAIL FROM:<c@x>
        quiet
        lost
        open fresh PIPELINING
        M: MAIL FROM:<c@x>
        M: RCPT TO:<d@y>
        u: 550 no\\r\\n503 need mail\\r\\n
        S: 550 no
        S: 250 2.0.0 OK
        S: 500 5.5.1 Command not recognized
        S: 500 5.5.2 Empty command line
        S: 503 need mail
        quiet
    """,
    "a_mail_that_is_tried_again_and_refused_is_refused": SENT
    + """
        c: MAIL FROM:<c@x>\\r\\nNOOP\\r\\n
        M: MAIL FROM:<c@x>
        lost
        fail fresh Unreachable
        S: 451 4.4.1 Upstream not reachable
        S: 250 2.0.0 OK
        quiet
    """,
    "half_a_reply_to_mail_is_not_no_reply": SENT
    + """
        C: MAIL FROM:<c@x>
        M: MAIL FROM:<c@x>
        u: 250-2.1
        lost
        S: 451 4.4.2 Upstream connection lost
        quiet
    """,
    "a_group_behind_a_mail_that_our_login_does_not_allow": EHLO
    + """
        c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nDATA\\r\\n
        M: MAIL FROM:<a@x>
        M: RCPT TO:<b@y>
        M: DATA
        U: 530 5.7.0 log in first
        abort
        S: 451 4.7.0 Upstream authentication failed
        S: 503 5.5.1 Need MAIL first
        S: 503 5.5.1 Need MAIL first
        C: MAIL FROM:<a@x>
        open PIPELINING
        M: MAIL FROM:<a@x>
    """,
    "early_mail_data_and_a_lost_server": EHLO
    + """
        c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nDATA\\r\\n
        M: MAIL FROM:<a@x>
        M: RCPT TO:<b@y>
        M: DATA
        C: Subject: early
        lost
        S: 451 4.4.2 Upstream connection lost
        S: 503 5.5.1 Need MAIL first
        S: 554 5.5.0 Error: SMTP protocol synchronization
        close downstream_desync
        quiet
    """,
    "early_mail_data_and_a_server_out_of_its_mind": EHLO
    + MAIL
    + """
        C: DATA
        M: DATA
        C: Subject: early
        U: 250 thanks
        abort
        S: 554 5.5.0 Error: SMTP protocol synchronization
        close downstream_desync
        quiet
    """,
    "early_mail_data_and_a_silent_server": EHLO
    + MAIL
    + """
        C: DATA
        M: DATA
        C: Subject: early
        expire UPSTREAM_DATA_REPLY
        abort
        S: 554 5.5.0 Error: SMTP protocol synchronization
        close downstream_desync
        quiet
    """,
    "a_client_that_closes_its_side_behind_data": EHLO
    + MAIL
    + """
        C: DATA
        M: DATA
        eof
        U: 354 go
        S: 354 go
        abort
        close downstream_lost
        quiet
    """,
    "a_client_that_closes_its_side_before_a_chunk_is_through": EHLO
    + MAIL
    + """
        c: RCPT TO:<b@y>\\r\\nBDAT 100\\r\\nabc
        M: RCPT TO:<b@y>
        eof
        U: 250 ok
        S: 250 ok
        release
        close downstream_lost
        quiet
    """,
    "a_server_lost_while_a_chunk_is_swallowed": EHLO
    + MAIL
    + """
        c: BDAT 4\\r\\n12
        lost
        c: 34
        S: 503 5.5.1 CHUNKING not advertised
        C: RCPT TO:<b@y>
        S: 421 4.4.2 Upstream connection lost
        close upstream_lost
        quiet
    """,
    "an_early_word_about_our_login_is_not_the_clients": EHLO
    + MAIL
    + RCPT
    + DATA
    + """
        C: part
        M: part
        U: 530 5.7.0 log in first
        abort
        C: .
        S: 451 4.4.2 Upstream connection lost
        quiet
    """,
    "an_early_421_ends_the_session_at_the_end_of_the_mail": EHLO
    + MAIL
    + RCPT
    + DATA
    + """
        C: part
        M: part
        U: 421 4.3.2 shutting down
        abort
        C: .
        S: 421 4.3.2 shutting down
        close upstream_421
        quiet
    """,
    "a_mail_in_a_transaction_whose_server_is_lost": EHLO
    + MAIL
    + "lost\nC: MAIL FROM:<c@x>\nS: 421 4.4.2 Upstream connection lost\nclose upstream_lost\nquiet",
    "ehlo_when_the_server_is_lost_before_the_reset": EHLO
    + MAIL
    + "C: EHLO again\nM: RSET\nlost\nopen\nS: 250-proxy.test\nS: 250 PIPELINING\nquiet",
    "who_speaks_while_ehlo_resets": EHLO
    + MAIL
    + """
        C: EHLO again
        M: RSET
        C: NOOP
        U: 250 flushed
        S: 554 5.5.0 Error: SMTP protocol synchronization
        release
        close downstream_desync
        quiet
    """,
    "who_speaks_while_ehlo_resets_and_the_server_is_lost": EHLO
    + MAIL
    + """
        C: EHLO again
        M: RSET
        C: NOOP
        lost
        S: 554 5.5.0 Error: SMTP protocol synchronization
        close downstream_desync
        quiet
    """,
    "ehlo_when_the_server_has_begun_to_speak_out_of_turn": EHLO
    + MAIL
    + "u: 250-su\nC: EHLO again\nabort\nopen\nS: 250-proxy.test\nS: 250 PIPELINING\nquiet",
    "who_speaks_while_ehlo_resets_and_the_server_refuses": EHLO
    + MAIL
    + """
        C: EHLO again
        M: RSET
        C: NOOP
        U: 500 no
        abort
        S: 554 5.5.0 Error: SMTP protocol synchronization
        close downstream_desync
        quiet
    """,
    "a_greeting_in_place_of_the_reply_to_mail": EHLO
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 220 hello\nabort\nS: 451 4.5.0 Upstream protocol error\nquiet",
    "a_farewell_in_place_of_the_reply_to_rcpt": EHLO
    + MAIL
    + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 221 bye\nabort\nS: 451 4.5.0 Upstream protocol error\nquiet",
    "a_farewell_in_place_of_the_reply_to_rset": EHLO
    + MAIL
    + "C: RSET\nM: RSET\nU: 221 bye\nabort\nS: 250 2.0.0 OK\nquiet",
    "a_farewell_in_place_of_the_reply_to_the_end_of_data": EHLO
    + MAIL
    + RCPT
    + DATA
    + "C: .\nm: .\\r\\n\nU: 221 bye\nabort\nS: 451 4.4.2 Delivery status unknown\nquiet",
    "a_parameter_of_rcpt_that_a_new_server_does_not_know": GREETING
    + """
        C: EHLO client
        open DSN
        S: 250-proxy.test
        S: 250-PIPELINING
        S: 250 DSN
        lost
        C: MAIL FROM:<a@x>
        open
        M: MAIL FROM:<a@x>
        U: 250 ok
        S: 250 ok
        C: RCPT TO:<b@y> NOTIFY=NEVER
        S: 451 4.3.0 Parameter not available at the moment
        C: RCPT TO:<b@y>
        M: RCPT TO:<b@y>
        quiet
    """,
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation(name):
    play(CONVERSATIONS[name])


LAX_CONVERSATIONS = {
    "behind_data_with_an_argument": EHLO
    + MAIL
    + "c: DATA now\\r\\nRSET\\r\\n\nS: 501 5.5.4 DATA takes no argument\nrelease\nclose bad_pipeline\nquiet",
    "behind_data_without_mail": EHLO
    + "c: DATA\\r\\nRSET\\r\\n\nS: 503 5.5.1 Need MAIL before DATA\nrelease\nclose bad_pipeline\nquiet",
    "behind_data_that_is_refused": EHLO
    + MAIL
    + "c: DATA\\r\\nRSET\\r\\n\nM: DATA\nU: 554 no\nS: 554 no\nrelease\nclose bad_pipeline\nquiet",
    "behind_data_that_our_login_does_not_allow": EHLO
    + MAIL
    + "c: DATA\\r\\nRSET\\r\\n\nM: DATA\nU: 530 5.7.0 log in first\nS: 451 4.7.0 Upstream authentication failed\n"
    + "release\nclose bad_pipeline\nquiet",
    "behind_data_to_which_the_server_says_farewell": EHLO
    + MAIL
    + "c: DATA\\r\\nRSET\\r\\n\nM: DATA\nU: 421 bye\nabort\nS: 421 bye\nclose upstream_421\nquiet",
    "behind_data_when_the_server_is_lost": EHLO
    + MAIL
    + "c: DATA\\r\\nRSET\\r\\n\nM: DATA\nlost\nS: 421 4.4.2 Upstream connection lost\nclose upstream_lost\nquiet",
    "behind_a_group_when_the_server_is_lost": EHLO
    + """
        c: MAIL FROM:<a@x>\\r\\nDATA\\r\\nRSET\\r\\n
        M: MAIL FROM:<a@x>
        M: DATA
        lost
        S: 451 4.4.2 Upstream connection lost
        S: 421 4.4.2 Upstream connection lost
        close upstream_lost
        quiet
    """,
    "behind_data_when_the_server_breaks_the_protocol": EHLO
    + MAIL
    + """
        c: DATA\\r\\nRSET\\r\\n
        M: DATA
        U: 250 thanks
        abort
        S: 421 4.4.2 Upstream connection lost
        close upstream_protocol_error
        quiet
    """,
    "all_of_it_before_the_client_closes_its_side": EHLO
    + """
        c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nDATA\\r\\nx\\r\\n.\\r\\nQUIT\\r\\n
        eof
        M: MAIL FROM:<a@x>
        M: RCPT TO:<b@y>
        M: DATA
        u: 250 a\\r\\n250 b\\r\\n354 c\\r\\n
        S: 250 a
        S: 250 b
        S: 354 c
        m: x\\r\\n.\\r\\n
        U: 250 queued
        S: 250 queued
        S: 221 2.0.0 proxy.test closing connection
        release
        close quit
        quiet
    """,
}


@pytest.mark.parametrize("name", LAX_CONVERSATIONS)
def test_mail_data_that_came_early_never_becomes_a_command(name):
    play(LAX_CONVERSATIONS[name], LAX)


def test_no_more_commands_are_taken_than_replies_may_wait():
    policy = SMTPPolicy("proxy.test", max_pipelined_commands=3)
    script = play(
        EHLO + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\n" + "C: NOOP\n" * 5 + "C: RCPT TO:<b@y>\nquiet", policy
    )
    script.run("U: 250 one\nS: 250 one\n" + "S: 250 2.0.0 OK\n" * 5 + "M: RCPT TO:<b@y>\nquiet")


def test_who_goes_on_out_of_turn_is_reported_once_and_ignored():
    script = play(EHLO + MAIL + "C: DATA\nM: DATA\nC: one\nC: two\nC: .\nC: QUIT\nquiet")
    assert script.reports.count("downstream_desync") == 1
    script.run("U: 354 go\nabort\nS: 554 5.5.0 Error: SMTP protocol synchronization\nclose downstream_desync\nquiet")


def test_bare_newlines_are_reported_once_in_a_session():
    message = MAIL + RCPT + DATA + "c: a\\nb\\r\\n.\\r\\n\nm: a\\r\\nb\\r\\n.\\r\\n\nU: 250 ok\nS: 250 ok\n"
    assert play(EHLO + 3 * message).reports.count("newlines_mended") == 1


def test_a_size_that_only_we_announced_is_for_us_to_judge():
    policy = SMTPPolicy("proxy.test", max_message_octets=100)
    start = (
        GREETING + "C: EHLO c\nopen 8BITMIME\nS: 250-proxy.test\nS: 250-PIPELINING\nS: 250-SIZE 100\nS: 250 8BITMIME\n"
    )
    play(start + "C: MAIL FROM:<a@x> SIZE=50 BODY=8BITMIME\nM: MAIL FROM:<a@x> BODY=8BITMIME\nquiet", policy)
    play(start + "C: MAIL FROM:<a@x> SIZE=101\nS: 552 5.3.4 Message size exceeds limit\nquiet", policy)


def test_a_delivered_message_makes_up_for_idle_talk():
    policy = SMTPPolicy("proxy.test", max_junk_commands=2)
    resets = "C: RSET\nS: 250 2.0.0 OK\n" * 2
    message = (SENT.removeprefix(EHLO)) + resets
    play(EHLO + resets + message + message + "C: RSET\nS: 250 2.0.0 OK\nS: 421 4.7.0 Too many errors\nrelease", policy)


def test_the_last_straw_keeps_its_own_reply():
    policy = SMTPPolicy("proxy.test", max_junk_commands=0)
    play(
        EHLO
        + MAIL
        + """
            C: RSET
            M: RSET
            U: 250 flushed
            S: 250 flushed
            S: 421 4.7.0 Too many errors
            release
            close too_many_errors
        """,
        policy,
    )


# Any order of events

USUAL_LINES = ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "RSET", "NOOP", "FROB", ""]
RARE_LINES = ["EHLO x", "HELO x", "QUIT", "BDAT 3", "body", ".", "x\r\n."]
LINES = st.sampled_from(2 * USUAL_LINES + RARE_LINES).map(lambda line: line.encode() + b"\r\n")
TALK = st.one_of(LINES, st.lists(LINES, min_size=2, max_size=4).map(b"".join))
PIECES = st.sampled_from([b"NO", b"MAIL FR", b"\r", b"\n", b"x\0"])
CODES = st.sampled_from([250, 250, 250, 354, 354, 550, 451, 421, 530])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("client"), TALK),
        st.tuples(st.just("client"), st.one_of(TALK, PIECES)),
        st.tuples(st.just("server"), CODES),
        st.tuples(st.sampled_from(["open", "lose"]), st.booleans()),
        st.tuples(st.sampled_from(["open", "want"]), st.just(True)),
        st.tuples(st.just("garbage"), st.sampled_from([b"25", b"+OK\r\n"])),
        st.tuples(st.sampled_from(["open", "fail", "expire", "half_close"]), st.none()),
    ),
    min_size=4,
    max_size=30,
)
USUAL = [("client", b"EHLO x\r\n"), ("open", None)]
MESSAGE = [
    ("client", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
    *[("server", code) for code in (250, 250, 354)],
    ("client", b"x\r\n.\r\n"),
    ("server", 250),
]


def test_a_usual_story():
    story = Story().play([*USUAL, *MESSAGE, *MESSAGE, ("client", b"QUIT\r\n")])
    story.check()
    assert story.outcome == "quit"
    assert story.server_side.completed == 2
    assert list(story.server_side.answered.values()) == [b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b"."] * 2


@given(EVENTS, st.sampled_from([[], USUAL, [*USUAL, *MESSAGE], [*USUAL, *MESSAGE[:4]]]), st.booleans(), st.booleans())
@settings(max_examples=200)
def test_in_whatever_order_things_happen_every_command_has_its_own_reply(events, before, strict, is_known):
    known = extensions("PIPELINING", "DSN") if is_known else None
    story = Story(SMTPPolicy("proxy.test", strict_sync=strict), known).play([*before, *events])
    story.check()


@given(EVENTS, st.integers(0, 4), st.sampled_from([("lose", None), ("server", 421), ("server", 530)]))
@settings(max_examples=200)
def test_a_group_on_a_connection_that_proves_stale_has_its_replies_once_and_in_order(events, recipients, stale):
    group = b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * recipients + b"DATA\r\n"
    beginning = [("client", b"EHLO x\r\n"), ("open", True), ("client", group), stale, ("open", True)]
    story = Story().play(beginning)
    assert story.server_side.unanswered == group.splitlines()
    story.play(events)
    story.check()


@given(EVENTS, st.sampled_from([[], USUAL, [*USUAL, *MESSAGE], [*USUAL, *MESSAGE[:4]]]))
@settings(max_examples=200)
def test_whatever_happened_silence_ends_it(events, before):
    story = Story().play([*before, *events])
    for _ in range(60):
        if story.outcome is None:
            story.play([("fail" if story.upstream == "opening" else "expire", None)])
    assert story.outcome is not None
    story.check()
