"""An SMTP session whose listener goes away: what is under way is finished, everybody else is told, and all ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.session.actions import CloseDownstream, SendDownstream
from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from tests.session.smtp_script import Script, play
from tests.session.smtp_story import Story
from tests.session.test_smtp_order import DATA, EHLO, EVENTS, GREETING, LAX, MAIL, MESSAGE, RCPT, SENT, USUAL

SHUTDOWN = "S: 421 4.3.2 Service shutting down\n"
DOT = "C: .\nm: .\\r\\n\n"
GONE = SHUTDOWN + "release\nclose shutdown\nquiet"
NEVER_ASKED = SHUTDOWN + "close shutdown\nquiet"
CUT_OFF = SHUTDOWN + "abort\nclose shutdown\nquiet"

DRAINED = {
    "greeted": GREETING + "drain\n" + NEVER_ASKED,
    "twice": GREETING + "drain\n" + NEVER_ASKED + "\ndrain\ncut\ncut last\nquiet",
    "in_the_middle_of_a_line": GREETING + "c: EHL\ndrain\n" + NEVER_ASKED,
    "idle_behind_ehlo": EHLO + "drain\n" + GONE,
    "idle_behind_a_message": SENT + "drain\n" + GONE,
    "a_login_for_ehlo": GREETING + "C: EHLO x\nask\ndrain\nabort\n" + SHUTDOWN + "close shutdown\nquiet",
    "a_login_for_mail": GREETING
    + "c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\n\nask\ndrain\nabort\n"
    + SHUTDOWN
    + "close shutdown\nquiet",
    "a_login_to_try_mail_again": SENT
    + "C: MAIL FROM:<c@x>\nM: MAIL FROM:<c@x>\nlost\nask fresh\ndrain\nabort\n"
    + SHUTDOWN
    + "close shutdown\nquiet",
    "mail_is_not_tried_again": SENT + "C: MAIL FROM:<c@x>\nM: MAIL FROM:<c@x>\ndrain\nquiet\nlost\n" + NEVER_ASKED,
    "mail_is_refused": EHLO + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\ndrain\nquiet\nU: 550 no\nS: 550 no\n" + GONE,
    "a_whole_transaction": EHLO
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\ndrain\nquiet\nU: 250 ok\nS: 250 ok\nquiet\n"
    + RCPT
    + "C: NOOP\nS: 250 2.0.0 OK\n"
    + DATA
    + "C: part\nM: part\nquiet\n"
    + DOT
    + "quiet\nU: 250 queued\nS: 250 queued\n"
    + GONE,
    "a_transaction_that_is_idle": EHLO + MAIL + "drain\nquiet\n" + RCPT + DATA + DOT + "U: 554 no\nS: 554 no\n" + GONE,
    "in_the_message": EHLO + MAIL + RCPT + DATA + "c: par\nm: par\ndrain\nquiet\nc: t\\r\\n.\\r\\n\n"
    "m: t\\r\\n.\\r\\n\nU: 250 queued\nS: 250 queued\n" + GONE,
    "in_a_message_that_is_lost": EHLO
    + MAIL
    + RCPT
    + DATA
    + "C: part\nM: part\nlost\ndrain\nquiet\nC: .\nS: 451 4.4.2 Upstream connection lost\n"
    + NEVER_ASKED,
    "in_a_message_that_is_refused_here": EHLO
    + MAIL
    + RCPT
    + DATA
    + "c: \\0\nabort\ndrain\nquiet\nc: \\r\\n.\\r\\n\nS: 550 5.5.2 Message contains NUL\nclose bad_content\nquiet",
    "behind_the_dot": EHLO + MAIL + RCPT + DATA + DOT + "drain\nquiet\nU: 250 queued\nS: 250 queued\n" + GONE,
    "behind_the_dot_with_the_next_mail": EHLO
    + MAIL
    + RCPT
    + DATA
    + "c: .\\r\\nMAIL FROM:<c@x>\\r\\n\nm: .\\r\\n\ndrain\nquiet\nU: 250 queued\nS: 250 queued\n"
    + GONE,
    "behind_the_dot_and_the_server_is_lost": EHLO
    + MAIL
    + RCPT
    + DATA
    + DOT
    + "drain\nlost\nS: 451 4.4.2 Delivery status unknown\n"
    + NEVER_ASKED,
    "behind_the_dot_and_the_client_is_gone": EHLO
    + MAIL
    + RCPT
    + DATA
    + DOT
    + "gone\ndrain\nquiet\nU: 250 queued\nS: 250 queued\nrelease\nclose downstream_lost\nquiet",
    "at_the_next_mail": EHLO
    + MAIL
    + "drain\nC: RSET\nM: RSET\nquiet\nC: MAIL FROM:<b@x>\nU: 250 ok\nS: 250 ok\n"
    + GONE,
    "at_ehlo": EHLO + MAIL + "drain\nC: EHLO x\nM: RSET\nquiet\nU: 250 flushed\n" + GONE,
    "at_ehlo_whose_server_is_lost": EHLO + MAIL + "C: EHLO x\nM: RSET\ndrain\nquiet\nlost\n" + NEVER_ASKED,
    "at_rset": EHLO + MAIL + "C: RSET\nM: RSET\ndrain\nquiet\nU: 250 ok\nS: 250 ok\n" + GONE,
    "at_quit": EHLO + MAIL + "drain\nC: QUIT\nS: 221 2.0.0 proxy.test closing connection\nrelease\nclose quit\nquiet",
    "a_group_that_fails": EHLO
    + """
        c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nDATA\\r\\n
        M: MAIL FROM:<a@x>
        M: RCPT TO:<b@y>
        M: DATA
        drain
        u: 550 a\\r\\n503 b\\r\\n
        S: 550 a
        S: 503 b
        quiet
        U: 503 c
        S: 503 c
    """
    + GONE,
    "a_transaction_whose_server_is_lost": EHLO + MAIL + "lost\ndrain\n" + NEVER_ASKED,
    "a_chunk_is_swallowed_to_its_end": EHLO
    + "c: BDAT 4\\r\\nab\ndrain\nquiet\nc: cdNOOP\\r\\n\nS: 503 5.5.1 CHUNKING not advertised\n"
    + GONE,
    "a_desync_that_waits_for_the_server": EHLO
    + MAIL
    + "C: DATA\nM: DATA\nC: early\ndrain\nquiet\nU: 354 go\nabort\nS: 554 5.5.0 Error: SMTP protocol synchronization\n"
    + "close downstream_desync\nquiet",
    "a_client_that_has_closed_its_side": EHLO
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\neof\ndrain\nquiet\nU: 250 ok\nS: 250 ok\nrelease\n"
    + "close downstream_closed\nquiet",
    "a_client_that_has_closed_its_side_outside": GREETING + "C: EHLO x\nask\neof\ndrain\nabort\n" + NEVER_ASKED,
    "too_many_errors_end_it_before": EHLO
    + MAIL
    + "drain\n"
    + "C: FROB\nS: 500 5.5.1 Command not recognized\n" * 20
    + "S: 421 4.7.0 Too many errors\nrelease\nclose too_many_errors\nquiet",
    "silence_ends_it_as_ever": EHLO
    + MAIL
    + "drain\nexpire DOWNSTREAM_COMMAND\nS: 421 4.4.2 Timeout, closing connection\nrelease\nclose downstream_timeout",
}

UNKNOWN = "abort\nS: 451 4.4.2 Delivery status unknown\n"
CUT = {
    "greeted": GREETING + "cut\n" + NEVER_ASKED,
    "idle": EHLO + "cut\n" + CUT_OFF,
    "a_login": GREETING + "C: EHLO x\nask\ncut\n" + CUT_OFF,
    "a_transaction": EHLO + MAIL + "drain\nquiet\ncut\n" + CUT_OFF,
    "at_mail": EHLO + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\ncut\n" + CUT_OFF,
    "a_group": EHLO
    + "c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nNOOP\\r\\nFROB\\r\\n\nM: MAIL FROM:<a@x>\nM: RCPT TO:<b@y>\ncut\n"
    + CUT_OFF,
    "at_data": EHLO + MAIL + RCPT + "C: DATA\nM: DATA\ncut\n" + CUT_OFF,
    "at_rset": EHLO + MAIL + "C: RSET\nM: RSET\ncut\n" + CUT_OFF,
    "at_ehlo": EHLO + MAIL + "C: EHLO x\nM: RSET\ncut\n" + CUT_OFF,
    "in_the_message": EHLO + MAIL + RCPT + DATA + "C: part\nM: part\ndrain\ncut\n" + CUT_OFF,
    "in_the_message_with_half_of_its_end": EHLO + MAIL + RCPT + DATA + "c: part\\r\\n.\nm: part\\r\\n\ncut\n" + CUT_OFF,
    "in_a_message_that_is_lost": EHLO + MAIL + RCPT + DATA + "C: part\nM: part\nlost\ncut\n" + NEVER_ASKED,
    "swallowing": EHLO + "c: BDAT 4\\r\\nab\ncut\n" + CUT_OFF,
    "a_desync_that_waits_for_the_server": EHLO + MAIL + "C: DATA\nM: DATA\nC: early\ncut\n" + CUT_OFF,
    "last_at_once": EHLO + MAIL + RCPT + DATA + "cut last\n" + CUT_OFF,
    "who_waits_for_the_final_reply_gets_it": EHLO
    + MAIL
    + RCPT
    + DATA
    + DOT
    + "cut\nquiet\nU: 250 queued\nS: 250 queued\n"
    + GONE,
    "who_waits_for_the_final_reply_too_long": EHLO
    + MAIL
    + RCPT
    + DATA
    + DOT
    + "drain\ncut\nquiet\ncut last\n"
    + UNKNOWN
    + NEVER_ASKED,
    "the_next_commands_are_not_taken_any_more": EHLO
    + MAIL
    + RCPT
    + DATA
    + "c: .\\r\\nMAIL FROM:<c@x>\\r\\n\nm: .\\r\\n\ncut last\n"
    + UNKNOWN
    + NEVER_ASKED,
    "who_is_gone_behind_the_dot": EHLO
    + MAIL
    + RCPT
    + DATA
    + DOT
    + "gone\ncut\nquiet\ncut last\n"
    + UNKNOWN
    + "close downstream_lost\nquiet",
}


@pytest.mark.parametrize("name", DRAINED)
def test_drain(name):
    play(DRAINED[name])


@pytest.mark.parametrize("name", CUT)
def test_cut(name):
    play(CUT[name])


def test_a_message_behind_data_at_once_is_finished():
    play(
        EHLO
        + MAIL
        + "c: DATA\\r\\nx\\r\\n.\\r\\nQUIT\\r\\n\nM: DATA\ndrain\nU: 354 go\nS: 354 go\nm: x\\r\\n.\\r\\n\n"
        + "U: 250 queued\nS: 250 queued\n"
        + GONE,
        LAX,
    )


def test_a_handshake_under_way():
    policy = SMTPPolicy("proxy.test", encryption=Encryption.REQUIRED)
    start = GREETING + "C: STARTTLS\nS: 220 2.0.0 Ready to start TLS\ntls\nquiet\n"
    for end in ("drain\n", "cut\n", "cut last\n"):
        play(start + end + NEVER_ASKED + "\nsecured\nC: NOOP\nquiet", policy)


def test_before_tls_where_it_is_required():
    play(GREETING + "C: EHLO x\ndrain\n", SMTPPolicy("proxy.test", encryption=Encryption.REQUIRED))


@pytest.mark.parametrize("end", [lambda session: session.drain(), lambda session: session.cut(last=False)])
def test_who_is_not_greeted_yet_is_told_instead(end):
    session = SMTPSession(SMTPPolicy("proxy.test", encryption=Encryption.IMPLICIT))
    end(session)
    session.start()
    told = [session.next_action(), session.next_action(), session.next_action()]
    assert told == [SendDownstream(b"421 4.3.2 Service shutting down\r\n"), CloseDownstream("shutdown"), None]


def test_an_unknown_delivery_is_reported():
    script = play(EHLO + MAIL + RCPT + DATA + DOT)
    script.run("cut last\n" + UNKNOWN + NEVER_ASKED)
    assert script.reports[-2:] == ["upstream_dropped", "delivery_unknown"]


def test_nothing_that_is_cut_off_is_an_unknown_delivery():
    script = play(EHLO + MAIL + RCPT + DATA + "C: part\nM: part\ncut\n" + CUT_OFF)
    assert script.reports == ["transaction"]


# At any step of anything

BEGINNINGS = st.sampled_from([[], USUAL, [*USUAL, *MESSAGE], [*USUAL, *MESSAGE[:4]], [*USUAL, *MESSAGE[:5]]])
ENDS = st.lists(st.sampled_from([("drain", None), ("cut", False), ("cut", True)]), min_size=1, max_size=3)


@given(EVENTS, st.lists(EVENTS, max_size=1), BEGINNINGS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_whenever_it_is_drained_it_ends_once_and_begins_nothing_new(before, after, beginning, strict):
    story = Story(SMTPPolicy("proxy.test", strict_sync=strict)).play([*beginning, *before, ("drain", None)])
    transactions = story.server_side.transactions
    assert story.upstream != "opening"
    for event in [event for events in after for event in events]:
        story.play([event])
        assert story.upstream != "opening"
    story.check()
    for _ in range(60):
        story.play([("expire", None)])
    assert story.outcome is not None
    assert story.server_side.transactions == transactions
    story.check()


@given(EVENTS, ENDS, BEGINNINGS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_whenever_it_is_cut_only_the_final_reply_is_waited_for(before, ends, beginning, strict):
    story = Story(SMTPPolicy("proxy.test", strict_sync=strict)).play([*beginning, *before, *ends, ("cut", False)])
    if story.outcome is None:
        assert story.server_side.unanswered == [b"."]
    story.play([("cut", True)])
    assert story.outcome is not None
    story.check()


@given(EVENTS, BEGINNINGS)
@settings(max_examples=100, deadline=None)
def test_drained_or_not_an_open_transaction_goes_the_same_way(events, beginning):
    """As far as the drained session gets, its client and its mail server saw what they would have seen anyway."""
    drained, other = Story(), Story()
    drained.play([*beginning, *MESSAGE[:4], ("drain", None), *events])
    other.play([*beginning, *MESSAGE[:4], *events])
    told = drained.replies.removesuffix(b"421 4.3.2 Service shutting down\r\n")
    assert other.replies.startswith(told)
    assert drained.server_side.completed <= other.server_side.completed


def test_the_last_words_stand_behind_all_others():
    script = Script()
    script.client(b"NOOP\r\nNOOP\r\n")
    script.session.drain()
    script._collect()
    assert script.down.endswith(b"250 2.0.0 OK\r\n250 2.0.0 OK\r\n421 4.3.2 Service shutting down\r\n")
