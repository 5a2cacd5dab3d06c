"""
Targets: what both mail protocols look like on the wire.
"""

from __future__ import annotations

import re

from mailproxy.errors import BadCommand, BareNewline, LineTooLong, MalformedChallenge, MalformedReply
from mailproxy.session import smtp_ehlo
from mailproxy.session.pop3_words import announced as announced_pop3
from mailproxy.session.smtp_content import Content
from mailproxy.session.smtp_local import bdat_octets, local_reply
from mailproxy.session.strangers import begins_other_protocol
from mailproxy.wire import pop3, sasl, smtp
from mailproxy.wire.lines import LineBuffer
from mailproxy.wire.transparency import BareNewlines
from tests.fuzz.target import options, target, the_same_for_every_cut
from tests.wire.smuggling import deceived, divided, normalized

NEWLINES = (b"\r\n", b"\r", b"\n", b"\0")
STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n")
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


# Lines


def read_lines(chunks, limit, *, lone_lf):
    """Each line and each error in order, and the octets that are left."""
    buffer, seen = LineBuffer(limit, lone_lf_ends_line=lone_lf), []
    for chunk in chunks:
        buffer.feed(chunk)
        try:
            while (line := take(buffer, seen)) is not None:
                seen.append(line)
        except BareNewline:
            return [*seen, BareNewline]
        assert len(buffer) < limit
    complete = sum(len(line) for line in seen if line is not LineTooLong)
    return [*seen, complete + buffer.skipped + len(buffer), buffer.take_all()]


def take(buffer, seen):
    while True:
        try:
            return buffer.next_line()
        except LineTooLong:
            seen.append(LineTooLong)


def expected_lines(octets, limit, *, lone_lf):
    """The same from the definition: only CRLF ends a line, and a LF alone where that is allowed."""
    seen, counted, rest = [], 0, octets
    while b"\n" in rest:
        line, _, rest = rest.partition(b"\n")
        if len(line) >= limit:
            seen.append(LineTooLong)
            counted += len(line) + 1
        if not line.endswith(b"\r") and not lone_lf:
            return [*seen, BareNewline]
        if len(line) < limit:
            seen.append(line.removesuffix(b"\r"))
            counted += len(seen[-1])
    if len(rest) >= limit:
        return [*seen, LineTooLong, counted + len(rest), rest[-1:]]
    return [*seen, counted + len(rest), rest]


@target("lines", *NEWLINES)
def check_lines(data):
    (limit, lone_lf), octets = options(data, 2)
    arguments = {"limit": 2 + limit % 32, "lone_lf": bool(lone_lf & 1)}
    read = the_same_for_every_cut(octets, lambda chunks: read_lines(chunks, **arguments))
    assert read == expected_lines(octets, **arguments)


# SMTP


def read_replies(chunks):
    parser, seen = smtp.ReplyParser(), []
    try:
        for chunk in chunks:
            parser.feed(chunk)
            while (reply := parser.next_reply()) is not None:
                seen.append(reply)
    except MalformedReply as error:
        return [*seen, str(error)]
    return [*seen, parser.pending]


def expected_replies(octets):
    """The codes and lines of all replies, and how it ends: True in a reply, False behind one, None where it is none."""
    replies, lines = [], []
    *whole, rest = octets.split(b"\n")
    for line in whole:
        code = re.fullmatch(rb"(?s)([2-5][0-5][0-9])(?:[- ].*)?\r", line)
        size = sum(len(each) + 2 for each in lines) + len(line) + 1
        beyond = (
            len(line) >= smtp.MAX_REPLY_LINE_OCTETS
            or size > smtp.MAX_REPLY_OCTETS
            or len(lines) == smtp.MAX_REPLY_LINES
        )
        if code is None or beyond or (lines and lines[0][:3] != code[1]):
            return replies, None
        lines.append(line[:-1])
        if line[3:4] != b"-":
            replies.append(smtp.Reply(int(code[1]), tuple(lines)))
            lines = []
    if len(rest) >= smtp.MAX_REPLY_LINE_OCTETS:
        return replies, None
    return replies, bool(lines or rest)


