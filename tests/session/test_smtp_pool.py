"""Sessions with a mail server that others know, on connections that others have used, and that others wait for."""

import pytest

from mailproxy.session.actions import ReleaseUpstream
from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp_policy import SMTPPolicy
from tests.session.smtp_script import extensions, play

GREETING = "S: 220 proxy.test ESMTP mailproxy\n"
KNOWN = extensions("PIPELINING", "8BITMIME", "DSN")
KNOWN_LIST = "S: 250-proxy.test\nS: 250-PIPELINING\nS: 250-8BITMIME\nS: 250 DSN\n"
HELLO = GREETING + "C: EHLO client\n" + KNOWN_LIST
"""The mail server is asked for by then, and has not answered."""
READY = HELLO + "open reused PIPELINING 8BITMIME DSN\nquiet\n"
FRESH = HELLO + "open PIPELINING 8BITMIME DSN\nquiet\n"
MAIL = "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 250 2.1.0 Ok\nS: 250 2.1.0 Ok\n"
RCPT = "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 250 2.1.5 Ok\nS: 250 2.1.5 Ok\n"
DATA = "C: DATA\nM: DATA\nU: 354 go\nS: 354 go\n"
END = "C: .\nm: .\\r\\n\nU: 250 ok\nS: 250 ok\n"
SENT = MAIL + RCPT + DATA + END
QUIT = "C: QUIT\nS: 221 2.0.0 proxy.test closing connection\n"
GROUP = "c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nRCPT TO:<c@y>\\r\\nDATA\\r\\n\n"
GROUP_OUT = "M: MAIL FROM:<a@x>\nM: RCPT TO:<b@y>\nM: RCPT TO:<c@y>\nM: DATA\n"
GROUP_IN = "u: 250 m\\r\\n250 r1\\r\\n550 r2\\r\\n354 go\\r\\n\nS: 250 m\nS: 250 r1\nS: 550 r2\nS: 354 go\n"
LAX = SMTPPolicy("proxy.test", strict_sync=False)

