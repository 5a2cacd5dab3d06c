"""
Mail servers that lie at the real proxy, each at each step: the client hears exactly what it should, and nothing else.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping

import pytest
from attrs import frozen

from tests.support.besieged import NO_POOL, Client, Siege, besieged, greeted
from tests.support.liars import Lie, endless, hang_up
from tests.support.scripted import Visit
from tests.support.waiting import until

pytestmark = pytest.mark.integration

STEPS = {
    b"MAIL": b"MAIL FROM:<a@b.test>\r\n",
    b"RCPT": b"RCPT TO:<c@d.test>\r\n",
    b"DATA": b"DATA\r\n",
    b".": b"Subject: x\r\n\r\nhello\r\n.\r\n",
}
TRUTHS = (b"250 2.0.0 ok", b"250 2.0.0 ok", b"354 go on", b"250 2.0.0 taken")

LOST = b"421 4.4.2 Upstream connection lost"
LOST_MAIL = b"451 4.4.2 Upstream connection lost"
VIOLATION = b"451 4.5.0 Upstream protocol error"
OUR_LOGIN = b"451 4.7.0 Upstream authentication failed"
STATUS_UNKNOWN = b"451 4.4.2 Delivery status unknown"


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """A proxy as it is by default, but that each session has a mail server's connection of its own."""
    with besieged(tmp_path_factory.mktemp("lies"), tables=NO_POOL) as all_of_it:
        yield all_of_it


def walk(client: Client) -> list[bytes]:
    """The replies to MAIL, RCPT, DATA and a message; none behind a refusal that leads no further, or the end."""
    replies: list[bytes] = []
    for step, octets in STEPS.items():
        client.send(octets)
        replies.append(client.read_reply())
        accepted = replies[-1][:1] in (b"2", b"3")
        if not accepted or step == b".":
            break
    return replies


def send_half_a_message(siege: Siege, client: Client) -> None:
    """The mail server has told its lie in the middle, and the connection to it is gone."""
    for step in (b"MAIL", b"RCPT", b"DATA"):
        client.send(STEPS[step])
        client.read_reply()
    client.send(b"some of it\r\n")
    assert siege.smtp.sessions[0].closed.wait(10)


# In place of a reply

NO_REPLY: Mapping[str, Lie] = {
    "garbage": b"what?\r\n",
    "HTTP": b"HTTP/1.1 200 OK\r\n\r\n",
    "POP3": b"+OK\r\n",
    "IMAP": b"* OK ready\r\n",
    "binary": bytes(range(256)) + b"\r\n",
    "two digits": b"25 ok\r\n",
    "four digits": b"2500 ok\r\n",
    "first digit 0": b"050 ok\r\n",
    "first digit 1": b"150 ok\r\n",
    "first digit 6": b"650 ok\r\n",
    "second digit 9": b"290 ok\r\n",
    "no blank": b"250ok\r\n",
    "sign": b"+25 ok\r\n",
    "blank": b" 250 ok\r\n",
    "nothing": b"\r\n",
    "LF alone": b"250 ok\n",
    "codes that differ": b"250-ok\r\n550 ok\r\n",
    "wrong code inside": b"250-ok\r\n251-ok\r\n250 ok\r\n",
    "challenge": b"334 VXNlcm5hbWU6\r\n",
    "greeting": b"220 hello again\r\n",
    "farewell": b"221 bye\r\n",
    "login": b"235 welcome\r\n",
    "long line": b"250 " + b"x" * 4091 + b"\r\n",
    "many lines": b"250-x\r\n" * 128 + b"250 x\r\n",
    "many octets": (b"250-" + b"x" * 1000 + b"\r\n") * 40 + b"250 x\r\n",
    "endless lines": endless(b"250-x\r\n"),
    "endless line": endless(b"250 xxxxxxxx"),
}
OF_NO_REPLY = {b"MAIL": VIOLATION, b"RCPT": VIOLATION, b"DATA": VIOLATION, b".": STATUS_UNKNOWN}


