"""SMTP sessions, as a client and a mail server see them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproxy.session.actions import Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.transparency import BareNewlines
from tests.session.smtp_script import Script, extensions, make_error, play

GREETING = "S: 220 proxy.test ESMTP mailproxy\n"
EHLO = GREETING + "C: EHLO client\nopen PIPELINING SIZE=1000 8BITMIME\n"
EHLO += "S: 250-proxy.test\nS: 250-PIPELINING\nS: 250-SIZE 1000\nS: 250 8BITMIME\n"
MAIL = "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 250 2.1.0 Ok\nS: 250 2.1.0 Ok\n"
RCPT = "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 250 2.1.5 Ok\nS: 250 2.1.5 Ok\n"
DATA = "C: DATA\nM: DATA\nU: 354 go\nS: 354 go\n"
CONTENT = EHLO + MAIL + RCPT + DATA


def octets(data):
    return [data[i : i + 1] for i in range(len(data))]


CONVERSATIONS = {
    "typed_by_hand_without_ehlo_or_brackets": GREETING
    + """
        C: MAIL FROM:sender@transparentproxy.com
        open PIPELINING
        M: MAIL FROM:<sender@transparentproxy.com>
        U: 250 2.1.0 Ok
        S: 250 2.1.0 Ok
        C: rcpt to: receiver@transparentproxy.com
        M: RCPT TO:<receiver@transparentproxy.com>
        U: 250 2.1.5 Ok
        S: 250 2.1.5 Ok
        C: data
        M: DATA
        U: 354 End data with <CR><LF>.<CR><LF>
        S: 354 End data with <CR><LF>.<CR><LF>
        C: Some test data.
        C:
        C: .
        m: Some test data.\\r\\n\\r\\n.\\r\\n
        U: 250 2.0.0 Ok: queued as 12345
        S: 250 2.0.0 Ok: queued as 12345
        C: QUIT
        S: 221 2.0.0 proxy.test closing connection
        release
        close quit
        quiet
    """,
    "a_health_check_costs_no_login": GREETING
    + """
        C: QUIT
        S: 221 2.0.0 proxy.test closing connection
        close quit
        quiet
    """,
    "local_commands_cost_no_login": GREETING
    + """
        C: NOOP
        S: 250 2.0.0 OK
        C: RSET
        S: 250 2.0.0 OK
        C: VRFY a
        S: 252 2.0.0 Cannot VRFY user, send a message and see
        C: HELP
        S: 214 2.0.0 This is mailproxy; see RFC 5321
        C: EXPN list
        S: 502 5.5.1 Command not implemented
        C: AUTH PLAIN AGEAYg==
        S: 502 5.5.1 Command not implemented
        C: STARTTLS
        S: 502 5.5.1 Command not implemented
        C: FROB
        S: 500 5.5.1 Command not recognized
        C: RCPT TO:<a@b>
        S: 503 5.5.1 Need MAIL before RCPT
        C: DATA
        S: 503 5.5.1 Need MAIL before DATA
        quiet
    """,
    "ehlo_shows_what_the_server_offers_by_allow_list": GREETING
    + """
        C: EHLO client
        open AUTH=PLAIN STARTTLS SIZE=999 DSN SMTPUTF8 8BITMIME XCLIENT=NAME CHUNKING BURL VRFY ENHANCEDSTATUSCODES ETRN
        S: 250-proxy.test
        S: 250-PIPELINING
        S: 250-SIZE 999
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-DSN
        S: 250 ENHANCEDSTATUSCODES
        quiet
    """,
    "smtputf8_is_not_offered_without_8bitmime": GREETING
    + "C: EHLO c\nopen SMTPUTF8\nS: 250-proxy.test\nS: 250 PIPELINING\nquiet",
    "size_without_a_number_stays_so": GREETING
    + "C: EHLO c\nopen SIZE\nS: 250-proxy.test\nS: 250-PIPELINING\nS: 250 SIZE\nquiet",
    "limits_are_passed_without_mailmax": GREETING
    + """
        C: EHLO c
        open LIMITS=MAILMAX=5
        S: 250-proxy.test
        S: 250 PIPELINING
        quiet
    """,
    "helo_gets_one_line": GREETING + "C: HELO client\nopen SIZE=1\nS: 250 proxy.test\nquiet",
    "ehlo_needs_an_argument": GREETING + "C: EHLO\nS: 501 5.5.4 Syntax: EHLO hostname\nquiet",
    "ehlo_resets_an_open_transaction_upstream_first": EHLO
    + MAIL
    + """
        C: EHLO again
        M: RSET
        U: 250 2.0.0 Ok
        S: 250-proxy.test
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250 8BITMIME
        C: RCPT TO:<b@y>
        S: 503 5.5.1 Need MAIL before RCPT
        quiet
    """,
    "ehlo_after_a_refused_rset_gets_a_fresh_server": EHLO
    + MAIL
    + """
        C: EHLO again
        M: RSET
        U: 500 no
        abort
        open SIZE=5
        S: 250-proxy.test
        S: 250-PIPELINING
        S: 250 SIZE 5
        quiet
    """,
    "rset_goes_upstream_in_a_transaction_only": EHLO
    + MAIL
    + """
        C: RSET
        M: RSET
        U: 250 2.0.0 flushed
        S: 250 2.0.0 flushed
        C: RSET
        S: 250 2.0.0 OK
        quiet
    """,
    "a_refused_rset_is_still_a_reset": EHLO + MAIL + "C: RSET\nM: RSET\nU: 421 bye\nabort\nS: 250 2.0.0 OK\nquiet",
    "refusals_are_relayed_word_for_word": EHLO
    + """
        C: MAIL FROM:<a@x> SIZE=10 BODY=8BITMIME AUTH=<someone@else>
        M: MAIL FROM:<a@x> SIZE=10 BODY=8BITMIME
        U: 250-2.1.0 first
        U: 250 2.1.0 second
        S: 250-2.1.0 first
        S: 250 2.1.0 second
        C: RCPT TO:<"b <c>"@y>
        M: RCPT TO:<"b <c>"@y>
        U: 550 5.1.1 <b@y>: no such user
        S: 550 5.1.1 <b@y>: no such user
        C: RCPT TO:<b@y>
        M: RCPT TO:<b@y>
        U: 451 4.7.1 greylisted
        S: 451 4.7.1 greylisted
        C: DATA
        M: DATA
        U: 554 5.5.1 no valid recipients
        S: 554 5.5.1 no valid recipients
        quiet
    """,
    "the_null_reverse_path_passes": EHLO + "C: MAIL FROM:<>\nM: MAIL FROM:<>\nU: 250 Ok\nS: 250 Ok\n"
    "C: RCPT TO:<x@y>\nM: RCPT TO:<x@y>\nU: 250\nS: 250\nquiet",
    "unannounced_parameters_are_refused_here": EHLO
    + """
        C: MAIL FROM:<a@x> RET=HDRS
        S: 555 5.5.4 Unsupported parameter
        C: MAIL FROM:<a@x> BODY=BINARYMIME
        S: 554 5.6.3 BINARYMIME needs CHUNKING, which is not offered
        C: MAIL FROM:<a@x> SIZE=x
        S: 501 5.5.4 SIZE takes a number of octets
        C: MAIL FROM:<a@x> BODY=9BIT
        S: 501 5.5.4 BODY is 7BIT or 8BITMIME
        C: MAIL FROM:<a@x> SIZE=1 SIZE=2
        S: 501 5.5.4 Parameter given twice
        C: MAIL FROM:a@x b@y
        S: 501 5.5.4 Malformed parameter
        C: MAIL FROM:<a@x
        S: 501 5.5.4 Syntax: MAIL FROM:<address>
        C: MAIL a@x
        S: 501 5.5.4 Syntax: MAIL FROM:<address>
        C: MAIL FROM:
        S: 501 5.5.4 Syntax: MAIL FROM:<address>
        quiet
    """,
    "a_second_mail_is_out_of_order": EHLO + MAIL + "C: MAIL FROM:<c@x>\nS: 503 5.5.1 Nested MAIL command\nquiet",
    "dots_pass_untouched": CONTENT
    + """
        C: ..a
        C: .
        m: ..a\\r\\n.\\r\\n
        U: 250 ok
        S: 250 ok
        quiet
    """,
    "a_refused_message_is_the_servers_word": CONTENT
    + "C: spam\nC: .\nm: spam\\r\\n.\\r\\n\nU: 554 5.7.1 spam\nS: 554 5.7.1 spam\nquiet",
    "a_group_is_answered_in_order": EHLO
    + """
        c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nRCPT TO:<c@y>\\r\\nDATA\\r\\n
        M: MAIL FROM:<a@x>
        M: RCPT TO:<b@y>
        M: RCPT TO:<c@y>
        M: DATA
        U: 250 one
        S: 250 one
        u: 250 two\\r\\n550 three\\r\\n354 four\\r\\n
        S: 250 two
        S: 550 three
        S: 354 four
        c: x\\r\\n.\\r\\nMAIL FROM:<d@x>\\r\\nRCPT TO:<e@y>\\r\\nQUIT\\r\\n
        m: x\\r\\n.\\r\\n
        U: 250 five
        S: 250 five
        M: MAIL FROM:<d@x>
        U: 250 six
        S: 250 six
        M: RCPT TO:<e@y>
        U: 250 seven
        S: 250 seven
        S: 221 2.0.0 proxy.test closing connection
        release
        close quit
    """,
    "a_server_without_pipelining_gets_one_command_at_a_time": GREETING
    + """
        C: EHLO c
        open
        S: 250-proxy.test
        S: 250 PIPELINING
        c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nNOOP\\r\\nRSET\\r\\n
        M: MAIL FROM:<a@x>
        U: 250 one
        M: RCPT TO:<b@y>
        U: 250 two
        S: 250 one
        S: 250 two
        S: 250 2.0.0 OK
        M: RSET
        U: 250 three
        S: 250 three
        quiet
    """,
    "input_behind_data_is_refused": EHLO
    + MAIL
    + RCPT
    + """
        c: DATA\\r\\nSubject: smuggled\\r\\n.\\r\\n
        S: 554 5.5.0 Error: SMTP protocol synchronization
        release
        close bad_pipeline
        quiet
    """,
    "input_before_the_answer_to_data_is_refused": EHLO
    + MAIL
    + RCPT
    + """
        C: DATA
        M: DATA
        C: Subject: early
        U: 354 go
        abort
        S: 554 5.5.0 Error: SMTP protocol synchronization
        close downstream_desync
        quiet
    """,
    "input_behind_ehlo_is_refused": GREETING
    + """
        c: EHLO c\\r\\nMAIL FROM:<a@x>\\r\\n
        S: 554 5.5.0 Error: SMTP protocol synchronization
        close bad_pipeline
        quiet
    """,
    "input_behind_ehlo_is_refused_also_where_ehlo_would_be": GREETING + "c: EHLO\\r\\nMAIL FROM:<a@x>\\r\\n\n"
    "S: 554 5.5.0 Error: SMTP protocol synchronization\nclose bad_pipeline\nquiet",
    "input_behind_starttls_is_refused": GREETING
    + "c: STARTTLS\\r\\nEHLO c\\r\\n\nS: 554 5.5.0 Error: SMTP protocol synchronization\nclose bad_pipeline\nquiet",
    "input_behind_auth_is_no_command": GREETING
    + "c: AUTH LOGIN\\r\\nQUIT\\r\\n\nS: 554 5.5.0 Error: SMTP protocol synchronization\nclose bad_pipeline\nquiet",
    "input_while_starttls_waits_is_refused": EHLO
    + """
        c: MAIL FROM:<a@x>\\r\\nSTARTTLS\\r\\n
        M: MAIL FROM:<a@x>
        C: EHLO c
        U: 250 2.1.0 Ok
        S: 250 2.1.0 Ok
        S: 554 5.5.0 Error: SMTP protocol synchronization
        release
        close downstream_desync
        quiet
    """,
    "input_while_ehlo_waits_is_refused": GREETING
    + """
        C: EHLO c
        ask
        C: MAIL FROM:<a@x>
        S: 554 5.5.0 Error: SMTP protocol synchronization
        abort
        close downstream_desync
        quiet
    """,
    "what_follows_quit_is_ignored": GREETING
    + "c: QUIT\\r\\nMAIL FROM:<a@x>\\r\\n\nS: 221 2.0.0 proxy.test closing connection\nclose quit\nquiet",
    "an_unannounced_chunk_is_swallowed": EHLO
    + """
        c: BDAT 10 LAST\\r\\nRSET\\r\\n
        c: XXXXNOOP\\r\\n
        S: 503 5.5.1 CHUNKING not advertised
        S: 250 2.0.0 OK
        C: BDAT 0
        S: 503 5.5.1 CHUNKING not advertised
        C: BDAT -1
        S: 501 5.5.4 Bad BDAT
        release
        close bad_line
    """,
    "a_chunk_that_is_announced_with_a_control_octet_is_not_waited_for": GREETING
    + "c: BDAT 5\\x01\\r\\nNOOP\\r\\n\nS: 501 5.5.2 Control characters are not allowed\nclose bad_line\nquiet",
    "a_chunk_that_is_announced_at_length_is_not_waited_for": GREETING
    + f"c: bdat {'5' * 5000}\\r\\nNOOP\\r\\n\nS: 500 5.5.2 Line too long\nclose bad_line\nquiet",
    "a_browser_is_sent_away": GREETING + "C: GET / HTTP/1.1\nS: 421 4.7.0 This is a mail server\nclose not_smtp\nquiet",
    "a_tls_hello_is_cut_off": GREETING + "c: \\x16\\x03\\x01\nclose not_smtp\nquiet",
    "a_bare_lf_ends_the_session": GREETING + "c: NOOP\\n\nS: 500 5.5.2 Bare <LF> received\nclose bad_line\nquiet",
    "a_bare_cr_is_refused": GREETING + "c: NO\\rOP\\r\\n\nS: 500 5.5.2 Bare <CR> received\nquiet",
    "control_octets_are_refused": GREETING + "c: NO\\x07OP\\r\\n\nS: 501 5.5.2 Control characters are not allowed\n"
    "c: NO\\0OP\\r\\n\nS: 501 5.5.2 NUL is not allowed\nclose bad_line",
    "a_blank_line_is_no_command": GREETING + "c:  \\r\\n\nS: 500 5.5.2 Empty command line\nquiet",
    "nul_in_mail_data_is_refused_without_a_dot": CONTENT
    + """
        c: good\\r\\nb\\0d\\r\\n
        abort
        c: more\\r\\n.\\r\\n
        S: 550 5.5.2 Message contains NUL
        close bad_content
    """,
    "a_stray_newline_is_mended": CONTENT
    + "c: a\\n.\\r\\nb\\r\\n.\\r\\n\nm: a\\r\\n..\\r\\nb\\r\\n.\\r\\n\nU: 250 ok\nS: 250 ok\nquiet",
    "an_early_refusal_is_told_at_the_end": CONTENT
    + """
        C: part
        M: part
        U: 552 5.3.4 too big
        abort
        C: rest
        C: .
        S: 552 5.3.4 too big
        C: NOOP
        S: 250 2.0.0 OK
        quiet
    """,
    "an_early_acceptance_is_never_believed": CONTENT
    + "U: 250 2.0.0 queued\nabort\nC: rest\nC: .\nS: 451 4.4.2 Upstream connection lost\nquiet",
    "a_server_lost_in_mail_data": CONTENT
    + """
        C: part
        M: part
        lost
        C: rest
        C: .
        S: 451 4.4.2 Upstream connection lost
        C: MAIL FROM:<a@x>
        open
        M: MAIL FROM:<a@x>
    """,
    "a_server_lost_after_the_dot": CONTENT + "C: .\nm: .\\r\\n\nlost\nS: 451 4.4.2 Delivery status unknown\nquiet",
    "garbage_after_the_dot": CONTENT + "C: .\nm: .\\r\\n\nU: what?\nabort\nS: 451 4.4.2 Delivery status unknown\nquiet",
    "no_reply_after_the_dot": CONTENT
    + "C: .\nm: .\\r\\n\nexpire UPSTREAM_FINAL_REPLY\nabort\nS: 451 4.4.2 Delivery status unknown\nquiet",
    "a_client_gone_in_mail_data": CONTENT + "C: part\nM: part\ngone\nabort\nclose downstream_lost\nquiet",
    "a_client_that_half_closes_in_mail_data": CONTENT + "C: part\nM: part\neof\nabort\nclose downstream_lost\nquiet",
    "a_client_gone_after_the_dot": CONTENT
    + "C: .\nm: .\\r\\n\ngone\nU: 250 queued\nS: 250 queued\nrelease\nclose downstream_lost\nquiet",
    "a_client_gone_before_data": EHLO + MAIL + "gone\nrelease\nclose downstream_lost\nquiet",
    "a_client_gone_during_the_login": GREETING + "C: EHLO x\nask\ngone\nabort\nclose downstream_lost\nquiet",
    "a_half_closing_client_gets_its_answers": GREETING
    + "c: NOOP\\r\\nNOOP\\r\\nQUI\neof\nS: 250 2.0.0 OK\nS: 250 2.0.0 OK\nclose downstream_closed\nquiet",
    "a_half_closing_client_gets_the_servers_answers": EHLO + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\neof\nquiet\n"
    "U: 250 ok\nS: 250 ok\nrelease\nclose downstream_closed\nquiet",
    "a_server_lost_at_mail": EHLO
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nlost\nS: 451 4.4.2 Upstream connection lost\nquiet",
    "a_server_lost_at_rcpt": EHLO
    + MAIL
    + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nlost\nS: 421 4.4.2 Upstream connection lost\nclose upstream_lost\nquiet",
    "a_server_lost_at_data": EHLO
    + MAIL
    + RCPT
    + "C: DATA\nM: DATA\nlost\nS: 421 4.4.2 Upstream connection lost\nclose upstream_lost\nquiet",
    "a_server_lost_at_rset": EHLO + MAIL + "C: RSET\nM: RSET\nlost\nS: 250 2.0.0 OK\nquiet",
    "a_server_lost_in_a_silent_transaction": EHLO
    + MAIL
    + "lost\nquiet\nC: RCPT TO:<b@y>\nS: 421 4.4.2 Upstream connection lost\nclose upstream_lost\nquiet",
    "a_server_lost_in_a_silent_transaction_that_is_reset": EHLO + MAIL + "lost\nC: RSET\nS: 250 2.0.0 OK\nquiet",
    "a_server_lost_between_transactions_is_replaced": EHLO
    + "lost\nquiet\nC: MAIL FROM:<a@x>\nopen\nM: MAIL FROM:<a@x>\nquiet",
    "mail_is_tried_again_on_a_connection_that_had_done_its_work": CONTENT
    + """
        C: .
        m: .\\r\\n
        U: 250 ok
        S: 250 ok
        C: MAIL FROM:<c@x>
        M: MAIL FROM:<c@x>
        lost
        open fresh
        M: MAIL FROM:<c@x>
        U: 250 again
        S: 250 again
        quiet
    """,
    "mail_is_tried_again_once_only": CONTENT
    + """
        C: .
        m: .\\r\\n
        U: 250 ok
        S: 250 ok
        C: MAIL FROM:<c@x>
        M: MAIL FROM:<c@x>
        U: 421 idle too long
        abort
        open fresh
        M: MAIL FROM:<c@x>
        U: 421 again
        abort
        S: 421 again
        close upstream_421
    """,
    "a_timeout_at_mail": EHLO + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nexpire UPSTREAM_REPLY\n"
    "abort\nS: 451 4.4.2 Upstream did not answer in time\nquiet",
    "a_timeout_at_rcpt": EHLO + MAIL + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nexpire UPSTREAM_REPLY\nabort\n"
    "S: 421 4.4.2 Upstream connection lost\nclose upstream_timeout\nquiet",
    "a_timeout_at_data": EHLO + MAIL + "C: DATA\nM: DATA\nexpire UPSTREAM_DATA_REPLY\nabort\n"
    "S: 421 4.4.2 Upstream connection lost\nclose upstream_timeout\nquiet",
    "an_idle_client": EHLO
    + "expire DOWNSTREAM_COMMAND\nS: 421 4.4.2 Timeout, closing connection\nrelease\nclose downstream_timeout",
    "a_client_that_says_nothing": GREETING
    + "expire DOWNSTREAM_FIRST_COMMAND\nS: 421 4.4.2 Timeout, closing connection\nclose downstream_timeout",
    "half_a_line_and_nothing_before_it": GREETING
    + "c: EHL\nexpire DOWNSTREAM_LINE\nS: 421 4.4.2 Timeout, closing connection\nclose downstream_timeout",
    "half_a_line": GREETING + "C: NOOP\nS: 250 2.0.0 OK\nc: EHL\nexpire DOWNSTREAM_LINE\n"
    "S: 421 4.4.2 Timeout, closing connection\nclose downstream_timeout",
    "half_a_message": CONTENT + "C: x\nM: x\nexpire DOWNSTREAM_CONTENT\n"
    "S: 421 4.4.2 Timeout, closing connection\nabort\nclose downstream_timeout",
    "a_login_without_end": GREETING + "C: EHLO x\nask\nexpire UPSTREAM_LOGIN\nabort\n"
    "S: 421 4.4.2 Upstream did not answer in time\nclose upstream_timeout\nquiet",
    "a_421_of_the_server_is_passed_on": EHLO + MAIL + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 421 4.3.2 shutting down\n"
    "abort\nS: 421 4.3.2 shutting down\nclose upstream_421\nquiet",
    "a_421_while_nobody_asked": EHLO + "U: 421 idle\nabort\nquiet\nC: MAIL FROM:<a@x>\nopen\nM: MAIL FROM:<a@x>\nquiet",
    "a_421_while_nobody_asked_in_a_transaction": EHLO
    + MAIL
    + "U: 421 idle\nabort\nquiet\nC: RCPT TO:<b@y>\nS: 421 4.4.2 Upstream connection lost\nclose upstream_lost\nquiet",
    "a_reply_nobody_asked_for_is_never_delivered": EHLO + MAIL + "U: 250 surprise\nabort\nquiet\nC: RCPT TO:<b@y>\n"
    "S: 421 4.4.2 Upstream connection lost\nclose upstream_lost\nquiet",
    "half_a_reply_nobody_asked_for_is_no_answer": EHLO
    + "u: 25\nC: MAIL FROM:<a@x>\nabort\nS: 451 4.5.0 Upstream protocol error\nquiet",
    "half_a_reply_before_the_dot_is_no_answer": CONTENT
    + "u: 25\nC: .\nabort\nS: 451 4.4.2 Upstream connection lost\nquiet",
    "a_reply_of_another_protocol": EHLO
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: +OK\nabort\nS: 451 4.5.0 Upstream protocol error\nquiet",
    "a_violation_at_rcpt": EHLO
    + MAIL
    + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 354 what\nabort\nS: 451 4.5.0 Upstream protocol error\n"
    "C: DATA\nS: 421 4.4.2 Upstream connection lost\nclose upstream_lost",
    "a_positive_reply_to_data": EHLO
    + MAIL
    + "C: DATA\nM: DATA\nU: 250 ok\nabort\nS: 451 4.5.0 Upstream protocol error\nquiet",
    "a_reply_about_our_login_at_mail": EHLO + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nU: 530 5.7.0 login first\n"
    "abort\nS: 451 4.7.0 Upstream authentication failed\nquiet",
    "a_reply_about_our_login_at_rcpt": EHLO
    + MAIL
    + "C: RCPT TO:<b@y>\nM: RCPT TO:<b@y>\nU: 535 5.7.8 who\nS: 451 4.7.0 Upstream authentication failed\nquiet",
    "control_octets_of_the_server_are_not_passed_on": EHLO
    + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>\nu: 250 a\\x1b[31mb\\xe4\\r\\n\nS: 250 a?[31mb?\nquiet",
    "a_parameter_that_a_new_server_does_not_know": EHLO
    + "lost\nC: MAIL FROM:<a@x> SIZE=5\nopen\nS: 451 4.3.0 Parameter not available at the moment\nquiet",
    "one_failed_login_after_three_ends_the_session": GREETING
    + """
        C: MAIL FROM:<a@x>
        fail Unreachable
        S: 451 4.4.1 Upstream not reachable
        C: MAIL FROM:<a@x>
        fail Unreachable
        S: 451 4.4.1 Upstream not reachable
        C: MAIL FROM:<a@x>
        fail Unreachable
        S: 451 4.4.1 Upstream not reachable
        C: MAIL FROM:<a@x>
        fail Unreachable
        S: 421 4.4.1 Upstream not reachable
        close upstream_unreachable
        quiet
    """,
    "a_group_behind_a_failed_login": GREETING
    + """
        c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nDATA\\r\\n
        fail TLSFailed
        S: 451 4.7.5 Upstream TLS verification failed
        S: 503 5.5.1 Need MAIL before RCPT
        S: 503 5.5.1 Need MAIL before DATA
        quiet
    """,
    "a_group_on_a_lost_connection": EHLO
    + """
        c: MAIL FROM:<a@x>\\r\\nRCPT TO:<b@y>\\r\\nDATA\\r\\n
        M: MAIL FROM:<a@x>
        M: RCPT TO:<b@y>
        M: DATA
        lost
        S: 451 4.4.2 Upstream connection lost
        S: 503 5.5.1 Need MAIL first
        S: 503 5.5.1 Need MAIL first
        quiet
    """,
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation(name):
    play(CONVERSATIONS[name])


NOT_CUT = ("input_", "a_group_", "half_a_reply")
"""Where it matters what came in one piece."""


@pytest.mark.parametrize("name", [name for name in CONVERSATIONS if not name.startswith(NOT_CUT)])
def test_conversation_octet_by_octet(name):
    play(CONVERSATIONS[name], cut=octets)


FAILURES = {
    "NameLookupFailed": "4.3 Upstream name lookup failed",
    "HostNotFound": "4.4 Upstream host not found",
    "Unreachable": "4.1 Upstream not reachable",
    "RefusedSession": "4.2 Upstream refused the session",
    "Violation": "5.0 Upstream protocol error",
    "LacksTLS": "7.4 Upstream does not offer TLS",
    "TLSFailed": "7.5 Upstream TLS verification failed",
    "LacksMechanism": "7.0 Upstream authentication not possible",
    "RefusedLogin": "7.0 Upstream authentication failed",
    "RefusedLogin temporary": "7.0 Upstream authentication failed",
    "DestinationUnavailable": "7.0 Credentials currently unavailable",
    "DestinationUnknown": "7.0 Credentials currently unavailable",
    "TokenRefused": "7.0 Credentials currently unavailable",
    "DestinationUnusable": "3.5 Upstream access not configured",
    "LimitReached": "3.2 Too many sessions, try later",
    "LoopDetected": "4.6 Mail loop detected",
}


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_has_its_reply(name):
    outcome = make_error(name).outcome
    play(f"{GREETING}C: MAIL FROM:<a@x>\nfail {name}\nS: 451 4.{FAILURES[name]}\nquiet")
    play(f"{GREETING}C: EHLO x\nfail {name}\nS: 421 4.{FAILURES[name]}\nclose {outcome}\nquiet")


def test_bare_newlines_are_refused_where_the_policy_says_so():
    play(
        CONTENT
        + "c: a\\nb\nabort\nc: \\r\\n.\\r\\n\nS: 550 5.5.2 Message contains bare <CR> or <LF>\nclose bad_content",
        SMTPPolicy("proxy.test", bare_newline=BareNewlines.REJECT),
    )


def test_lone_lf_ends_a_command_where_the_policy_says_so():
    play(GREETING + "c: NOOP\\n\nS: 250 2.0.0 OK\nquiet", SMTPPolicy("proxy.test", lone_lf_ends_command=True))


def test_a_message_over_our_limit_is_broken_off():
    script = CONTENT.replace("SIZE 1000", "SIZE 10")
    policy = SMTPPolicy("proxy.test", max_message_octets=10)
    play(script + "C: 12345678\nM: 12345678\nC: .\nm: .\\r\\n\nU: 250 ok\nS: 250 ok\nquiet", policy)
    play(script + "C: ..345678\nM: ..345678\nC: .\nm: .\\r\\n\nU: 250 ok\nS: 250 ok\nquiet", policy)
    play(
        script + "C: 123456789\nabort\nC: .\nS: 552 5.3.4 Message size exceeds limit\nC: NOOP\nS: 250 2.0.0 OK\nquiet",
        policy,
    )
    play(
        EHLO.replace("SIZE 1000", "SIZE 10")
        + "C: MAIL FROM:<a@x> SIZE=11\nS: 552 5.3.4 Message size exceeds limit\nquiet",
        policy,
    )


def test_more_recipients_than_ours():
    policy = SMTPPolicy("proxy.test", max_recipients=1)
    play(
        EHLO.replace("S: 250 8BITMIME", "S: 250-8BITMIME\nS: 250 LIMITS RCPTMAX=1")
        + MAIL
        + RCPT
        + "C: RCPT TO:<c@y>\nS: 452 4.5.3 Too many recipients\nquiet",
        policy,
    )


def test_require_helo():
    policy = SMTPPolicy("proxy.test", require_helo=True)
    play(
        GREETING
        + "C: MAIL FROM:<a@x>\nS: 503 5.5.1 Send EHLO first\nC: MAIL FROM:<a@x>\nS: 503 5.5.1 Send EHLO first\nquiet",
        policy,
    )
    play(EHLO + MAIL, policy)


def test_early_mail_data_may_be_allowed_but_never_becomes_commands():
    policy = SMTPPolicy("proxy.test", strict_sync=False)
    start = EHLO + MAIL + RCPT + "c: DATA\\r\\nx\\r\\n.\\r\\nNOOP\\r\\n\nM: DATA\n"
    play(start + "U: 354 go\nS: 354 go\nm: x\\r\\n.\\r\\n\nU: 250 ok\nS: 250 ok\nS: 250 2.0.0 OK\nquiet", policy)
    play(start + "U: 451 later\nS: 451 later\nrelease\nclose bad_pipeline\nquiet", policy)
    play(GREETING + "c: DATA\\r\\nx\\r\\n\nS: 503 5.5.1 Need MAIL before DATA\nclose bad_pipeline\nquiet", policy)


WRONG_PORT = "S: 421 4.7.0 This is a mail server\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        *[(f"{method} / HTTP/1.1", WRONG_PORT) for method in ("GET", "POST", "HEAD", "PUT", "CONNECT", "OPTIONS")],
        ("SSH-2.0-OpenSSH_9.9", WRONG_PORT),
        ("POST /\\x01 HTTP/1.1", WRONG_PORT),
        ("POST /\\r HTTP/1.1", WRONG_PORT),
        pytest.param("POST /" + "a" * 5000 + " HTTP/1.1", WRONG_PORT, id="an_address_longer_than_a_line"),
        pytest.param("POST /" + "a" * 70000 + " HTTP/1.1", WRONG_PORT, id="an_endless_address"),
        ("\\x16\\x03\\x01\\x02", ""),
        ("\\x05\\x01\\x00", ""),
        ("\\x04\\x01", ""),
        ("\\xff\\xfb", ""),
    ],
)
@pytest.mark.parametrize("cut", [None, lambda data: [data[:3000], data[3000:]]], ids=["whole", "in_two"])
def test_another_protocol_hears_one_reply_at_most(words, told, cut):
    forged = "MAIL FROM:<evil@x>\\r\\nRCPT TO:<b@y>\\r\\nDATA\\r\\n"
    script = Script(cut=cut)
    script.run(f"{GREETING}c: {words}\\r\\nHost: x\\r\\n\\r\\n{forged}\n{told}close not_smtp\nquiet")


def test_over_long_lines_are_thrown_away():
    session = play(
        GREETING + "C: NOOP xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nS: 500 5.5.2 Line too long\nC: NOOP\nS: 250 2.0.0 OK",
        SMTPPolicy("proxy.test", max_line_octets=20, max_skipped_octets=100),
    )
    assert session.reports.count("bad_line") == 1


@pytest.mark.parametrize("cut", [None, octets, lambda data: [data[:90], data[90:]]], ids=["whole", "octets", "two"])
@pytest.mark.parametrize(
    ("words", "replies"),
    [
        ("x" * 130, 1),
        ("x" * 130 + "\\r\\nNOOP\\r\\n", 1),
        ("x" * 130 + "\\nNOOP\\r\\n", 1),
        ("x" * 99 + "\\r\\nNOOP\\r\\n", 1),
        ("x" * 60 + "\\r\\n" + "y" * 60 + "\\r\\nNOOP\\r\\n", 2),
    ],
    ids=["without_an_end", "one", "one_that_ends_in_lf", "one_with_its_newline", "two"],
)
def test_endless_lines_end_the_session_and_the_client_is_told_wherever_they_are_cut(cut, words, replies):
    policy = SMTPPolicy("proxy.test", max_line_octets=20, max_skipped_octets=100)
    script = Script(policy, cut).run(f"{GREETING}c: {words}\nclose bad_line")
    assert script.down == b"500 5.5.2 Line too long\r\n" * replies


def test_too_many_errors_and_too_much_junk():
    policy = SMTPPolicy("proxy.test", max_errors=2, max_junk_commands=2)
    play(
        GREETING + "C: A\nS: 500 5.5.1 Command not recognized\nC: B\nS: 500 5.5.1 Command not recognized\n"
        "S: 421 4.7.0 Too many errors\nclose too_many_errors",
        policy,
    )
    play(
        GREETING + "C: NOOP\nC: NOOP\nC: NOOP\nS: 250 2.0.0 OK\nS: 250 2.0.0 OK\n"
        "S: 250 2.0.0 OK\nS: 421 4.7.0 Too many errors\nclose too_many_errors",
        policy,
    )


def test_the_owner_conceals_what_no_reply_may_tell():
    script = play(EHLO)
    script.session.conceal = lambda text: text.replace(b"s\xe4cret", b"?")
    script.run(
        """
        C: MAIL FROM:<a@x>
        u: 250-2.1.0 s\\xe4cret\\r\\n250 s\\xe4cret\\r\\n
        S: 250-2.1.0 ?
        S: 250 ?
        C: DATA
        U: 354 go
        S: 354 go
        u: 552 5.3.4 s\\xe4cret\\r\\n
        C: .
        S: 552 5.3.4 ?
        """
    )


@pytest.mark.parametrize("leaves", ["", "gone\n"])
def test_the_reply_to_a_message_is_reported_also_when_its_client_has_left(leaves):
    for reply in ("250 queued", "554 no"):
        assert play(CONTENT + f"C: .\nm: .\\r\\n\n{leaves}U: {reply}").reports == ["transaction", "message"]


def test_discarding_is_bounded():
    policy = SMTPPolicy("proxy.test", max_discarded_octets=20)
    play(CONTENT + "lost\nC: 1234567890123456789\nS: 421 4.4.2 Upstream connection lost\nclose upstream_lost", policy)


@pytest.mark.parametrize(
    ("content", "verdict", "outcome"),
    [
        ("c: 12345678\\0", "550 5.5.2 Message contains NUL", "bad_content"),
        (f"C: {1001 * 'x'}", "552 5.3.4 Message size exceeds limit", "bad_content"),
        ("U: 554 5.7.1 no", "554 5.7.1 no", "upstream_lost"),
    ],
)
def test_who_goes_on_and_on_with_a_message_that_is_refused_for_good_is_told_so(content, verdict, outcome):
    """A `421` would have it sent again."""
    policy = SMTPPolicy("proxy.test", max_discarded_octets=20, max_message_octets=1000)
    script = play(f"{CONTENT}{content}", policy)
    script.up, script.deeds = b"", []
    script.run(f"C: 12345678901234567890\nS: {verdict}\nclose {outcome}")


def test_the_input_of_a_waiting_client_is_bounded():
    session = play(EHLO + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>", SMTPPolicy("proxy.test", max_buffered_octets=100))
    assert session.session.reading
    session.client(b"RSET\r\n" * 20)
    assert not session.session.reading
    session.run("U: 250 ok\nS: 250 ok\nM: RSET")


@pytest.mark.parametrize("text", [b"250-2.1.0 first\r\n250 2.1.0 second\r\n", b"550 no\r\n"])
def test_a_reply_that_trickles_in_has_one_deadline(text):
    script = play(EHLO + "C: MAIL FROM:<a@x>\nM: MAIL FROM:<a@x>")
    serial = script.session.wait_serial
    for place in range(len(text) - 1):
        assert (script.session.waiting, script.session.wait_serial) == (Waiting.UPSTREAM_REPLY, serial)
        script.server(text[place : place + 1])
    assert (script.session.waiting, script.session.wait_serial) == (Waiting.UPSTREAM_REPLY, serial)
    script.run("expire UPSTREAM_REPLY\nabort\nS: 451 4.4.2 Upstream did not answer in time\nquiet")


def test_the_number_of_replies_that_wait_is_bounded():
    policy = SMTPPolicy("proxy.test", max_pipelined_commands=3, max_junk_commands=10**6)
    session = play(GREETING, policy)
    session.client(b"NOOP\r\n" * 500)
    assert session.down == b"250 2.0.0 OK\r\n" * 500


def test_behind_the_end_nothing_matters():
    script = play(EHLO + "C: QUIT\nS: 221 2.0.0 proxy.test closing connection\nrelease\nclose quit")
    session, serial = script.session, script.session.wait_serial
    assert session.reading
    assert session.reading_upstream
    session.start()
    session.receive_downstream(b"NOOP\r\n")
    session.upstream_opened(extensions())
    session.upstream_failed(make_error("Unreachable"))
    session.receive_upstream(b"250 late\r\n")
    session.upstream_lost(make_error("ConnectionLost"))
    session.expired()
    session.drain()
    session.cut(last=True)
    session.downstream_secured()
    session.downstream_ended()
    session.downstream_lost()
    assert session.next_action() is None
    assert session.waiting is Waiting.NOBODY
    assert session.wait_serial == serial


def test_a_first_command_that_has_begun_has_as_long_as_any_line():
    session = play(GREETING).session
    assert session.waiting is Waiting.DOWNSTREAM_FIRST_COMMAND
    serial = session.wait_serial + 1
    for octet in b"NOOP\r":
        session.receive_downstream(bytes([octet]))
        assert (session.waiting, session.wait_serial) == (Waiting.DOWNSTREAM_LINE, serial)
    session.receive_downstream(b"\n")
    assert session.waiting is Waiting.DOWNSTREAM_COMMAND
    assert session.wait_serial > serial


def test_a_wait_goes_on_while_octets_trickle_in():
    session = play(GREETING + "C: NOOP\nS: 250 2.0.0 OK\n").session
    assert session.waiting is Waiting.DOWNSTREAM_COMMAND
    session.receive_downstream(b"N")
    serial = session.wait_serial
    assert session.waiting is Waiting.DOWNSTREAM_LINE
    session.receive_downstream(b"OO")
    assert session.wait_serial == serial
    session.receive_downstream(b"P\r\n")
    assert session.waiting is Waiting.DOWNSTREAM_COMMAND
    assert session.wait_serial > serial


@given(st.lists(st.integers(1, 7), min_size=1, max_size=40))
def test_every_command_gets_one_reply_for_any_cut(sizes):
    script = Script()
    script.session.receive_downstream(b"EHLO x\r\n")
    script._collect()
    script.session.upstream_opened(extensions("PIPELINING"))
    script._collect()
    before = script.down.count(b"\r\n250 ") + 1
    data = b"NOOP\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nFROB\r\nRCPT TO:<e@f>\r\nNOOP\r\nRSET\r\nVRFY\r\nQUIT\r\n"
    place = number = 0
    while place < len(data):
        size = sizes[number % len(sizes)]
        script.client(data[place : place + size])
        place += size
        number += 1
    for _ in range(4):
        script.server(b"250 upstream\r\n")
    replies = script.down.decode().splitlines()[-9:]
    assert before
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "500", "250", "250", "250", "252", "221"]
    assert [i for i, reply in enumerate(replies) if "upstream" in reply] == [1, 2, 4, 6]


@pytest.mark.parametrize(
    ("words", "helo"),
    [
        ("", (b"", False)),
        ("C: EHLO client\nopen\n", (b"client", True)),
        ("C: ehlo [192.0.2.1]\nopen\n", (b"[192.0.2.1]", True)),
        ("C: HELO client\nopen\n", (b"client", False)),
        ("C: EHLO first\nopen\nC: HELO second\n", (b"second", False)),
        ("C: MAIL FROM:<a@x>\nopen\n", (b"", False)),
        ("C: EHLO client\nopen\nC: STARTTLS\ntls\nsecured\n", (b"", False)),
    ],
)
def test_what_the_client_calls_itself_is_known_to_the_owner(words, helo):
    script = play(GREETING + words, SMTPPolicy("proxy.test", encryption=Encryption.OFFERED))
    assert script.session.helo == helo