WITH_KNOWN = {
    "ehlo_is_answered_before_the_mail_server_is_there": HELLO + "ask\nquiet",
    "mail_waits_for_it": HELLO
    + """
        ask
        C: MAIL FROM:<a@x>
        quiet
        opened PIPELINING
        M: MAIL FROM:<a@x>
        U: 250 ok
        S: 250 ok
        quiet
    """,
    "a_group_waits_for_it_and_goes_out_as_one": HELLO
    + "ask\n"
    + GROUP
    + "quiet\nopened PIPELINING\n"
    + GROUP_OUT
    + GROUP_IN,
    "without_pipelining_a_group_goes_out_one_by_one": HELLO
    + "ask\n"
    + GROUP
    + """
        opened 8BITMIME
        M: MAIL FROM:<a@x>
        quiet
        U: 250 m
        S: 250 m
        M: RCPT TO:<b@y>
        quiet
    """,
    "a_failure_in_the_background_is_not_told_before_mail": HELLO
    + """
        ask
        failed Unreachable
        quiet
        C: NOOP
        S: 250 2.0.0 OK
        C: MAIL FROM:<a@x>
        fail Unreachable
        S: 451 4.4.1 Upstream not reachable
        C: MAIL FROM:<a@x>
        open PIPELINING
        M: MAIL FROM:<a@x>
        quiet
    """,
    "a_failure_while_mail_waits_is_told": HELLO
    + """
        ask
        C: MAIL FROM:<a@x>
        failed RefusedSession
        S: 451 4.4.2 Upstream refused the session
        quiet
    """,
    "rcpt_behind_that_is_out_of_place": HELLO
    + """
        ask
        c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nDATA\\r\\n
        failed Unreachable
        S: 451 4.4.1 Upstream not reachable
        S: 503 5.5.1 Need MAIL before RCPT
        S: 503 5.5.1 Need MAIL before DATA
        quiet
    """,
    "helo_too": GREETING + "C: HELO client\nS: 250 proxy.test\nask\nquiet\n",
    "ehlo_twice_asks_once": HELLO + "ask\nC: EHLO client\n" + KNOWN_LIST + "quiet\nopened PIPELINING\nquiet\n",
    "what_is_announced_once_it_is_there_is_its_own_list": HELLO
    + """
        open PIPELINING SIZE=1000
        C: EHLO client
        S: 250-proxy.test
        S: 250-PIPELINING
        S: 250 SIZE 1000
        quiet
    """,
    "a_parameter_that_it_does_not_have_after_all_of_mail": HELLO
    + """
        open PIPELINING
        C: MAIL FROM:<a@x> BODY=8BITMIME
        S: 451 4.3.0 Parameter not available at the moment
        C: MAIL FROM:<a@x>
        M: MAIL FROM:<a@x>
        quiet
    """,
    "a_parameter_that_it_does_not_have_after_all_of_rcpt": HELLO
    + "open PIPELINING\n"
    + MAIL
    + """
        C: RCPT TO:<b@y> NOTIFY=NEVER
        S: 451 4.3.0 Parameter not available at the moment
        C: RCPT TO:<b@y>
        M: RCPT TO:<b@y>
        quiet
    """,
    "a_parameter_that_nobody_announced_is_unknown_all_the_same": HELLO
    + """
        open PIPELINING SMTPUTF8 8BITMIME
        C: MAIL FROM:<a@x> SMTPUTF8
        S: 555 5.5.4 Unsupported parameter
        quiet
    """,
    "quit_before_it_is_there": HELLO + "ask\n" + QUIT + "abort\nclose quit\nquiet\n",
    "the_client_goes_before_it_is_there": HELLO + "ask\ngone\nabort\nclose downstream_lost\nquiet\n",
    "the_client_closes_its_side_before_it_is_there": HELLO + "ask\neof\nabort\nclose downstream_closed\nquiet\n",
    "it_closes_its_side_behind_a_mail_that_waits": HELLO
    + """
        ask
        C: MAIL FROM:<a@x>
        eof
        quiet
        opened PIPELINING
        M: MAIL FROM:<a@x>
        U: 250 ok
        S: 250 ok
        release 1 reset
        close downstream_closed
        quiet
    """,
    "a_drain_before_it_is_there": HELLO
    + "ask\ndrain\nS: 421 4.3.2 Service shutting down\nabort\nclose shutdown\nquiet\n",
    "a_drain_while_mail_waits": HELLO
    + "ask\nC: MAIL FROM:<a@x>\ndrain\nS: 421 4.3.2 Service shutting down\nabort\nclose shutdown\nquiet\n",
    "silence_of_the_client_before_it_is_there": HELLO
    + "ask\nexpire DOWNSTREAM_COMMAND\nS: 421 4.4.2 Timeout, closing connection\nabort\nclose downstream_timeout\n",
    "it_is_lost_before_mail_and_another_one_is_got": READY
    + "lost\nquiet\nC: MAIL FROM:<a@x>\nopen\nM: MAIL FROM:<a@x>\n",
    "ehlo_behind_a_loss_is_answered_at_once_too": FRESH + "lost\nC: EHLO client\n" + KNOWN_LIST + "ask\nquiet\n",
    "ehlo_behind_a_transaction_that_was_lost": FRESH
    + MAIL
    + "lost\nC: EHLO client\n"
    + KNOWN_LIST
    + "open PIPELINING\nC: MAIL FROM:<c@x>\nM: MAIL FROM:<c@x>\nquiet\n",
    "a_mail_server_that_speaks_out_of_turn_is_no_longer_ours": READY
    + "U: 250 what\nabort\nquiet\nC: MAIL FROM:<a@x>\nopen PIPELINING\nM: MAIL FROM:<a@x>\nquiet\n",
}