@pytest.mark.parametrize("step", STEPS, ids=bytes.decode)
@pytest.mark.parametrize("name", NO_REPLY)
def test_what_is_no_reply_is_not_passed_on(siege: Siege, name: str, step: bytes) -> None:
    with greeted(siege, "smtp", {step: NO_REPLY[name]}) as client:
        at = list(STEPS).index(step)
        assert walk(client) == [*TRUTHS[:at], OF_NO_REPLY[step]]
        assert siege.smtp.sessions[0].closed.wait(10)
        # Half a transaction is over with its next command; else the next one goes well, on another connection.
        if step in (b"RCPT", b"DATA"):
            assert client.ask(b"RCPT TO:<e@f.test>") == LOST
            assert client.read_all() == b""
            assert client.outcome == "upstream_lost"
        else:
            assert walk(client) == [*TRUTHS]
            assert len(siege.smtp.sessions) == 2
    assert len(siege.smtp.sessions[0].data) == (step == b".")


# Right replies in the wrong place

WRONG: Mapping[bytes, Mapping[bytes, bytes]] = {
    b"MAIL": {b"354 go on\r\n": VIOLATION, b"301 x\r\n": VIOLATION},
    b"RCPT": {b"354 go on\r\n": VIOLATION, b"399 x\r\n": VIOLATION},
    b"DATA": {b"250 ok\r\n": VIOLATION, b"200 x\r\n": VIOLATION, b"355 go on\r\n": VIOLATION},
    b".": {b"354 go on\r\n": STATUS_UNKNOWN, b"334 \r\n": STATUS_UNKNOWN},
}
CASES = [
    pytest.param(step, said, reply, id=f"{said[:3]!r}-to-{step.decode()}")
    for step, each in WRONG.items()
    for said, reply in each.items()
]


@pytest.mark.parametrize(("step", "said", "reply"), CASES)
def test_a_reply_that_belongs_elsewhere_is_not_passed_on(siege: Siege, step: bytes, said: bytes, reply: bytes) -> None:
    with greeted(siege, "smtp", {step: said}) as client:
        at = list(STEPS).index(step)
        assert walk(client) == [*TRUTHS[:at], reply]
        assert siege.smtp.sessions[0].closed.wait(10)
    assert len(siege.smtp.sessions[0].data) == (step == b".")


@pytest.mark.parametrize("step", STEPS, ids=bytes.decode)
def test_421_is_passed_on_and_ends_the_session(siege: Siege, step: bytes) -> None:
    with greeted(siege, "smtp", {step: b"421-4.3.2 down\r\n421 4.3.2 for maintenance\r\n"}) as client:
        at = list(STEPS).index(step)
        assert walk(client) == [*TRUTHS[:at], b"421-4.3.2 down\n421 4.3.2 for maintenance"]
        assert client.read_all() == b""
        assert client.outcome == "upstream_421"


@pytest.mark.parametrize("code", [530, 534, 535, 538])
@pytest.mark.parametrize("step", [b"MAIL", b"RCPT", b"DATA"], ids=bytes.decode)
def test_words_about_our_login_are_not_for_the_client(siege: Siege, step: bytes, code: int) -> None:
    with greeted(siege, "smtp", {step: b"%d 5.7.8 robot may not\r\n" % code}) as client:
        at = list(STEPS).index(step)
        assert walk(client) == [*TRUTHS[:at], OUR_LOGIN]
        assert client.ask(b"NOOP") == b"250 2.0.0 OK"


HANG_UPS = {b"MAIL": LOST_MAIL, b"RCPT": LOST, b"DATA": LOST, b".": STATUS_UNKNOWN}


def hang_up_behind(octets: bytes) -> Lie:
    def lie(visit: Visit) -> None:
        visit.send(octets)
        hang_up(visit)

    return lie


each_half = pytest.mark.parametrize("half", [b"", b"25", b"250-x\r\n"], ids=["nothing", "half a code", "half a reply"])


