"""A POP3 session whose listener goes away: a running command is seen through, nothing new begins."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.session.actions import AbortDownstream, CloseDownstream, SendDownstream, SendUpstream, Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3 import POP3Session
from mailproxy.session.pop3_policy import POP3Policy
from tests.session.script import Script
from tests.session.test_pop3 import BEGIN, OFFERED, STEPS, actions

TOLD = "S: -ERR [SYS/TEMP] service shutting down\n"
GONE = TOLD + "= abort server\n= close shutdown\n? nobody\n"
NEVER_ASKED = TOLD + "= close shutdown\n? nobody\n"
RUNNING = BEGIN + "C: STAT\nP: STAT\n"
BODY = BEGIN + "C: RETR 1\nP: RETR 1\nM: +OK\nS: +OK\nM: Subject: x\nS: Subject: x\n"
QUITTING = BEGIN + "C: DELE 1\nP: DELE 1\nM: +OK\nS: +OK\nC: QUIT\nP: QUIT\n"
LOST = "S: -ERR [SYS/TEMP] connection lost, some deleted messages may remain\n"

DRAINED = {
    "the_login": "> start\n= open\n> drain\n" + GONE,
    "the_login_with_commands_ahead": "> start\n= open\nC: STAT\nC: QUIT\n> drain\n" + GONE,
    "idle": BEGIN + "> drain\n" + GONE,
    "twice": BEGIN + "> drain\n" + GONE + "> drain\n> cut\n> cut last\n? nobody",
    "in_the_middle_of_a_line": BEGIN + "c: ST\n> drain\n" + GONE,
    "in_the_middle_of_a_login_that_means_nothing": BEGIN + "C: AUTH LOGIN\nS: + VXNlcm5hbWU6\n> drain\n" + GONE,
    "a_command": RUNNING + "> drain\n? reply\nM: +OK 1 2\nS: +OK 1 2\n" + GONE,
    "commands_behind_it": RUNNING + "C: DELE 1\nC: QUIT\n> drain\n? reply\nM: +OK 1 2\nS: +OK 1 2\n" + GONE,
    "a_body": BODY + "> drain\n? body\nM: x\nS: x\nM: .\nS: .\n" + GONE,
    "a_command_and_its_server_is_lost": RUNNING + "> drain\n> server lost\n"
    "S: -ERR [SYS/TEMP] connection to mail server lost\n= close upstream_lost",
    "quit": QUITTING + "> drain\n? quit_reply\nM: +OK bye\nS: +OK bye\n= abort server\n= close quit",
    "quit_of_a_client_that_is_gone": QUITTING + "> client lost\n> drain\nM: +OK bye\n= abort server\n= close quit",
}
CUT = {
    "the_login": "> start\n= open\n> cut\n" + GONE,
    "idle": BEGIN + "> cut\n" + GONE,
    "a_command": RUNNING + "> drain\n> cut\n" + GONE,
    "half_a_status_line": RUNNING + "m: +O\n> cut\n" + GONE,
    "a_body_is_broken_off_and_never_completed": BODY + "> drain\n> cut\n= abort server\n= abort shutdown",
    "a_body_whose_dot_is_half_there": BODY + "m: .\\r\n> cut\n= abort server\n= abort shutdown",
    "who_waits_for_quit_gets_its_answer": QUITTING
    + "> cut\n? quit_reply\nM: +OK\nS: +OK\n= abort server\n= close quit",
    "who_waits_for_quit_too_long": QUITTING + "> cut\n> cut last\n" + LOST + "= abort server\n= close shutdown",
    "quit_of_a_client_that_is_gone": QUITTING + "> client lost\n> cut last\n= abort server\n= close shutdown",
}
BEFORE_TLS = "> start\nS: +OK ready\n"
HANDSHAKE = BEFORE_TLS + "C: STLS\nS: +OK begin TLS\n= tls\n"


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize("name", DRAINED)
def test_drain(name, size):
    Script(POP3Session(POP3Policy()), OFFERED, size=size).play(DRAINED[name])


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize("name", CUT)
def test_cut(name, size):
    Script(POP3Session(POP3Policy()), OFFERED, size=size).play(CUT[name])


@pytest.mark.parametrize("end", ["drain", "cut", "cut last"])
def test_where_tls_is_required(end):
    required = POP3Policy(encryption=Encryption.REQUIRED)
    for state in (BEFORE_TLS, HANDSHAKE):
        Script(POP3Session(required), OFFERED).play(state + f"> {end}\n" + NEVER_ASKED + "> secured\n? nobody")
    Script(POP3Session(required), OFFERED).play(HANDSHAKE + f"> secured\n= open\n> {end}\n" + GONE)


@pytest.mark.parametrize("end", [lambda session: session.drain(), lambda session: session.cut(last=False)])
def test_who_is_not_greeted_yet_is_told_instead(end):
    session = POP3Session(POP3Policy(encryption=Encryption.IMPLICIT))
    end(session)
    told = actions(session)
    session.start()
    assert told == [SendDownstream(b"-ERR [SYS/TEMP] service shutting down\r\n"), CloseDownstream("shutdown")]
    assert actions(session) == []


MORE_STEPS = st.one_of(STEPS, st.sampled_from([("downstream_secured",), ("receive_downstream", b"STLS\r\n")]))
STORIES = st.lists(MORE_STEPS, max_size=10)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(Encryption), STORIES, STORIES, st.booleans())
def test_whenever_it_is_drained_it_ends_once_and_asks_for_nothing_new(encryption, before, after, cut):
    session = POP3Session(POP3Policy(encryption=encryption))
    session.start()
    done = actions(session)
    for name, *arguments in before:
        getattr(session, name)(*arguments)
        done += actions(session)
    session.drain()
    drained = len(done)
    done += actions(session)
    for name, *arguments in after:
        getattr(session, name)(*arguments)
        done += actions(session)
    if cut:
        session.cut(last=True)
        done += actions(session)
    else:
        for _ in range(3):
            session.expired()
            done += actions(session)
    ends = [action for action in done if isinstance(action, CloseDownstream | AbortDownstream)]
    assert ends == done[-1:]
    assert session.waiting is Waiting.NOBODY
    assert not any(isinstance(action, SendUpstream) for action in done[drained:])