def parse_one_reply(octets):
    parser = smtp.ReplyParser()
    parser.feed(octets)
    reply = parser.next_reply()
    assert reply is not None
    assert not parser.pending
    return reply


@target("smtp_replies", *NEWLINES, b"250-", b"250 ", b"354 ", b"421 ", b"999 ", b"1" * 999, longest=8192)
def check_smtp_replies(octets):
    *replies, end = the_same_for_every_cut(octets, read_replies)
    assert (replies, None if isinstance(end, str) else end) == expected_replies(octets)
    taken = sum(len(line) + 2 for reply in replies for line in reply.lines)
    assert taken <= len(octets)
    if end is False:
        assert taken == len(octets)
    for reply in replies:
        check_reply(reply)
    if isinstance(end, str):
        assert len(end) < 100
        assert end.isprintable()


def check_reply(reply):
    assert 200 <= reply.code <= 559
    assert 1 <= len(reply.lines) <= smtp.MAX_REPLY_LINES
    assert sum(len(line) + 2 for line in reply.lines) <= smtp.MAX_REPLY_OCTETS
    assert (reply.positive, reply.negative) == (reply.code < 300, reply.code >= 400)
    for utf8 in (False, True):
        relayed = reply.format(utf8=utf8)
        assert not UNSENDABLE.search(relayed.replace(b"\r\n", b""))
        assert utf8 or relayed.isascii()
        again = parse_one_reply(relayed)
        assert (again.code, len(again.lines)) == (reply.code, len(reply.lines))
        assert again.format(utf8=utf8) == relayed
    offered = smtp.parse_ehlo(reply)
    assert len(offered.keywords) <= smtp.MAX_EHLO_KEYWORDS
    shown = smtp_ehlo.announced(offered, max_message_octets=reply.code % 3 * 1000, max_recipients=reply.code % 2)
    allowed = {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "LIMITS"}
    assert shown.keys() <= allowed
    relayed = parse_one_reply(smtp_ehlo.format_ehlo("proxy.test", shown))
    assert smtp.parse_ehlo(relayed) == smtp.Extensions(b"proxy.test", shown)


PARAMETERS = (b"SIZE=10", b"BODY=8BITMIME", b"SMTPUTF8", b"RET=FULL", b"NOTIFY=NEVER", b"AUTH=<>", b'"a b"@c')


@target("smtp_command", b"MAIL FROM:<", b"RCPT TO:<", b"> ", b"BDAT 10 LAST", b"EHLO ", *PARAMETERS, longest=512)
def check_smtp_command(line):
    try:
        command = smtp.parse_command(line)
    except BadCommand as error:
        check_complaint(error)
        return
    assert not CONTROL.search(command.verb + command.argument)
    assert command.verb == command.verb.upper()
    assert b" " not in command.verb
    assert smtp.parse_command(command.verb + b" " + command.argument) == command
    assert begins_other_protocol(line) <= (pop3.RELAYED.keys().isdisjoint([command.verb.decode("latin-1")]))
    assert re.fullmatch(rb"[245][0-9]{2} [^\r\n]+\r\n", local_reply(command.verb).raw)
    digits = re.fullmatch(rb"(?a)([0-9]+)( +LAST)?", command.argument, re.IGNORECASE)
    octets = int(digits[1]) if digits and len(digits[1]) <= 18 else None
    assert bdat_octets(command) == octets
    check_path(command)


def check_complaint(error):
    assert 500 <= error.code <= 559
    assert error.status.startswith("5.")
    raw = smtp.format_reply(error.code, error.status, error.text)
    assert parse_one_reply(raw).code == error.code