@pytest.mark.parametrize("step", HANG_UPS, ids=bytes.decode)
@each_half
def test_a_mail_server_that_hangs_up(siege: Siege, step: bytes, half: bytes) -> None:
    with greeted(siege, "smtp", {step: hang_up_behind(half)}) as client:
        at = list(STEPS).index(step)
        assert walk(client) == [*TRUTHS[:at], HANG_UPS[step]]
        if HANG_UPS[step] is LOST:
            assert client.read_all() == b""
            assert client.outcome == "upstream_lost"
        else:
            assert walk(client) == [*TRUTHS]


@each_half
def test_a_mail_server_that_hangs_up_inside_a_message(siege: Siege, half: bytes) -> None:
    with greeted(siege, "smtp", {b"content": hang_up_behind(half)}) as client:
        send_half_a_message(siege, client)
        client.wait_for_log("the mail server closed the connection")
        client.send(b"the rest\r\n.\r\n")
        assert client.read_reply() == LOST_MAIL
        assert walk(client) == [*TRUTHS]
    assert siege.smtp.sessions[0].data == []


# More than was asked for

STRAYS = {
    "another one": b"250 2.0.0 stray\r\n",
    "a refusal": b"550 5.0.0 stray\r\n",
    "half of one": b"250-stray\r\n",
    "the next ones": b"250 2.0.0 stray\r\n354 stray\r\n250 2.0.0 stray\r\n",
    "a farewell": b"421 4.0.0 stray\r\n",
}
EARLY = {"a refusal": b"550 5.0.0 stray", "a farewell": b"421 4.0.0 stray"}


@pytest.mark.parametrize("step", [b"MAIL", b"RCPT"], ids=bytes.decode)
@pytest.mark.parametrize("name", STRAYS)
def test_a_stray_reply_never_answers_a_command(siege: Siege, name: str, step: bytes) -> None:
    """It stands right behind another one, before the command that it might be taken to answer."""
    with greeted(siege, "smtp", {step: b"250 2.0.0 ok\r\n" + STRAYS[name]}) as client:
        at = list(STEPS).index(step) + 1
        # Half a reply is one too many only when the next command is there.
        assert walk(client) == [*TRUTHS[:at], VIOLATION if name == "half of one" else LOST]
    assert len(siege.smtp.commands) == at


@pytest.mark.parametrize("name", STRAYS)
def test_a_stray_reply_behind_354_is_no_reply_to_the_message(siege: Siege, name: str) -> None:
    with greeted(siege, "smtp", {b"DATA": b"354 go on\r\n" + STRAYS[name]}) as client:
        # What is there before the end of the message can be a refusal of it, and nothing else.
        assert walk(client) == [*TRUTHS[:3], EARLY.get(name, LOST_MAIL)]
    assert siege.smtp.sessions[0].data == []


@pytest.mark.parametrize("name", STRAYS)
def test_a_stray_reply_behind_a_message_is_no_reply_to_the_next(siege: Siege, name: str) -> None:
    with greeted(siege, "smtp", {b".": b"250 2.0.0 taken\r\n" + STRAYS[name]}) as client:
        assert walk(client) == [*TRUTHS]
        assert walk(client) == ([VIOLATION] if name == "half of one" else [*TRUTHS])
        assert walk(client) == [*TRUTHS]


@pytest.mark.parametrize("name", STRAYS)
def test_a_stray_reply_before_the_first_command_answers_none(siege: Siege, name: str) -> None:
    greeted_by_all = threading.Event()

    def speak_when_all_is_quiet(visit: Visit) -> None:
        assert greeted_by_all.wait(10)
        visit.send(STRAYS[name])

    with greeted(siege, "smtp", {b"login": speak_when_all_is_quiet}) as client:
        assert client.ask(b"EHLO client.test").startswith(b"250-")
        greeted_by_all.set()
        until(lambda: siege.smtp.sessions, "the login at the mail server")
        if name == "half of one":
            # Nobody sees it before there is a command; by then it has come.
            assert siege.smtp.sessions[0].begun.wait(10)
            siege.wait_until_read("smtp")
            assert walk(client) == [VIOLATION]
        else:
            assert siege.smtp.sessions[0].closed.wait(10)
        assert walk(client) == [*TRUTHS]


