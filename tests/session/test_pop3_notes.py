"""What the ledger hears of sessions of POP3."""

import pytest

from mailproxy.session.actions import MaildropVisited
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3 import POP3Session
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.wire.pop3 import POP3Capabilities
from tests.session.script import Script

START = "> start\n= open\n> opened\nS: +OK ready\n"


def told(text, *, may_record=lambda: True, logged_in=True):
    script = Script(POP3Session(POP3Policy(), may_record=may_record), POP3Capabilities({}, logged_in=logged_in)).play(
        text
    )
    return script.session.account()


@pytest.mark.parametrize(
    ("text", "visit"),
    [
        (START, MaildropVisited(None, 0, 0, False, 0)),
        ("> start\n= open\n", MaildropVisited(None, 0, 0, False, 0)),
        (
            START + "C: RETR 1\nP: RETR 1\nM: +OK\nS: +OK\nM: ab\nS: ab\nM: .\nS: .\n",
            MaildropVisited(None, 1, 0, False, 7),
        ),
        (START + "C: RETR 1\nP: RETR 1\nM: +OK\nS: +OK\nM: ab\nS: ab\n", MaildropVisited(None, 0, 0, False, 4)),
        (START + "C: RETR 1\nP: RETR 1\nM: -ERR\nS: -ERR\n", MaildropVisited(None, 0, 0, False, 0)),
        (
            START + "C: TOP 1 0\nP: TOP 1 0\nM: +OK\nS: +OK\nM: ab\nS: ab\nM: .\nS: .\n",
            MaildropVisited(None, 0, 0, False, 0),
        ),
        (
            START + "C: DELE 1\nP: DELE 1\nM: +OK\nS: +OK\nC: DELE 2\nP: DELE 2\nM: -ERR\nS: -ERR\n",
            MaildropVisited(None, 0, 1, False, 0),
        ),
        (
            START + "C: DELE 1\nP: DELE 1\nM: +OK\nS: +OK\nC: RSET\nP: RSET\nM: +OK\nS: +OK\n",
            MaildropVisited(None, 0, 0, False, 0),
        ),
        (
            START + "C: DELE 1\nP: DELE 1\nM: +OK\nS: +OK\nC: QUIT\nP: QUIT\n",
            MaildropVisited(None, 0, 1, None, 0),
        ),
        (
            START + "C: QUIT\nP: QUIT\nM: +OK\nS: +OK\n= abort server\n= close quit\n",
            MaildropVisited(None, 0, 0, True, 0),
        ),
        (
            START + "C: QUIT\nP: QUIT\nM: -ERR\nS: -ERR\n= abort server\n= close quit\n",
            MaildropVisited(None, 0, 0, False, 0),
        ),
    ],
)
def test_what_was_done(text, visit):
    assert told(text) == [visit]


def test_the_name_that_went_to_the_mail_server_is_told():
    text = START + "C: USER bob\nP: USER bob\nM: +OK\nS: +OK\nC: PASS secret\nP: PASS secret\nM: +OK\nS: +OK\n"
    assert told(text, logged_in=False) == [MaildropVisited(b"bob", 0, 0, False, 0)]


def test_a_name_that_means_nothing_is_not():
    assert told(START + "C: USER bob\nS: +OK\n") == [MaildropVisited(None, 0, 0, False, 0)]


def test_without_a_ledger_nothing_is_told():
    assert told(START, may_record=None) == []


def test_who_never_asked_for_the_mail_server_is_not_told_of():
    session = POP3Session(POP3Policy(encryption=Encryption.REQUIRED), may_record=lambda: True)
    Script(session, None).play("> start\nS: +OK ready\nC: QUIT\nS: +OK bye\n= close quit\n")
    assert session.account() == []


def test_a_ledger_that_cannot_be_written_keeps_sessions_from_beginning():
    text = "> start\nS: -ERR [SYS/TEMP] audit ledger not available, try later\n= close ledger_unavailable\n"
    assert told(text, may_record=lambda: False) == []