@pytest.mark.parametrize("script", WITH_KNOWN.values(), ids=WITH_KNOWN)
def test_what_is_known_is_answered_with(script):
    play(script, known=KNOWN)


def test_it_is_not_asked_for_before_tls_that_is_required():
    script = GREETING + "C: EHLO client\nS: 250-proxy.test\nS: 250-PIPELINING\nS: 250 STARTTLS\nquiet"
    play(script, SMTPPolicy("proxy.test", encryption=Encryption.REQUIRED), known=KNOWN)


def test_tls_during_the_opening_changes_nothing_about_it():
    script = """
        S: 220 proxy.test ESMTP mailproxy
        C: EHLO client
        S: 250-proxy.test
        S: 250-PIPELINING
        S: 250-STARTTLS
        S: 250-8BITMIME
        S: 250 DSN
        ask
        C: STARTTLS
        S: 220 2.0.0 Ready to start TLS
        tls
        opened 8BITMIME
        secured
        C: EHLO client
        S: 250-proxy.test
        S: 250-PIPELINING
        S: 250 8BITMIME
        quiet
    """
    play(script, SMTPPolicy("proxy.test", encryption=Encryption.OFFERED), known=KNOWN)


AGAIN = "open fresh PIPELINING\n"
REUSED = {
    "a_group_goes_out_as_one": READY + GROUP + GROUP_OUT + "quiet\n" + GROUP_IN + "quiet\n",
    "a_connection_that_is_gone_is_replaced_by_a_fresh_one": READY
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nlost\n"
    + AGAIN
    + "M: MAIL FROM:<a@x>\nU: 250 ok\nS: 250 ok\nquiet\n",
    "with_all_of_its_group": READY + GROUP + GROUP_OUT + "lost\n" + AGAIN + GROUP_OUT + GROUP_IN + "quiet\n",
    "one_that_says_421": READY
    + GROUP
    + GROUP_OUT
    + "U: 421 4.4.2 idle\nabort\n"
    + AGAIN
    + GROUP_OUT
    + GROUP_IN
    + "quiet\n",
    "one_that_wants_another_login": READY
    + GROUP
    + GROUP_OUT
    + "U: 530 5.7.0 log in\nabort\n"
    + AGAIN
    + GROUP_OUT
    + GROUP_IN
    + "quiet\n",
    "what_is_answered_here_keeps_its_place_in_the_group": READY
    + """
        c: MAIL FROM:<a@x>\\r\\nRCPT TO:b@\\x01\\r\\nRCPT TO:<c@y>\\r\\nNOOP\\r\\n
        M: MAIL FROM:<a@x>
        M: RCPT TO:<c@y>
        quiet
        lost
        open fresh PIPELINING
        M: MAIL FROM:<a@x>
        M: RCPT TO:<c@y>
        quiet
        u: 250 m\\r\\n250 r\\r\\n
        S: 250 m
        S: 501 5.5.2 Control characters are not allowed
        S: 250 r
        S: 250 2.0.0 OK
        quiet
    """,
    "without_pipelining_this_time": READY
    + GROUP
    + GROUP_OUT
    + """
        lost
        open fresh 8BITMIME
        M: MAIL FROM:<a@x>
        quiet
        U: 250 m
        S: 250 m
        M: RCPT TO:<b@y>
        quiet
    """,
    "only_once": READY
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nlost\n"
    + AGAIN
    + "M: MAIL FROM:<a@x>\nlost\nS: 451 4.4.2 Upstream connection lost\nquiet\n",
    "nor_is_a_421_of_the_fresh_one": READY
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nlost\n"
    + AGAIN
    + "M: MAIL FROM:<a@x>\nU: 421 full\nabort\nS: 421 full\nclose upstream_421\nquiet\n",
    "a_fresh_one_that_cannot_be_had": READY
    + GROUP
    + GROUP_OUT
    + """
        lost
        fail fresh Unreachable
        S: 451 4.4.1 Upstream not reachable
        S: 503 5.5.1 Need MAIL before RCPT
        S: 503 5.5.1 Need MAIL before RCPT
        S: 503 5.5.1 Need MAIL before DATA
        quiet
        C: MAIL FROM:<a@x>
        open PIPELINING
        M: MAIL FROM:<a@x>
        quiet
    """,
    "not_on_a_connection_that_nobody_had_before": FRESH
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nlost\nS: 451 4.4.2 Upstream connection lost\nquiet\n",
    "but_on_one_that_has_sent_a_message_of_ours": FRESH
    + SENT
    + "C: MAIL FROM:<c@x>\nM: MAIL FROM:<c@x>\nlost\n"
    + AGAIN
    + "M: MAIL FROM:<c@x>\nquiet\n",
    "not_behind_a_reply_to_mail": READY
    + GROUP
    + GROUP_OUT
    + """
        U: 250 m
        S: 250 m
        lost
        S: 421 4.4.2 Upstream connection lost
        close upstream_lost
        quiet
    """,
    "not_behind_half_a_reply": READY
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nu: 2\nlost\nS: 451 4.4.2 Upstream connection lost\nquiet\n",
    "not_behind_a_timeout": READY
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nexpire UPSTREAM_REPLY\nabort\n"
    + "S: 451 4.4.2 Upstream did not answer in time\nquiet\n",
    "not_behind_a_reply_out_of_place": READY
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 354 what\nabort\nS: 451 4.5.0 Upstream protocol error\nquiet\n",
    "not_for_a_refusal": READY + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 550 no\nS: 550 no\nquiet\n",
    "not_at_rcpt": READY
    + MAIL
    + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nlost\nS: 421 4.4.2 Upstream connection lost\nclose upstream_lost\nquiet\n",
    "not_for_a_421_at_rcpt": READY
    + MAIL
    + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 421 bye\nabort\nS: 421 bye\nclose upstream_421\nquiet\n",
    "not_behind_the_dot": READY
    + MAIL
    + RCPT
    + DATA
    + "C: .\nm: .\\r\\n\nlost\nS: 451 4.4.2 Delivery status unknown\nquiet\n",
    "not_when_the_client_is_gone": READY
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\ngone\nabort\nclose downstream_lost\nquiet\n",
    "not_when_the_client_has_spoken_out_of_turn": READY
    + GROUP
    + GROUP_OUT
    + """
        C: Subject: early
        lost
        S: 451 4.4.2 Upstream connection lost
        S: 503 5.5.1 Need MAIL first
        S: 503 5.5.1 Need MAIL first
        S: 554 5.5.0 Error: SMTP protocol synchronization
        close downstream_desync
        quiet
    """,
    "a_client_that_has_closed_its_side_gets_its_reply": READY
    + GROUP
    + GROUP_OUT
    + "eof\nlost\n"
    + AGAIN
    + GROUP_OUT
    + "quiet\nu: 450 m\\r\\n503 r1\\r\\n503 r2\\r\\n503 d\\r\\n\n"
    + "S: 450 m\nS: 503 r1\nS: 503 r2\nS: 503 d\nrelease 1 no:4\nclose downstream_closed\nquiet\n",
    "a_client_that_goes_during_the_second_opening": READY
    + GROUP
    + GROUP_OUT
    + "lost\nask fresh\ngone\nabort\nclose downstream_lost\nquiet\n",
    "ehlo_behind_a_group_is_answered_behind_it": READY
    + "c: MAIL FROM:<a@x>\\r\\nEHLO again\\r\\n\nM: MAIL FROM:<a@x>\nlost\n"
    + AGAIN
    + "M: MAIL FROM:<a@x>\nU: 450 no\nS: 450 no\nS: 250-proxy.test\nS: 250 PIPELINING\nquiet\n",
    "a_parameter_that_the_fresh_one_does_not_have": READY
    + """
        c: MAIL FROM:<a@x> BODY=8BITMIME\\r\\nRCPT TO:<b@y>\\r\\n
        M: MAIL FROM:<a@x> BODY=8BITMIME
        M: RCPT TO:<b@y>
        lost
        open fresh PIPELINING
        S: 451 4.3.0 Parameter not available at the moment
        S: 503 5.5.1 Need MAIL before RCPT
        quiet
    """,
    "a_drain_meanwhile_ends_it": READY
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\ndrain\nquiet\nlost\n"
    + "S: 421 4.3.2 Service shutting down\nclose shutdown\nquiet\n",
}