@pytest.mark.parametrize(
    "reply", [b"250 2.0.0 early\r\n", b"354 early\r\n", b"530 5.7.0 early\r\n"], ids=lambda reply: reply[:3].decode()
)
def test_a_message_is_not_taken_before_its_end(siege: Siege, reply: bytes) -> None:
    with greeted(siege, "smtp", {b"content": reply}) as client:
        send_half_a_message(siege, client)
        client.send(b"the rest\r\n.\r\n")
        assert client.read_reply() == LOST_MAIL
        assert walk(client) == [*TRUTHS]
    assert siege.smtp.sessions[0].data == []


@pytest.mark.parametrize(
    ("reply", "ends"), [(b"554 5.6.0 spam", False), (b"452 4.2.2 full", False), (b"421 4.3.2 bye", True)]
)
def test_a_message_can_be_refused_before_its_end(siege: Siege, reply: bytes, *, ends: bool) -> None:
    with greeted(siege, "smtp", {b"content": reply + b"\r\n"}) as client:
        send_half_a_message(siege, client)
        client.send(b"the rest\r\n.\r\n")
        assert client.read_reply() == reply
        if ends:
            assert client.read_all() == b""
        else:
            assert client.ask(b"NOOP") == b"250 2.0.0 OK"
    assert siege.smtp.sessions[0].data == []


# What replies may hold

WORDS = {
    "escapes": (b"550 5.1.1 \x1b[2J\x1b]0;x\x07no", b"550 5.1.1 ?[2J?]0;x?no"),
    "carriage return": (b"550 5.1.1 a\rb", b"550 5.1.1 ab"),
    "NUL": (b"550 5.1.1 a\0b", b"550 5.1.1 ab"),
    "8-bit": (b"550 5.1.1 \xc3\xa4", b"550 5.1.1 ??"),
    "delete": (b"550 5.1.1 \x7f\x80\x9b", b"550 5.1.1 ???"),
    "tab": (b"550 5.1.1 a\tb", b"550 5.1.1 a\tb"),
    "our password": (b"550 5.1.1 not sentinel-password please", b"550 5.1.1 not <secret> please"),
    "as long as may be": (b"550 " + b"x" * 4090, b"550 " + b"x" * 4090),
    "forged record": (b"550 x\r\n550 2026-01-01T00:00:00+0000 [mailproxy#info] ended: quit", b""),
}


@pytest.mark.parametrize("step", STEPS, ids=bytes.decode)
@pytest.mark.parametrize("name", WORDS)
def test_a_reply_passes_without_what_could_do_harm(siege: Siege, name: str, step: bytes) -> None:
    said, wanted = WORDS[name]
    with greeted(siege, "smtp", {step: said + b"\r\n"}) as client:
        *_, reply = walk(client)
        if wanted:
            assert reply == wanted
        else:
            assert reply.startswith(b"550 x") or step != b"MAIL"
            client.send(b"QUIT\r\n")
            assert b"2026-01-01" not in client.read_all()


# POP3


@frozen
class Case:
    """A lie of a POP3 server to a command, what the client gets from there on, and how its session ends."""

    command: bytes
    lie: Lie
    wanted: bytes
    outcome: str


