"""SMTP on the wire: commands, paths, parameters, replies and EHLO keywords, for every way of cutting the octets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.errors import BadCommand, MalformedReply
from mailproxy.wire.smtp import (
    MAX_EHLO_KEYWORDS,
    MAX_REPLY_LINE_OCTETS,
    MAX_REPLY_LINES,
    MAX_REPLY_OCTETS,
    Command,
    Extensions,
    Parameter,
    PathCommand,
    Reply,
    ReplyParser,
    format_reply,
    parse_command,
    parse_ehlo,
    parse_path_command,
)


def cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def octets(data):
    return [data[i : i + 1] for i in range(len(data))]


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


# Commands


@pytest.mark.parametrize(
    ("line", "verb", "argument"),
    [
        (b"NOOP", b"NOOP", b""),
        (b"noop", b"NOOP", b""),
        (b"  NoOp  ", b"NOOP", b""),
        (b"EHLO client.example", b"EHLO", b"client.example"),
        (b"EHLO   two  words ", b"EHLO", b"two  words"),
        (b"mail FROM:<A@b>", b"MAIL", b"FROM:<A@b>"),
        (b"MAIL\tFROM:<a@b>\t", b"MAIL", b"FROM:<a@b>"),
        (b"MAIL FROM:<\xc3\xa4@b>", b"MAIL", b"FROM:<\xc3\xa4@b>"),
        (b"\xff\xfe x", b"\xff\xfe", b"x"),
        (b"GET / HTTP/1.1", b"GET", b"/ HTTP/1.1"),
    ],
)
def test_commands(line, verb, argument):
    assert parse_command(line) == Command(verb, argument)


@pytest.mark.parametrize(
    ("line", "code", "status"),
    [
        (b"", 500, "5.5.2"),
        (b"   ", 500, "5.5.2"),
        (b"\t", 500, "5.5.2"),
        (b"NO\rOP", 500, "5.5.2"),
        (b"NOOP\r", 500, "5.5.2"),
        (b"NO\x00OP", 501, "5.5.2"),
        (b"NO\x1bOP", 501, "5.5.2"),
        (b"NOOP \x7f", 501, "5.5.2"),
        (b"MAIL FROM:<a\nb@c>", 501, "5.5.2"),
    ],
)
def test_lines_that_are_no_command(line, code, status):
    with pytest.raises(BadCommand) as caught:
        parse_command(line)
    assert (caught.value.code, caught.value.status) == (code, status)


@given(st.binary(max_size=80))
@settings(max_examples=200)
def test_no_line_breaks_the_parser_or_gets_control_octets_past_it(line):
    try:
        command = parse_command(line)
    except BadCommand:
        return
    assert command.verb
    assert all(octet >= 0x20 and octet != 0x7F for octet in command.verb + command.argument)


# MAIL and RCPT


def path(line):
    return parse_path_command(parse_command(line))


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"MAIL FROM:<a@b>", b"<a@b>"),
        (b"MAIL FROM:a@b", b"<a@b>"),
        (b"mail from: <a@b>", b"<a@b>"),
        (b"mail from:   a@b  ", b"<a@b>"),
        (b"MAIL FROM:<>", b"<>"),
        (b"MAIL FROM: <>", b"<>"),
        (b"RCPT TO:<Postmaster>", b"<Postmaster>"),
        (b"rcpt to:postmaster", b"<postmaster>"),
        (b'RCPT TO:<"a b"@c>', b'<"a b"@c>'),
        (b'RCPT TO:<"a b>c"@d>', b'<"a b>c"@d>'),
        (b'RCPT TO:<"a\\" b"@c>', b'<"a\\" b"@c>'),
        (b'RCPT TO:<"a@b> SIZE=1"@c>', b'<"a@b> SIZE=1"@c>'),
        (b"RCPT TO:<a\\>b@c>", b"<a\\>b@c>"),
        (b"RCPT TO:<@relay.example,@other.example:a@b>", b"<@relay.example,@other.example:a@b>"),
        (b"RCPT TO:<a@[IPv6:2001:db8::1]>", b"<a@[IPv6:2001:db8::1]>"),
        (b"RCPT TO:<\xc3\xa4@\xc3\xb6.example>", b"<\xc3\xa4@\xc3\xb6.example>"),
        (b"RCPT TO:\xc3\xa4@b", b"<\xc3\xa4@b>"),
        (b"RCPT TO:<a+b=c!d#e@f>", b"<a+b=c!d#e@f>"),
    ],
)
def test_paths_go_on_octet_for_octet(line, wanted):
    command = path(line)
    assert command.path == wanted
    assert command.parameters == ()
    keyword = b"MAIL FROM:" if command.verb == b"MAIL" else b"RCPT TO:"
    assert command.format(()) == keyword + wanted + b"\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL",
        b"MAIL FROM",
        b"MAIL FROM:",
        b"MAIL FROM:  ",
        b"MAIL a@b",
        b"MAIL TO:<a@b>",
        b"RCPT FROM:<a@b>",
        b"MAIL FROM :<a@b>",
        b"MAIL FROM:<a@b",
        b"MAIL FROM:a@b>",
        b"MAIL FROM:<a b>",
        b"MAIL FROM:<<a@b>>",
        b"MAIL FROM:<a@b><c@d>",
        b"MAIL FROM:<a@b>SIZE=1",
        b"MAIL FROM:Alice <a@b>",
        b'MAIL FROM:"a b"@c',
        b'MAIL FROM:<"a@b>',
        b'MAIL FROM:<"a\\"@b>',
        b"MAIL FROM:<a\\",
        b"MAIL FROM:a@b c@d",
        b"MAIL FROM:a@b\\",
        b"MAIL FROM:<a@b> =1",
        b"MAIL FROM:<a@b> SIZE=",
        b"MAIL FROM:<a@b> SIZE=1=2",
        b"MAIL FROM:<a@b> -X=1",
        b"MAIL FROM:<a@b> \xc3\xa4=1",
        b"MAIL FROM:<a@b> SIZE=1 size=2",
        b"MAIL FROM:<a@b> 8BIT! ",
    ],
)
def test_what_is_ambiguous_or_malformed_is_refused(line):
    with pytest.raises(BadCommand) as caught:
        path(line)
    assert (caught.value.code, caught.value.status) == (501, "5.5.4")


def test_parameters_keep_their_order_and_octets():
    command = path(b"MAIL FROM:<a@b> size=10  BODY=8bitmime\tSMTPUTF8 ENVID=QQ+2B\xc3\xa4 X-Y=a;b,c<d>")
    assert command.parameters == (
        Parameter("SIZE", b"10"),
        Parameter("BODY", b"8bitmime"),
        Parameter("SMTPUTF8", None),
        Parameter("ENVID", b"QQ+2B\xc3\xa4"),
        Parameter("X-Y", b"a;b,c<d>"),
    )
    assert command.format(command.parameters) == (
        b"MAIL FROM:<a@b> SIZE=10 BODY=8bitmime SMTPUTF8 ENVID=QQ+2B\xc3\xa4 X-Y=a;b,c<d>\r\n"
    )


LOCAL = st.text('ab<>"\\ @.,ü', max_size=12).map(lambda text: text.encode())


@given(st.sampled_from([b"MAIL FROM:", b"RCPT TO:", b"mail from: "]), LOCAL, LOCAL)
@settings(max_examples=200)
def test_whatever_is_accepted_goes_on_as_one_command_that_means_the_same(lead, first, second):
    try:
        command = path(lead + first + second)
    except BadCommand:
        return
    line = command.format(command.parameters)
    assert line.endswith(b"\r\n")
    assert line.count(b"\n") == line.count(b"\r") == 1
    assert path(line[:-2]) == command


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_no_octets_break_the_path_parser(tail):
    try:
        command = parse_path_command(parse_command(b"MAIL FROM:<a@b>" + tail))
    except BadCommand:
        return
    assert isinstance(command, PathCommand)


def test_hostile_paths_take_no_longer_than_others():
    for line in (b'MAIL FROM:<"' + b'\\"' * 2000, b"MAIL FROM:<" + b'"a"' * 1300, b"MAIL FROM:<" + b"\\a" * 2000):
        with pytest.raises(BadCommand):
            path(line)


# Replies


def parsed(chunks):
    """Every reply, and the error at the end if there is one."""
    parser = ReplyParser()
    seen = []
    for chunk in chunks:
        parser.feed(chunk)
        try:
            while (reply := parser.next_reply()) is not None:
                seen.append(reply)
        except MalformedReply:
            return [*seen, "malformed"], parser
    return seen, parser


REPLIES = [
    (b"250 2.1.0 Ok\r\n", [(250, [b"250 2.1.0 Ok"])]),
    (b"250\r\n", [(250, [b"250"])]),
    (b"250 \r\n", [(250, [b"250 "])]),
    (b"250-a\r\n250-\r\n250 c\r\n", [(250, [b"250-a", b"250-", b"250 c"])]),
    (b"250-a\r\n250\r\n", [(250, [b"250-a", b"250"])]),
    (b"220 a\r\n550 b\r\n", [(220, [b"220 a"]), (550, [b"550 b"])]),
    (b"354 go\r\n25", [(354, [b"354 go"])]),
    (b"250-half\r\n", []),
    (b"", []),
    (b"559 x\r\n", [(559, [b"559 x"])]),
    (b"250 a\rb\r\n", [(250, [b"250 a\rb"])]),
    (b"250 \xff\0\r\n", [(250, [b"250 \xff\0"])]),
]


@pytest.mark.parametrize(("data", "wanted"), REPLIES)
@pytest.mark.parametrize("cutter", [lambda data: [data], octets])
def test_replies(data, wanted, cutter):
    seen, parser = parsed(cutter(data))
    assert seen == [Reply(code, tuple(lines)) for code, lines in wanted]
    complete = sum(len(line) + 2 for _, lines in wanted for line in lines)
    assert parser.pending == (len(data) > complete)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"+OK\r\n",
        b"25\r\n",
        b"2500 x\r\n",
        b"250x\r\n",
        b"250_x\r\n",
        b" 250 x\r\n",
        b"+25 x\r\n",
        b"2_2 x\r\n",
        b"150 x\r\n",
        b"050 x\r\n",
        b"650 x\r\n",
        b"260 x\r\n",
        b"250-a\r\n251 b\r\n",
        b"250-a\r\n550 b\r\n",
        b"250-a\r\nb\r\n",
        b"250 a\n",
        b"\xb2\xb5\xb0 x\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46\n",
    ],
)
@pytest.mark.parametrize("cutter", [lambda data: [data], octets])
def test_what_is_no_reply(data, cutter):
    seen, _ = parsed(cutter(b"220 hello\r\n" + data))
    assert seen == [Reply(220, (b"220 hello",)), "malformed"]


def test_the_bounds_of_a_reply_are_reached_and_not_passed():
    longest = b"250 ".ljust(MAX_REPLY_LINE_OCTETS - 2, b"x") + b"\r\n"
    assert len(parsed([longest])[0]) == 1
    assert parsed([longest[:-2] + b"x\r\n"])[0] == ["malformed"]
    assert parsed(octets(longest[:-2] + b"x"))[0] == []
    assert parsed(octets(longest[:-2] + b"xxx"))[0] == ["malformed"]

    most = b"250-x\r\n" * (MAX_REPLY_LINES - 1)
    assert len(parsed([most + b"250 x\r\n"])[0][0].lines) == MAX_REPLY_LINES
    assert parsed([most + b"250-x\r\n250 x\r\n"])[0] == ["malformed"]

    lines = MAX_REPLY_OCTETS // 4096
    biggest = (b"250-".ljust(4094, b"x") + b"\r\n") * (lines - 1)
    assert len(parsed([biggest + b"250 ".ljust(4094, b"x") + b"\r\n"])[0]) == 1
    assert parsed([biggest + b"250-".ljust(4094, b"x") + b"\r\n250 x\r\n"])[0] == ["malformed"]


def test_the_bounds_are_those_of_one_reply():
    data = b"250-x\r\n250 y\r\n" * 1000
    assert len(parsed([data])[0]) == 1000


LINES = st.lists(st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"")), max_size=3)


@given(st.lists(st.tuples(st.sampled_from([220, 250, 354, 421, 550]), LINES, st.booleans()), max_size=6), CUTS)
@settings(max_examples=200)
def test_replies_are_the_same_for_any_cut(replies, places):
    data, wanted = b"", []
    for code, texts, bare in replies:
        last = b"%d" % code if bare else b"%d ok" % code
        lines = [b"%d-" % code + text.rstrip(b"\r") for text in texts] + [last]
        data += b"".join(line + b"\r\n" for line in lines)
        wanted.append(Reply(code, tuple(lines)))
    assert parsed(cut(data, places))[0] == wanted


@given(st.binary(max_size=200), CUTS)
@settings(max_examples=200)
def test_garbage_is_the_same_garbage_for_any_cut(data, places):
    assert parsed(cut(data, places))[0] == parsed([data])[0]


@pytest.mark.parametrize(
    ("code", "positive", "transient", "negative"),
    [
        (220, True, False, False),
        (354, False, False, False),
        (421, False, True, True),
        (450, False, True, True),
        (550, False, False, True),
    ],
)
def test_a_reply_is_judged_by_its_first_digit(code, positive, transient, negative):
    reply = Reply(code, (b"%d x" % code,))
    assert (reply.positive, reply.transient, reply.negative) == (positive, transient, negative)


def test_the_text_of_a_reply_is_that_of_all_its_lines():
    assert Reply(250, (b"250-2.1.0 a", b"250-", b"250 b")).text == b"2.1.0 a  b"
    assert Reply(250, (b"250",)).text == b""


@pytest.mark.parametrize(
    ("line", "plain", "utf8"),
    [
        (b"250 2.1.0 Ok", b"250 2.1.0 Ok", b"250 2.1.0 Ok"),
        (b"250 tab\tstays", b"250 tab\tstays", b"250 tab\tstays"),
        (b"250 a\x1b[31mb\x7f\x08", b"250 a?[31mb??", b"250 a?[31mb??"),
        (b"250 a\r\0b", b"250 ab", b"250 ab"),
        ("550 grün".encode(), b"550 gr??n", "550 grün".encode()),
        (b"250 \x80\xff", b"250 ??", b"250 \x80\xff"),
    ],
)
def test_replies_are_relayed_octet_for_octet_but_for_what_could_harm(line, plain, utf8):
    reply = Reply(int(line[:3]), (line,))
    assert reply.format() == plain + b"\r\n"
    assert reply.format(utf8=True) == utf8 + b"\r\n"


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.booleans())
@settings(max_examples=200)
def test_a_relayed_reply_is_the_same_reply(texts, utf8):
    texts = [text.replace(b"\n", b"") for text in texts]
    lines = (*(b"250-" + text for text in texts[:-1]), b"250 " + texts[-1])
    raw = Reply(250, lines).format(utf8=utf8)
    (again,), _ = parsed([raw])
    assert (again.code, len(again.lines)) == (250, len(lines))
    assert not set(raw.replace(b"\r\n", b"")) & {*range(9), *range(10, 32), 127}
    assert utf8 or raw.isascii()


def test_a_rewritten_reply_keeps_its_codes():
    reply = Reply(250, (b"250-2.1.0 word", b"250", b"250 2.1.0 word"))
    again = reply.rewritten(lambda text: text.replace(b"2", b"3"))
    assert again == Reply(250, (b"250-3.1.0 word", b"250", b"250 3.1.0 word"))


# EHLO


def ehlo(*lines):
    lines = [b"mail.test hello", *lines]
    return parse_ehlo(Reply(250, (*(b"250-" + line for line in lines[:-1]), b"250 " + lines[-1])))


@pytest.mark.parametrize(
    ("lines", "keywords"),
    [
        ([], {}),
        ([b"PIPELINING"], {"PIPELINING": ""}),
        ([b"size 1000", b"8BitMime"], {"SIZE": "1000", "8BITMIME": ""}),
        ([b"AUTH PLAIN LOGIN"], {"AUTH": "PLAIN LOGIN"}),
        ([b"AUTH=PLAIN LOGIN"], {"AUTH": "PLAIN LOGIN"}),
        ([b"AUTH=PLAIN"], {"AUTH": "PLAIN"}),
        ([b"AUTH PLAIN", b"AUTH=LOGIN"], {"AUTH": "PLAIN"}),
        ([b"LIMITS RCPTMAX=100 MAILMAX=5"], {"LIMITS": "RCPTMAX=100 MAILMAX=5"}),
        ([b"XFOO a=b"], {"XFOO": "a=b"}),
        ([b"SIZE 1", b"SIZE 2", b"size"], {"SIZE": "1"}),
        ([b" DSN  "], {"DSN": ""}),
        ([b"", b"  ", b"="], {}),
        ([b"STARTTLS\x00", b"DSN\xff", b"SMTPUTF8"], {"SMTPUTF8": ""}),
    ],
)
def test_what_a_mail_server_offers(lines, keywords):
    assert dict(ehlo(*lines).keywords) == keywords


def test_the_parameters_of_a_keyword():
    offered = ehlo(b"AUTH=PLAIN  LOGIN", b"SIZE")
    assert offered.get("AUTH") == ("PLAIN", "LOGIN")
    assert offered.get("SIZE") == ()
    assert offered.get("DSN") == ()
    assert "SIZE" in offered
    assert "DSN" not in offered


@pytest.mark.parametrize(
    ("line", "domain"),
    [(b"250 mail.test", b"mail.test"), (b"250  Mail.Test hi", b"Mail.Test"), (b"250", b""), (b"250 ", b"")],
)
def test_the_name_that_a_mail_server_gives_itself(line, domain):
    assert parse_ehlo(Reply(250, (line,))) == Extensions(domain, {})


def test_the_number_of_keywords_is_bounded():
    lines = [b"K%d" % number for number in range(MAX_EHLO_KEYWORDS + 10)]
    assert len(ehlo(*lines).keywords) == MAX_EHLO_KEYWORDS


@given(st.lists(st.binary(max_size=30), max_size=5))
@settings(max_examples=200)
def test_no_ehlo_reply_breaks_the_parser(lines):
    for keyword, parameters in ehlo(*lines).keywords.items():
        assert keyword == keyword.upper()
        assert " " not in keyword
        assert parameters == parameters.strip()


# Our own replies


@pytest.mark.parametrize(
    ("arguments", "raw"),
    [
        ((250, "2.0.0", "OK"), b"250 2.0.0 OK\r\n"),
        ((220, "", "mx ESMTP"), b"220 mx ESMTP\r\n"),
        ((250, "", "mx", "PIPELINING", "SIZE 5"), b"250-mx\r\n250-PIPELINING\r\n250 SIZE 5\r\n"),
        ((421, "4.3.2", "a", "b"), b"421-4.3.2 a\r\n421 4.3.2 b\r\n"),
    ],
)
def test_our_own_replies(arguments, raw):
    assert format_reply(*arguments) == raw
    (reply,), _ = parsed([raw])
    assert reply.code == arguments[0]