@pytest.mark.parametrize("script", REUSED.values(), ids=REUSED)
@pytest.mark.parametrize("cut", [None, lambda data: [data[i : i + 1] for i in range(len(data))]], ids=["whole", "cut"])
def test_on_a_connection_that_others_have_used(script, cut):
    play(script, known=KNOWN, cut=cut)


def test_more_behind_data_where_that_is_allowed_is_tried_again_too():
    script = (
        READY
        + "c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nDATA\\r\\nhi\\r\\n.\\r\\n\n"
        + "M: MAIL FROM:<a@x>\nM: RCPT TO:<b@y>\nM: DATA\nlost\n"
        + AGAIN
        + "M: MAIL FROM:<a@x>\nM: RCPT TO:<b@y>\nM: DATA\nu: 250 m\\r\\n250 r\\r\\n354 go\\r\\n\n"
        + "S: 250 m\nS: 250 r\nS: 354 go\nm: hi\\r\\n.\\r\\n\nU: 250 sent\nS: 250 sent\nquiet\n"
    )
    play(script, LAX, known=KNOWN)


def test_the_second_try_takes_the_client_no_errors():
    """A group has as many errors as the client made, however often it goes out."""
    policy = SMTPPolicy("proxy.test", max_errors=4)
    wrong = "RCPT TO:b@\\x01\\r\\n" * 3
    script = (
        READY
        + f"c: MAIL FROM:<a@x>\\r\\n{wrong}\nM: MAIL FROM:<a@x>\nlost\n"
        + AGAIN
        + "M: MAIL FROM:<a@x>\nU: 250 m\nS: 250 m\n"
        + "S: 501 5.5.2 Control characters are not allowed\n" * 3
        + "quiet\n"
    )
    play(script, policy, known=KNOWN)