def check_path(command):
    for verb in (b"MAIL", b"RCPT"):
        try:
            parsed = smtp.parse_path_command(smtp.Command(verb, command.argument))
        except BadCommand as error:
            check_complaint(error)
            continue
        assert parsed.path.startswith(b"<")
        assert parsed.path.endswith(b">")
        assert parsed.path in command.argument or parsed.path[1:-1] in command.argument
        raw = parsed.format(parsed.parameters)
        assert not CONTROL.search(raw.removesuffix(b"\r\n"))
        assert smtp.parse_path_command(smtp.parse_command(raw[:-2])) == parsed
        check_parameters(parsed)


def check_parameters(parsed):
    keywords = {"SIZE", "8BITMIME", "SMTPUTF8", "DSN"}
    try:
        if parsed.verb == b"MAIL":
            kept = smtp_ehlo.mail_parameters(parsed.parameters, keywords, 1000)
        else:
            kept = smtp_ehlo.rcpt_parameters(parsed.parameters, keywords)
    except BadCommand as error:
        check_complaint(error)
        return
    assert set(kept) <= set(parsed.parameters)
    assert "AUTH" not in {each.keyword for each in kept}
    assert smtp_ehlo.needed(kept) <= keywords


# Mail data


def forward(chunks, policy, limit):
    content, out = Content(policy, limit), b""
    for chunk in chunks:
        out += content.feed(chunk)
    return content, out


def forward_or_refuse(chunks, policy, limit):
    content, out = forward(chunks, policy, limit)
    if content.verdict:
        # How much of it had gone upstream depends on the cut, and so does which of two faults was met first.
        assert not deceived(out, None)
        return content.ended, content.rest
    return content.ended, content.rest, out, content.octets, content.mended


