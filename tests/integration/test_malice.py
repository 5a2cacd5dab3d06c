"""
Clients that mean harm, or do not know better, at the real proxy: each gets its exact answer, and the log stays whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.besieged import NO_POOL, Siege, besieged, greeted
from tests.support.scripted import Visit
from tests.wire.smuggling import END

pytestmark = pytest.mark.integration

OK = b"250 2.0.0 OK"
SYNC = b"554 5.5.0 Error: SMTP protocol synchronization"
TOO_MANY = b"421 4.7.0 Too many errors"
UNKNOWN = b"500 5.5.1 Command not recognized"
NOT_IMPLEMENTED = b"502 5.5.1 Command not implemented"
CONTROL = b"501 5.5.2 Control characters are not allowed"
NO_CHUNKS = b"503 5.5.1 CHUNKING not advertised"
MAIL = b"MAIL FROM:<a@b.test>\r\n"
RCPT = b"RCPT TO:<c@d.test>\r\n"
SMUGGLED = b"MAIL FROM:<evil@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nFrom: boss@y\r\n\r\npay"


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """A proxy as it is by default, but that each session has a mail server's connection of its own."""
    with besieged(tmp_path_factory.mktemp("malice"), tables=NO_POOL) as all_of_it:
        yield all_of_it


def lines(*replies: bytes) -> bytes:
    return b"".join(reply + b"\r\n" for reply in replies)


# What comes first