WANTED = {
    "between_two_transactions_it_goes": READY + "wanted\nrelease 0\nquiet\n",
    "behind_a_message_it_goes": READY
    + SENT
    + "wanted\nrelease 1\nquiet\nC: MAIL FROM:<c@x>\nopen\nM: MAIL FROM:<c@x>\nquiet\n",
    "and_ehlo_is_answered_all_the_same": READY + "wanted\nrelease 0\nC: EHLO client\n" + KNOWN_LIST + "ask\nquiet\n",
    "while_it_is_not_there": HELLO + "ask\nwanted\nquiet\nopened PIPELINING\nquiet\n",
    "without_one": GREETING + "wanted\nquiet\n",
    "while_mail_waits_for_its_reply": READY
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nwanted\nquiet\nU: 250 ok\nS: 250 ok\nquiet\n",
    "in_a_transaction": READY + MAIL + "wanted\nquiet\n",
    "it_goes_when_the_transaction_is_over": READY + MAIL + "wanted\n" + RCPT + DATA + END + "release 1\nquiet\n",
    "or_was_refused": READY
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nwanted\nU: 550 no\nS: 550 no\nrelease 1 no:1\nquiet\n",
    "or_was_reset": READY + MAIL + "wanted\nC: RSET\nM: RSET\nquiet\nU: 250 ok\nS: 250 ok\nrelease 1\nquiet\n",
    "but_not_before_the_next_one_that_is_here_already": READY
    + MAIL
    + RCPT
    + DATA
    + "wanted\nc: .\\r\\nMAIL FROM:<c@x>\\r\\n\nm: .\\r\\n\nU: 250 ok\nS: 250 ok\nM: MAIL FROM:<c@x>\nquiet\n",
    "in_mail_data": READY + MAIL + RCPT + DATA + "wanted\nquiet\nC: text\nm: text\\r\\n\nquiet\n",
    "behind_the_dot": READY
    + MAIL
    + RCPT
    + DATA
    + "C: .\nm: .\\r\\n\nwanted\nquiet\nU: 250 ok\nS: 250 ok\nrelease 1\nquiet\n",
    "in_a_chunk": READY
    + "c: BDAT 5 LAST\\r\\nab\nwanted\nquiet\nc: cde\nS: 503 5.5.1 CHUNKING not advertised\nrelease 0\nquiet\n",
    "in_the_middle_of_a_line": READY
    + "c: MAIL FR\nwanted\nrelease 0\nc: OM:<a@x>\\r\\n\nopen\nM: MAIL FROM:<a@x>\nquiet\n",
    "behind_the_end": READY + QUIT + "release 0\nclose quit\nwanted\nquiet\n",
    "with_half_a_reply_that_nobody_asked_for": READY + "u: 25\nwanted\nrelease 0 unsound\nquiet\n",
    "who_was_asked_once_is_not_asked_for_the_next_one": READY
    + SENT
    + "wanted\nrelease 1\n"
    + "C: MAIL FROM:<c@x>\nopen PIPELINING\nM: MAIL FROM:<c@x>\nU: 550 no\nS: 550 no\nquiet\n",
}