CONFUSED = b"-ERR [SYS/TEMP] mail server protocol error\r\n"
GONE = b"-ERR [SYS/TEMP] connection to mail server lost\r\n"
BODY = b"+OK\r\nSubject: x\r\n\r\nhalf"
POP3_CASES = {
    "garbage": Case(b"STAT", b"what?\r\n", CONFUSED, "upstream_protocol_error"),
    "SMTP": Case(b"STAT", b"250 ok\r\n", CONFUSED, "upstream_protocol_error"),
    "OKAY": Case(b"STAT", b"+OKAY 1 2\r\n", CONFUSED, "upstream_protocol_error"),
    "lower case": Case(b"STAT", b"+ok 1 2\r\n", CONFUSED, "upstream_protocol_error"),
    "challenge": Case(b"STAT", b"+ \r\n", CONFUSED, "upstream_protocol_error"),
    "LF alone": Case(b"STAT", b"+OK 1 2\n", CONFUSED, "upstream_protocol_error"),
    "NUL": Case(b"STAT", b"+OK \0\r\n", CONFUSED, "upstream_protocol_error"),
    "bare CR": Case(b"STAT", b"+OK a\rb\r\n", CONFUSED, "upstream_protocol_error"),
    "long line": Case(b"STAT", b"+OK " + b"x" * 4091 + b"\r\n", CONFUSED, "upstream_protocol_error"),
    "endless line": Case(b"STAT", endless(b"+OK xxxx"), CONFUSED, "upstream_protocol_error"),
    "more lines than one": Case(b"STAT", b"+OK 1 2\r\n+OK 3 4\r\n", b"+OK 1 2\r\n", "upstream_desync"),
    "lines of a list": Case(b"LIST 1", b"+OK\r\n1 9\r\n.\r\n", b"+OK\r\n", "upstream_desync"),
    "refusal with a body": Case(b"RETR 1", b"-ERR no\r\nbody\r\n.\r\n", b"-ERR no\r\n", "upstream_desync"),
    "more than a body": Case(b"RETR 1", BODY + b"\r\n.\r\n+OK\r\n", BODY + b"\r\n.\r\n", "upstream_desync"),
    "hang-up": Case(b"STAT", hang_up, GONE, "upstream_lost"),
    "farewell": Case(b"QUIT", b"what?\r\n", b"", "upstream_protocol_error"),
}


@pytest.mark.parametrize("name", POP3_CASES)
def test_a_lie_of_a_pop3_server_ends_the_session(siege: Siege, name: str) -> None:
    case = POP3_CASES[name]
    with greeted(siege, "pop3", {case.command.split(b" ")[0]: case.lie}) as client:
        client.send(case.command + b"\r\nNOOP\r\nDELE 1\r\nQUIT\r\n")
        answer = client.read_all()
        # What was not answered before the lie came, never is.
        assert answer.startswith(case.wanted)
        assert re.fullmatch(rb"(?:\+OK\r\n){0,1}|-ERR \[SYS/TEMP\][ -~]+\r\n", answer[len(case.wanted) :])
        assert client.outcome == case.outcome
    assert siege.pop3.sessions[0].closed.wait(10)
    if case.command != b"QUIT":
        assert b"QUIT" not in siege.pop3.commands


def test_half_a_mail_never_looks_like_a_whole_one(siege: Siege) -> None:
    with greeted(siege, "pop3", {b"RETR": hang_up_behind(BODY)}) as client:
        client.send(b"RETR 1\r\n")
        answer = client.read_all()
        assert BODY.startswith(answer)
        assert b"\r\n.\r\n" not in answer
        assert client.outcome == "upstream_lost"


@pytest.mark.parametrize("name", ["escapes", "8-bit", "tab", "delete"])
def test_a_status_line_of_pop3_passes_without_control_octets(siege: Siege, name: str) -> None:
    words = WORDS[name][0][4:]
    with greeted(siege, "pop3", {b"STAT": b"-ERR " + words + b"\r\n"}) as client:
        client.send(b"STAT\r\n")
        assert client.read_line() == b"-ERR " + re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"?", words)


def test_octets_that_come_while_nobody_waits_are_never_seen(siege: Siege) -> None:
    with greeted(siege, "pop3", {b"STAT": b"+OK 1 2\r\n+OK 99 forged\r\n"}) as client:
        client.send(b"STAT\r\nLIST\r\n")
        assert client.read_all() == b"+OK 1 2\r\n"
        assert client.outcome == "upstream_desync"
    assert siege.pop3.commands == [b"STAT"]
