"""POP3 lines and responses: tables, and every way of cutting the octets."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.errors import MalformedReply
from mailproxy.wire.pop3 import (
    MAX_CAPABILITIES,
    RELAYED,
    Command,
    MultilineScanner,
    POP3Capabilities,
    format_capabilities,
    parse_capabilities,
    parse_command,
    parse_status,
    relayed,
)

COMMANDS = [
    (b"list", "LIST", (), b"LIST\r\n"),
    (b"LIST 3", "LIST", (b"3",), b"LIST 3\r\n"),
    (b"  ReTr \t 1  ", "RETR", (b"1",), b"RETR 1\r\n"),
    (b"TOP   1    0", "TOP", (b"1", b"0"), b"TOP 1 0\r\n"),
    (b"dele 0000000001", "DELE", (b"0000000001",), b"DELE 0000000001\r\n"),
    (b"lang *", "LANG", (b"*",), b"LANG *\r\n"),
    (b"LANG de-DE", "LANG", (b"de-DE",), b"LANG de-DE\r\n"),
    (b"quit ", "QUIT", (), b"QUIT\r\n"),
]


@pytest.mark.parametrize(("line", "keyword", "arguments", "raw"), COMMANDS)
def test_keywords_have_no_case_and_blanks_collapse(line, keyword, arguments, raw):
    command = parse_command(line)
    assert (command.keyword, command.arguments, command.raw) == (keyword, arguments, raw)
    assert command.fits


@pytest.mark.parametrize(
    "line",
    [
        b"RETR",
        b"RETR 1 2",
        b"RETR -1",
        b"RETR +1",
        b"RETR 1_0",
        b"RETR 0x1",
        b"RETR \xd9\xa1",
        b"RETR 12345678901",
        b"TOP 1",
        b"TOP 1 2 3",
        b"TOP 1 a",
        b"STAT 1",
        b"NOOP x",
        b"QUIT now",
        b"RSET 1",
        b"DELE",
        b"LIST 1 2",
        b"UIDL 1-3",
        b"LANG de_DE",
        b"LANG " + b"a" * 65,
    ],
)
def test_arguments_that_are_not_as_they_have_to_be_do_not_fit(line):
    assert not parse_command(line).fits


@pytest.mark.parametrize(
    "line", [b"USER x", b"PASS x", b"APOP x y", b"AUTH", b"STLS", b"CAPA", b"UTF8", b"XTND", b"GET"]
)
def test_commands_whose_responses_nobody_can_follow_do_not_fit(line):
    assert not parse_command(line).fits


@pytest.mark.parametrize(
    "line",
    [b"", b"   ", b"1", b"RETR\x001", b"RETR 1\r", b"LIST\rDELE 1", b"LI\x1bST", b"RETR 1\x7f", b"\xffLIST", b"LIST;"],
)
def test_octets_without_a_keyword_or_with_controls_are_no_command(line):
    assert parse_command(line) is None


SHAPES = {
    "STAT": [],
    "LIST": [0],
    "RETR": [1],
    "DELE": [],
    "NOOP": [],
    "RSET": [],
    "TOP": [2],
    "UIDL": [0],
    "QUIT": [],
    "LANG": [0],
}


def test_the_shape_of_every_relayed_response_is_known():
    assert {keyword: sorted(form.multiline) for keyword, form in RELAYED.items()} == SHAPES


@pytest.mark.parametrize(
    ("line", "multiline"),
    [(b"LIST", True), (b"LIST 1", False), (b"UIDL 1", False), (b"RETR 1", True), (b"TOP 1 1", True), (b"STAT", False)],
)
def test_a_command_knows_whether_more_lines_follow_its_ok(line, multiline):
    assert parse_command(line).multiline is multiline


def test_a_password_keeps_its_blanks_and_stays_out_of_repr():
    command = parse_command(b"pass  two  blanks \xe4")
    assert command.argument == b" two  blanks \xe4"
    assert command.raw_verbatim == b"PASS  two  blanks \xe4\r\n"
    assert "blanks" not in repr(command)


@given(st.binary(max_size=40))
def test_what_is_relayed_is_one_clean_line(line):
    command = parse_command(line)
    if command is not None and command.fits:
        assert re.fullmatch(rb"[A-Z]{3,4}( [A-Za-z0-9*-]+){0,2}\r\n", command.raw)
        assert parse_command(command.raw[:-2]) == Command(command.keyword, b" ".join(command.arguments))


@pytest.mark.parametrize(
    ("line", "positive", "code", "text"),
    [
        (b"+OK", True, None, b""),
        (b"+OK ", True, None, b""),
        (b"+OK 2 320", True, None, b"2 320"),
        (b"-ERR", False, None, b""),
        (b"-ERR [IN-USE] locked", False, "IN-USE", b"[IN-USE] locked"),
        (b"-ERR [sys/temp] later", False, "SYS/TEMP", b"[sys/temp] later"),
        (b"-ERR no [AUTH] here", False, None, b"no [AUTH] here"),
        (b"+OK \xff\x1b", True, None, b"\xff\x1b"),
    ],
)
def test_a_status_line_is_ok_or_err(line, positive, code, text):
    status = parse_status(line)
    assert (status.positive, status.response_code, status.text) == (positive, code, text)


def test_a_status_line_is_relayed_octet_for_octet_but_for_what_could_harm():
    assert relayed(b"-ERR [SYS/TEMP] sp\xc3\xa4ter\t!") == b"-ERR [SYS/TEMP] sp\xc3\xa4ter\t!"
    assert relayed(b"+OK \x1b[2J\x08\x7f\x0c\x01 \xff") == b"+OK ?[2J???? \xff"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"+ok",
        b"+OKAY",
        b"+OK\t1",
        b" +OK",
        b"-err x",
        b"-ERROR",
        b"* OK",
        b"+ ",
        b"220 hi",
        b"+OK a\rb",
        b"+OK a\0b",
        b".",
    ],
)
def test_anything_else_is_no_status_line(line):
    with pytest.raises(MalformedReply):
        parse_status(line)


def test_capabilities_have_no_case_and_lines_that_are_none_are_passed_over():
    lines = [
        b"top",
        b"SASL PLAIN LOGIN",
        b"Expire 60 user ",
        b"sasl XOAUTH2",
        b"",
        b"bad\tline",
        b"IMPLEMENTATION \xff",
        b".x",
    ]
    assert parse_capabilities(lines) == {
        "TOP": (),
        "SASL": ("PLAIN", "LOGIN", "XOAUTH2"),
        "EXPIRE": ("60", "user"),
        ".X": (),
    }


def test_a_capability_list_has_a_bound():
    assert len(parse_capabilities(b"X%d" % number for number in range(MAX_CAPABILITIES))) == MAX_CAPABILITIES
    with pytest.raises(MalformedReply):
        parse_capabilities(b"X" for _ in range(MAX_CAPABILITIES + 1))


def test_capabilities_are_written_as_they_are_read():
    listed = {"TOP": (), "EXPIRE": ("60", "USER")}
    raw = format_capabilities(listed)
    assert raw == b"+OK capability list follows\r\nTOP\r\nEXPIRE 60 USER\r\n.\r\n"
    assert parse_capabilities(raw.split(b"\r\n")[1:-2]) == listed


def test_a_refused_list_contains_nothing():
    assert "TOP" not in POP3Capabilities(None)
    assert "TOP" in POP3Capabilities({"TOP": ()})


TOKENS = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\0", b"\1", b"\2\3", b"b.", b".\r\0", b"\r\n.\r\n"]),
    max_size=24,
).map(b"".join)
PLACES = st.lists(st.integers(0, 80), max_size=8)


def cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def octets(data):
    return [data[i : i + 1] for i in range(len(data))]


def scan(chunks, **options):
    scanner = MultilineScanner(**options)
    return b"".join([scanner.feed(chunk) for chunk in chunks]), scanner.ended, scanner.rest


@pytest.mark.parametrize("cutter", [lambda data: [data], octets])
@pytest.mark.parametrize(
    ("data", "rest"),
    [
        (b".\r\n", b""),
        (b"1 120\r\n2 200\r\n.\r\n", b""),
        (b"..\r\n...\r\n.x\r\n.\r\n", b"+OK next\r\n"),
        (b"a\n.\nb\n.\r\nc\r\n.\r\n", b"x"),
        (b"no newline for long " * 50 + b"\r\n.\r\n", b""),
    ],
)
def test_a_response_passes_octet_for_octet_up_to_its_final_dot(data, rest, cutter):
    assert scan(cutter(data + rest)) == (data, True, rest)


@pytest.mark.parametrize(
    "data", [b"a\n.\n", b"a\n.\r\n", b"a\r\n.\n", b"a\r.\r", b"a\r\n.\rx", b"a\r\n.\x00\r\n", b"a\r\n. \r\n"]
)
def test_nothing_else_ends_a_response(data):
    assert not scan([data])[1]
    assert not scan(octets(data))[1]


@given(TOKENS, PLACES)
def test_the_end_is_where_the_definition_says_for_any_cut(data, places):
    found = (b"\r\n" + data).find(b"\r\n.\r\n")
    raw, ended, rest = scan(cut(data, places))
    if found < 0:
        assert not ended
        assert data.startswith(raw)
        assert len(data) - len(raw) <= 2
    else:
        assert (raw, ended, rest) == (data[: found + 3], True, data[found + 3 :])


@pytest.mark.parametrize("cutter", [lambda data: [data], octets])
@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (b"a\nb\rc\r\n.\r\n", b"a\r\nb\r\nc\r\n.\r\n"),
        (b"a\n.\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\n.\r\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b".\nb\r\n.\r\n", b"..\r\nb\r\n.\r\n"),
        (b"a\r\0\nb\0\0\r\n.\r\n", b"a\r\n\0\r\nb\0\0\r\n.\r\n"),
        (b"a\0\r\n\0.\r\n.\r\n", b"a\0\r\n\0.\r\n.\r\n"),
        (b"..clean\r\n.\r\n", b"..clean\r\n.\r\n"),
        (b".\r\0b\r\n.\r\n", b"..\r\n\0b\r\n.\r\n"),
        (b"\1\3\0\1\2\n\0.\n.\0\r\n.\r\n", b"\1\3\0\1\2\r\n\0.\r\n..\0\r\n.\r\n"),
    ],
)
def test_bare_newlines_are_mended_where_that_is_asked_for(data, sent, cutter):
    assert scan(cutter(data), fix_newlines=True) == (sent, True, b"")


@given(TOKENS, PLACES)
def test_mended_responses_are_the_same_for_any_cut_and_end_once_for_every_reader(data, places):
    stream = data + b"\r\n.\r\n"
    whole = scan([stream], fix_newlines=True)
    assert whole == scan(cut(stream, places), fix_newlines=True)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", whole[0])
    assert (b"\r\n" + whole[0]).find(b"\r\n.\r\n") == len(whole[0]) - 3
    assert whole[0].count(b"\0") == stream[: len(stream) - len(whole[2])].count(b"\0")


def test_a_clean_chunk_passes_without_a_copy():
    chunk = b"a line\r\n" * 8000
    assert MultilineScanner().feed(chunk) is chunk
    assert MultilineScanner(fix_newlines=True).feed(chunk) is chunk


@settings(max_examples=50)
@given(st.binary(max_size=20))
def test_behind_the_end_nothing_more_is_handed_out(tail):
    scanner = MultilineScanner()
    scanner.feed(b".\r\n")
    assert scanner.feed(tail) == b""
    assert scanner.rest == tail