@pytest.mark.parametrize("script", WANTED.values(), ids=WANTED)
def test_when_others_want_the_connection(script):
    play(script, known=KNOWN)


@pytest.mark.parametrize("octets", [b"250 ok again\r\n", b"2"])
def test_what_comes_while_the_connection_is_about_to_be_left_is_heard(octets):
    """What was decided may have to wait, for the ledger."""
    session = play(READY + MAIL + RCPT + DATA + "wanted\n", known=KNOWN).session
    session.receive_downstream(b".\r\n")
    session.receive_upstream(b"250 ok\r\n")
    session.receive_upstream(octets)
    released = [deed for deed in iter(session.next_action, None) if isinstance(deed, ReleaseUpstream)]
    assert [deed.sound for deed in released] == [False]


MOST = "PIPELINING LIMITS=MAILMAX=2\n"
WORN_OUT = {
    "the_next_message_gets_another_one": HELLO
    + f"open {MOST}"
    + SENT
    + SENT
    + "C: MAIL FROM:<a@x>\nrelease 2\nask\nquiet\nopened reused begun:1 "
    + f"{MOST}M: MAIL FROM:<a@x>\nU: 250 m\nS: 250 m\nC: RSET\nM: RSET\nU: 250 ok\nS: 250 ok\n"
    + f"{GROUP}release 1\nopen {MOST}{GROUP_OUT}{GROUP_IN}quiet\n",
    "a_message_that_was_refused_counts": HELLO
    + f"open {MOST}"
    + 2 * "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 550 no\nS: 550 no\n"
    + "C: MAIL FROM:<a@x>\nrelease 2 no:2\nfail Unreachable\nS: 451 4.4.1 Upstream not reachable\nquiet\n",
    "a_command_that_begins_none_does_not": HELLO
    + f"open begun:1 {MOST}"
    + SENT
    + "C: MAIL FROM:<a@x> XYZ\nS: 555 5.5.4 Unsupported parameter\nC: EHLO client\nS: 250-proxy.test\n"
    + "S: 250 PIPELINING\n"
    + QUIT
    + "release 1\nclose quit",
}