@target("mail_data", *NEWLINES, b".", b"..", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n\0.\r\n", share=2)
def check_mail_data(data):
    (choice,), octets = options(data, 1)
    policy = BareNewlines.REJECT if choice & 1 else BareNewlines.NORMALIZE
    limit = choice >> 1
    ended, rest, *sent = the_same_for_every_cut(octets, lambda chunks: forward_or_refuse(chunks, policy, limit))
    body, behind = divided(octets)
    assert ended == (body is not None)
    if body is None:
        assert rest == b""
        if sent:
            # What has not ended yet may be held back in part, and may still turn out to be stray.
            assert normalized(octets).startswith(sent[0].removesuffix(b"\r\n"))
            assert not deceived(sent[0], None)
        return
    assert rest == behind
    refused = (
        b"\0" in body or (policy is BareNewlines.REJECT and STRAY.search(body)) or (limit and size_of(body) > limit)
    )
    assert bool(refused) == (not sent)
    if sent:
        out, size, mended = sent
        assert (out, size, mended) == (normalized(body), size_of(body), len(STRAY.findall(body)))
        assert not deceived(out + b".\r\n", b".\r\n")


def size_of(body):
    """Octets of a message as SIZE counts them: stuffed dots are not."""
    return len(body) - len(re.findall(rb"(?:^|(?<=\r\n))\.", body))


# POP3


@target("pop3_status", b"+OK", b"-ERR", b"[SYS/TEMP]", b"[IN-USE]", b" ", longest=256)
def check_pop3_status(line):
    try:
        status = pop3.parse_status(line)
    except MalformedReply:
        assert not re.match(rb"(?:\+OK|-ERR)(?: [ -~]*)?$(?!\n)", line)
        return
    assert line.startswith(b"+OK" if status.positive else b"-ERR")
    assert line == (b"+OK" if status.positive else b"-ERR") + (b" " + status.text if b" " in line[:5] else b"")
    assert status.response_code is None or re.fullmatch(r"[A-Z0-9/_-]{1,64}", status.response_code)


@target("pop3_command", b"RETR 1", b"TOP 1 0", b"LIST", b"UIDL", b"LANG *", b"PASS ", b"AUTH PLAIN", longest=256)
def check_pop3_command(line):
    command = pop3.parse_command(line)
    if command is None:
        assert not re.fullmatch(rb"[A-Za-z]+(?: [ -~]*)?", line)
        return
    assert re.fullmatch(r"[A-Z][A-Z0-9]*", command.keyword)
    assert not UNSENDABLE.search(command.argument)
    assert pop3.parse_command(command.raw_verbatim[:-2]) == command
    if command.fits:
        assert re.fullmatch(rb"[A-Z]+(?: (?:[A-Za-z0-9-]{1,64}|\*)){0,2}\r\n", command.raw)
        again = pop3.parse_command(command.raw[:-2])
        assert (again.keyword, again.arguments, again.fits) == (command.keyword, command.arguments, True)
        assert again.multiline == command.multiline


@target("pop3_capabilities", b"\r\n", b"TOP", b"UIDL", b"EXPIRE NEVER", b"LOGIN-DELAY 9 USER", b"SASL PLAIN", b"LANG")
def check_pop3_capabilities(octets):
    lines = octets.split(b"\r\n")
    try:
        listed = pop3.parse_capabilities(lines)
    except MalformedReply:
        assert len(lines) > pop3.MAX_CAPABILITIES
        return
    assert len(lines) <= pop3.MAX_CAPABILITIES
    assert all(name == name.upper() for name in listed)
    shown = announced_pop3(pop3.POP3Capabilities(listed))
    assert shown.keys() <= {
        *("USER", "PIPELINING", "TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE", "LOGIN-DELAY", "LANG")
    }
    first, *body, dot, nothing = pop3.format_capabilities(shown).split(b"\r\n")
    assert (first[:3], dot, nothing) == (b"+OK", b".", b"")
    assert pop3.parse_capabilities(body) == shown


def scan(chunks, *, fix_newlines):
    scanner = pop3.MultilineScanner(fix_newlines=fix_newlines)
    return b"".join([scanner.feed(chunk) for chunk in chunks]), scanner.ended, scanner.rest


@target("pop3_body", *NEWLINES, b".", b"..", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\1", b"\1\2", b"\1\3", share=2)
def check_pop3_body(octets):
    body, behind = divided(octets)
    out, ended, rest = the_same_for_every_cut(octets, lambda chunks: scan(chunks, fix_newlines=False))
    if body is None:
        assert (ended, rest) == (False, b"")
        assert octets.startswith(out)
        assert len(octets) - len(out) <= 3
    else:
        assert (out, ended, rest) == (body + b".\r\n", True, behind)
    out, ended, rest = the_same_for_every_cut(octets, lambda chunks: scan(chunks, fix_newlines=True))
    if body is None:
        assert not ended
        assert normalized(octets).startswith(out.removesuffix(b"\r\n"))
    else:
        assert (out, ended, rest) == (normalized(body) + b".\r\n", True, behind)
    if b"\0" not in out:
        assert not deceived(out, b".\r\n" if ended else None)


# SASL

USER, SECRET = "robot@x.test", "s3cret+Sentinel/word=="


@target("sasl", b"eyJzdGF0dXMiOiI0MDAifQ==", b'{"status":"401"}', b"VXNlcm5hbWU6", b"\n", b"=", b"*", longest=32768)
def check_sasl(octets):
    for name in ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER"):
        mechanism = sasl.client(name, USER, SECRET, "mail.test", 587)
        said = [mechanism.initial() or b""]
        for line in octets.split(b"\n"):
            try:
                said += respond(mechanism, line)
            except MalformedChallenge:
                break
        assert len(said) <= 1 + 2 + sasl.UNEXPECTED_CHALLENGES
        refusal = mechanism.refusal or ""
        assert len(refusal) <= sasl.REFUSAL_CHARACTERS
        assert refusal.isprintable()
        assert SECRET not in refusal
        assert SECRET not in repr(mechanism)
        assert sum(SECRET.encode() in each for each in said) <= 1


def respond(mechanism, line):
    """The answers to a challenge as the mail server writes it, and to the same octets as they are."""
    try:
        challenge = sasl.decode_challenge(line)
    except MalformedChallenge:
        challenge = line
    assert len(challenge) <= max(sasl.CHALLENGE_OCTETS, len(line))
    return [mechanism.respond(challenge)]