ELSEWHERE = {
    "GET": (b"GET / HTTP/1.1\r\nHost: mail.test\r\n\r\n", True),
    "POST with commands": (
        b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\nHELO x\r\n" + MAIL + RCPT + b"DATA\r\n",
        True,
    ),
    "CONNECT": (b"CONNECT mail.test:25 HTTP/1.1\r\n\r\n", True),
    "OPTIONS": (b"OPTIONS * HTTP/1.0\r\n\r\n", True),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", True),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n", True),
    "hello of TLS": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\r\nQUIT\r\n" * 9, False),
    "hello of SSLv2": (b"\x80\x2e\x01\x00\x02\r\n", False),
    "SOCKS4": (b"\x04\x01\x00\x19\x7f\x00\x00\x01\x00", False),
    "SOCKS5": (b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x19", False),
    "SMB": (b"\x00\x00\x00\x45\xffSMB", False),
    "RDP": (b"\x03\x00\x00\x13\x0e\xe0", False),
    "escape": (b"\x1b[2J\r\n", False),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_who_wants_another_server_is_sent_away_from_smtp(siege: Siege, name: str) -> None:
    octets, answered = ELSEWHERE[name]
    with greeted(siege) as client:
        client.send(octets)
        assert client.read_all() == lines(b"421 4.7.0 This is a mail server") * answered
        assert client.outcome == "not_smtp"
    assert siege.smtp.sessions == []


def test_a_proxy_header_is_no_command(siege: Siege) -> None:
    with greeted(siege) as client:
        client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n")
        assert client.read_reply() == UNKNOWN
        client.send(b"\r\n\r\n\x00\r\nQUIT\n")
        assert client.read_all() == lines(*[b"500 5.5.2 Empty command line"] * 2, b"501 5.5.2 NUL is not allowed")
        assert client.outcome == "bad_line"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_who_wants_another_server_is_sent_away_from_pop3(siege: Siege, name: str) -> None:
    """A web page that makes a browser send commands behind a header deletes nothing."""
    octets, answered = ELSEWHERE[name]
    with greeted(siege, "pop3") as client:
        client.send(octets + b"\r\nDELE 1\r\nQUIT\r\n")
        assert client.read_all() == lines(b"-ERR this is a mail server") * answered
        assert client.outcome == "not_pop3"
    assert siege.pop3.commands == []


# Lines

LINES = {
    "as long as may be": (b"NOOP " + b"x" * 4089, OK),
    "an octet longer": (b"NOOP " + b"x" * 4090, b"500 5.5.2 Line too long"),
    "much longer": (b"NOOP " + b"x" * 20000, b"500 5.5.2 Line too long"),
    "address with control": (b"MAIL FROM:<a\x01b@c>", CONTROL),
    "escape in a verb": (b"NO\x1b[2JOP", CONTROL),
    "delete": (b"NOOP \x7f", CONTROL),
    "bell": (b"VRFY \x07", CONTROL),
    "tab": (b"NOOP\tx", OK),
    "bare CR": (b"NOOP\rRSET", b"500 5.5.2 Bare <CR> received"),
    "two CR": (b"NOOP\r", b"500 5.5.2 Bare <CR> received"),
    "8-bit verb": (b"N\xffOP", UNKNOWN),
    "8-bit text": ("NOÖP".encode(), UNKNOWN),
    "blanks": (b"   ", b"500 5.5.2 Empty command line"),
    "8-bit without address": (b"MAIL FROM:\xe4 b", b"555 5.5.4 Unsupported parameter"),
    "two addresses": (b"MAIL FROM:<a@b><c@d>", b"501 5.5.4 Syntax: MAIL FROM:<address>"),
    "newline in brackets": (b"MAIL FROM:<a\x0b@b>", CONTROL),
    "open bracket": (b"MAIL FROM:<a@b", b"501 5.5.4 Syntax: MAIL FROM:<address>"),
    "log forgery": (b"EXPN x\x1b]0;root\x07 ended: quit", CONTROL),
    "XCLIENT": (b"XCLIENT ADDR=192.0.2.1 LOGIN=root", NOT_IMPLEMENTED),
    "XFORWARD": (b"XFORWARD NAME=x", NOT_IMPLEMENTED),
    "ETRN": (b"ETRN d.test", NOT_IMPLEMENTED),
    "BURL": (b"BURL imap://x LAST", NOT_IMPLEMENTED),
    "TURN": (b"TURN", NOT_IMPLEMENTED),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_gets_its_answer_and_the_session_goes_on(siege: Siege, name: str) -> None:
    line, reply = LINES[name]
    with greeted(siege) as client:
        assert client.ask(line) == reply
        assert client.ask(b"VRFY x").startswith(b"252 ")
        client.send(b"QUIT\r\nRCPT TO:<late>\r\n")
        client.read_all()
        assert client.outcome == "quit"
    assert siege.smtp.sessions == []


LAST_LINES = {
    "bare LF": (b"NOOP\nRSET\r\n", b"500 5.5.2 Bare <LF> received"),
    "LF alone": (b"\n", b"500 5.5.2 Bare <LF> received"),
    "NUL": (b"NO\0OP\r\nNOOP\r\n", b"501 5.5.2 NUL is not allowed"),
    "BDAT without size": (b"BDAT\r\n" + MAIL, b"501 5.5.4 Bad BDAT"),
    "BDAT of words": (b"BDAT many\r\n" + MAIL, b"501 5.5.4 Bad BDAT"),
    "BDAT of less than nothing": (b"BDAT -1\r\n" + MAIL, b"501 5.5.4 Bad BDAT"),
    "BDAT in hexadecimal": (b"BDAT 0x10 LAST\r\n" + MAIL, b"501 5.5.4 Bad BDAT"),
    "BDAT of 19 digits": (b"BDAT 9999999999999999999\r\n" + MAIL, b"501 5.5.4 Bad BDAT"),
    "BDAT of 18 digits": (b"BDAT 999999999999999999\r\n" + MAIL, b"501 5.5.4 Bad BDAT"),
    "BDAT with more words": (b"BDAT 3 FIRST\r\n" + MAIL, b"501 5.5.4 Bad BDAT"),
}


@pytest.mark.parametrize("name", LAST_LINES)
def test_a_line_behind_which_nothing_can_be_believed_is_the_last(siege: Siege, name: str) -> None:
    octets, reply = LAST_LINES[name]
    with greeted(siege) as client:
        client.send(octets)
        assert client.read_all() == lines(reply)
        assert client.outcome == "bad_line"
    assert siege.smtp.sessions == []


def test_a_line_without_end_is_read_for_a_while_and_no_longer(siege: Siege) -> None:
    with greeted(siege) as client:
        client.send(b"x" * 200_000)
        assert client.read_all() == lines(b"500 5.5.2 Line too long")
        assert client.outcome == "bad_line"
    with greeted(siege, "pop3") as client:
        client.send(b"x" * 200_000)
        assert client.read_all() == lines(b"-ERR line too long")
        assert client.outcome == "bad_line"


@pytest.mark.parametrize(("octets", "reply"), [(512, b"+OK"), (513, b"-ERR line too long")])
def test_a_line_of_pop3_may_be_so_long(siege: Siege, octets: int, reply: bytes) -> None:
    with greeted(siege, "pop3") as client:
        client.send(b"NOOP".ljust(octets - 2) + b"\r\n")
        assert client.read_line() == reply
    assert siege.pop3.commands in ([b"NOOP"], [])


# Chunks

CHUNKS = {
    "commands": b"QUIT\r\nRSET\r\n" + MAIL,
    "an end of data": b".\r\n\r\n.\r\nDATA\r\n",
    "binary": bytes(range(256)) * 40,
    "nothing": b"",
}


@pytest.mark.parametrize("last", [b"", b" LAST"])
@pytest.mark.parametrize("name", CHUNKS)
def test_what_is_in_a_chunk_is_no_command(siege: Siege, name: str, last: bytes) -> None:
    chunk = CHUNKS[name]
    with greeted(siege) as client:
        client.send(MAIL + RCPT)
        assert [client.read_reply() for _ in range(2)] == [b"250 2.0.0 ok"] * 2
        client.send(b"BDAT %d%b\r\n" % (len(chunk), last) + chunk + b"VRFY x\r\n")
        assert client.read_reply() == NO_CHUNKS
        assert client.read_reply().startswith(b"252 ")
        client.send(b"BDAT 4\r\n")
        client.trickle(b"QUIT")
        assert client.read_reply() == NO_CHUNKS
    assert siege.smtp.commands == [b"MAIL FROM:<a@b.test>", b"RCPT TO:<c@d.test>"]


# Logins

AUTHS = (b"AUTH", b"AUTH PLAIN", b"AUTH PLAIN =", b"AUTH LOGIN dXNlcg==", b"AUTH XOAUTH2 " + b"A" * 4000, b"AUTH \xff")


@pytest.mark.parametrize("line", AUTHS, ids=lambda line: line[:20].decode("latin-1"))
def test_no_login_is_taken_from_a_client_of_smtp(siege: Siege, line: bytes) -> None:
    with greeted(siege) as client:
        assert client.ask(line) == NOT_IMPLEMENTED
        client.send(line + b"\r\nAHVzZXIAcGFzcw==\r\n")
        assert client.read_all() == lines(SYNC)
        assert client.outcome == "bad_pipeline"


def test_logins_of_a_client_of_pop3_mean_nothing_whatever_is_in_them(siege: Siege) -> None:
    with greeted(siege, "pop3") as client:
        for line, reply in {
            b"AUTH": b"-ERR no mechanism is offered",
            b"AUTH PLAIN": b"+ ",
            b"\xff\x1b not base64": b"+OK logged in",
            b"AUTH LOGIN": b"+ VXNlcm5hbWU6",
            b"*": b"-ERR AUTH cancelled",
            b"AUTH GSSAPI " + b"A" * 400: b"-ERR unknown mechanism",
            b"APOP u 0123": b"-ERR APOP not supported",
            b"PASS " + b"\xfe" * 400: b"+OK logged in",
            b"USER \x00": b"-ERR invalid command",
            b"STAT": b"+OK",
            b"PASS x": b"-ERR already authenticated",
        }.items():
            client.send(line + b"\r\n")
            assert client.read_line() == reply, line
    assert siege.pop3.commands == [b"STAT"]


# Turns

AHEAD = {
    "EHLO": (b"EHLO x\r\nNOOP\r\n", b"", "bad_pipeline"),
    "HELO": (b"HELO x\r\n" + MAIL, b"", "bad_pipeline"),
    "EHLO and half a line": (b"EHLO x\r\nM", b"", "bad_pipeline"),
    "STARTTLS": (b"STARTTLS\r\nEHLO x\r\n", b"", "bad_pipeline"),
    "AUTH": (b"AUTH PLAIN\r\nAAAA\r\n", b"", "bad_pipeline"),
    "DATA": (MAIL + RCPT + b"DATA\r\n" + SMUGGLED + END, lines(*[b"250 2.0.0 ok"] * 2), "bad_pipeline"),
    "DATA without recipients": (MAIL + b"DATA\r\n.\r\n", lines(b"250 2.0.0 ok"), "bad_pipeline"),
    "DATA without anything": (b"DATA\r\n" + SMUGGLED + END, b"", "bad_pipeline"),
    "DATA with an argument": (b"DATA now\r\n" + SMUGGLED + END, b"", "bad_pipeline"),
}


@pytest.mark.parametrize("name", AHEAD)
def test_who_does_not_wait_for_the_reply_is_cut_off(siege: Siege, name: str) -> None:
    octets, before, outcome = AHEAD[name]
    with greeted(siege) as client:
        client.send(octets)
        assert client.read_all() == before + lines(SYNC)
        assert client.outcome == outcome
    assert b"DATA" not in siege.smtp.commands
    assert not any(b"evil" in command for command in siege.smtp.commands)


def test_who_speaks_while_the_mail_server_thinks_about_data_is_cut_off(siege: Siege) -> None:
    with greeted(siege) as client:

        def slowly(visit: Visit) -> None:
            client.trickle(SMUGGLED[:3])
            visit.send(b"354 go on\r\n")

        siege.smtp.tell({b"DATA": slowly})
        client.send(MAIL + RCPT + b"DATA\r\n")
        assert client.read_all() == lines(b"250 2.0.0 ok", b"250 2.0.0 ok", SYNC)
        assert client.outcome == "downstream_desync"
    (session,) = siege.smtp.sessions
    assert session.closed.wait(10)
    assert bytes(session.octets) == MAIL + RCPT + b"DATA\r\n"


def test_what_comes_behind_quit_does_nothing(siege: Siege) -> None:
    with greeted(siege) as client:
        client.send(MAIL + RCPT + b"QUIT\r\nDATA\r\n" + SMUGGLED + END)
        assert client.read_all().startswith(lines(b"250 2.0.0 ok", b"250 2.0.0 ok") + b"221 2.0.0 ")
        assert client.outcome == "quit"
    assert siege.smtp.commands == [b"MAIL FROM:<a@b.test>", b"RCPT TO:<c@d.test>"]
    with greeted(siege, "pop3") as client:
        client.send(b"DELE 1\r\nQUIT\r\nDELE 2\r\nRSET\r\n")
        assert client.read_all() == lines(b"+OK", b"+OK")
        assert client.outcome == "quit"
    assert siege.pop3.commands == [b"DELE 1", b"QUIT"]


# Thousands

FLOODS = {
    "NOOP": (b"NOOP\r\n", 101, OK),
    "RSET": (b"RSET\r\n", 101, OK),
    "VRFY": (b"VRFY x\r\n", 101, b"252 2.0.0 Cannot VRFY user, send a message and see"),
    "nothing": (b"\r\n", 101, b"500 5.5.2 Empty command line"),
    "nonsense": (b"FROB\r\n", 20, UNKNOWN),
    "AUTH": (b"EXPN x\r\n", 20, NOT_IMPLEMENTED),
    "RCPT": (RCPT, 20, b"503 5.5.1 Need MAIL before RCPT"),
    "chunks": (b"BDAT 3\r\nabc", 20, NO_CHUNKS),
}


@pytest.mark.parametrize("name", FLOODS)
def test_thousands_of_idle_words_end_the_session(siege: Siege, name: str) -> None:
    octets, times, reply = FLOODS[name]
    with greeted(siege) as client:
        client.send(octets * 3000)
        replies = client.read_all().split(b"\r\n")[:-1]
        assert replies[:times] == [reply] * times
        assert replies[times:] == [TOO_MANY]
        assert client.outcome == "too_many_errors"
    assert siege.smtp.sessions == []


def test_thousands_of_lines_that_are_too_long_end_the_session(siege: Siege) -> None:
    with greeted(siege) as client:
        client.send((b"y" * 5000 + b"\r\n") * 3000)
        replies = client.read_all().split(b"\r\n")[:-1]
        # 64 KiB of them are thrown away, and what came with the last octets of that.
        assert set(replies) == {b"500 5.5.2 Line too long"}
        assert 13 <= len(replies) < 20
        assert client.outcome == "bad_line"


def test_thousands_of_commands_of_pop3_are_answered_one_by_one(siege: Siege) -> None:
    with greeted(siege, "pop3") as client:
        client.send(b"NOOP\r\n" * 3000 + b"XYZ\r\n" * 3000 + b"QUIT\r\n")
        assert client.read_all() == lines(*[b"+OK"] * 3000, *[b"-ERR unknown command"] * 3000, b"+OK")
    assert siege.pop3.commands == [b"NOOP"] * 3000 + [b"QUIT"]


def test_thousands_of_recipients_in_one_go_are_answered_one_by_one(siege: Siege) -> None:
    with greeted(siege) as client:
        client.send(MAIL + b"".join(b"RCPT TO:<%d@d.test>\r\n" % number for number in range(3000)))
        assert [client.read_reply() for _ in range(3001)] == [b"250 2.0.0 ok"] * 3001
    assert siege.smtp.commands[1:] == [b"RCPT TO:<%d@d.test>" % number for number in range(3000)]