@pytest.mark.parametrize("script", WORN_OUT.values(), ids=WORN_OUT)
def test_no_more_messages_than_the_mail_server_takes_on_one_connection(script):
    """The client is not told of MAILMAX, which is about our connection (RFC 9422 §4.1)."""
    play(script, known=KNOWN)


ENDS = {
    "quit": READY + QUIT + "release 0\nclose quit",
    "quit_behind_messages": READY + SENT + SENT + QUIT + "release 2\nclose quit",
    "quit_in_a_transaction": READY + MAIL + RCPT + QUIT + "release 1 reset\nclose quit",
    "quit_behind_data_that_was_refused": READY
    + MAIL
    + "C: DATA\nM: DATA\nU: 554 no\nS: 554 no\n"
    + QUIT
    + "release 1 reset no:1\nclose quit",
    "quit_behind_a_message_that_was_refused": READY
    + MAIL
    + RCPT
    + DATA
    + "C: .\nm: .\\r\\n\nU: 550 no\nS: 550 no\n"
    + QUIT
    + "release 1 no:1\nclose quit",
    "quit_behind_reset": READY + MAIL + "C: RSET\nM: RSET\nU: 250 ok\nS: 250 ok\n" + QUIT + "release 1\nclose quit",
    "the_client_closes": READY + SENT + "eof\nrelease 1\nclose downstream_closed",
    "the_client_goes": READY + SENT + "gone\nrelease 1\nclose downstream_lost",
    "the_client_goes_in_a_transaction": READY + MAIL + "gone\nrelease 1 reset\nclose downstream_lost",
    "the_client_goes_before_a_reply": READY
    + MAIL
    + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\ngone\nabort\nclose downstream_lost",
    "the_client_goes_in_mail_data": READY + MAIL + RCPT + DATA + "gone\nabort\nclose downstream_lost",
    "the_client_goes_behind_the_dot": READY
    + MAIL
    + RCPT
    + DATA
    + "C: .\nm: .\\r\\n\ngone\nquiet\nU: 250 ok\nrelease 1\nclose downstream_lost",
    "the_client_is_silent": READY
    + SENT
    + "expire DOWNSTREAM_COMMAND\nS: 421 4.4.2 Timeout, closing connection\n"
    + "release 1 unsound\nclose downstream_timeout",
    "a_drain": READY + SENT + "drain\nS: 421 4.3.2 Service shutting down\nrelease 1\nclose shutdown",
    "a_cut_in_a_transaction": READY + MAIL + "cut\nS: 421 4.3.2 Service shutting down\nabort\nclose shutdown",
    "nonsense_of_the_client": READY
    + "C: GET / HTTP/1.1\nS: 421 4.7.0 This is a mail server\nrelease 0 unsound\nclose not_smtp",
    "a_line_that_does_not_end_as_it_should": READY
    + "c: NOOP\\n\nS: 500 5.5.2 Bare <LF> received\nrelease 0 unsound\nclose bad_line",
    "commands_behind_ehlo": READY
    + "c: EHLO x\\r\\nNOOP\\r\\n\n"
    + "S: 554 5.5.0 Error: SMTP protocol synchronization\nrelease 0 unsound\nclose bad_pipeline",
    "mail_data_that_was_mended": READY
    + MAIL
    + RCPT
    + DATA
    + "c: bare\\n\\r\\n.\\r\\n\nm: bare\\r\\n\\r\\n.\\r\\n\nU: 250 ok\nS: 250 ok\n"
    + QUIT
    + "release 1 unsound\nclose quit",
    "mail_data_that_was_refused_here": READY
    + MAIL
    + RCPT
    + DATA
    + "c: a\\x00\\r\\n.\\r\\n\nabort\nS: 550 5.5.2 Message contains NUL\nclose bad_content",
}


@pytest.mark.parametrize("script", ENDS.values(), ids=ENDS)
def test_in_which_state_it_is_left(script):
    play(script, known=KNOWN)
