"""
SMTP on the wire: commands of the mail client, replies of the mail server, EHLO keywords.

Source: RFC 5321 §4.1 (commands), §4.2 (replies), §4.5.3 (sizes); RFC 1869 for parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from attrs import field, frozen

from mailproxy.errors import BadCommand, BareNewline, LineTooLong, MalformedReply
from mailproxy.wire.lines import LineBuffer

MAX_REPLY_LINE_OCTETS = 4096
MAX_REPLY_LINES = 128
MAX_REPLY_OCTETS = 32768
MAX_EHLO_KEYWORDS = 64
MAX_NUMBER_DIGITS = 20

# Reply-line = Reply-code [ ( "-" / SP ) textstring ]    Reply-code = %x32-35 %x30-35 %x30-39
_REPLY_LINE = re.compile(rb"[2-5][0-5][0-9](?:[- ].*)?", re.DOTALL)
_STRANGE = re.compile(rb"[^\t\x20-\x7e]")
_CONTROL_AND_HIGH = bytes(octet if octet == 9 or 0x20 <= octet < 0x7F else 0x3F for octet in range(256))
_CONTROL = bytes(octet if octet == 9 or (0x20 <= octet != 0x7F) else 0x3F for octet in range(256))
_DROPPED = b"\r\n\0"

_CONTROL_OCTET = re.compile(rb"[\x00-\x1f\x7f]")
_KEYWORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE = re.compile(rb"[\x21-\x3c\x3e-\x7e\x80-\xff]+")
# Mailbox between brackets: quoted strings may hold anything but CR and LF (those never get here).
_BRACKETED = re.compile(rb'<(?:[^<>"\\\s]|"(?:[^"\\]|\\.)*"|\\.)*>')
# Typed without brackets: nothing that could swallow the bracket that we add.
_BARE_ADDRESS = re.compile(rb'[^<>"\\\s]+')


@frozen
class Reply:
    """
    One complete reply; `lines` are as the mail server sent them, without CRLF, code included.
    """

    code: int
    lines: tuple[bytes, ...]

    @property
    def positive(self) -> bool:
        """Positive completion: 2xx."""
        return self.code // 100 == 2

    @property
    def transient(self) -> bool:
        """Transient negative completion: 4xx."""
        return self.code // 100 == 4

    @property
    def negative(self) -> bool:
        """Transient or permanent negative completion: 4xx or 5xx."""
        return self.code >= 400

    @property
    def text(self) -> bytes:
        """The text of all lines, joined by blanks."""
        if len(self.lines) == 1:
            return self.lines[0][4:]
        return b" ".join(line[4:] for line in self.lines)

    def rewritten(self, rewrite: Callable[[bytes], bytes]) -> Reply:
        """The same reply, the text of each line rewritten."""
        return Reply(self.code, tuple(line[:4] + rewrite(line[4:]) for line in self.lines))

    def format(self, *, utf8: bool = False) -> bytes:
        """
        The reply as it is relayed: octet for octet, but for control octets, which become `?` or vanish.

        Octets beyond ASCII pass only where the mail client asked for them (RFC 6531 §3.5).
        """
        if not any(map(_STRANGE.search, self.lines)):
            return b"\r\n".join(self.lines) + b"\r\n"
        table = _CONTROL if utf8 else _CONTROL_AND_HIGH
        return b"".join(line.translate(table, _DROPPED) + b"\r\n" for line in self.lines)


class ReplyParser:
    """
    Replies out of octets that arrive cut anywhere; bounded in lines and octets.
    """

    __slots__ = ("_buffer", "_lines", "_octets")

    def __init__(self) -> None:
        self._buffer = LineBuffer(MAX_REPLY_LINE_OCTETS)
        self._lines: list[bytes] = []
        self._octets = 0

    @property
    def pending(self) -> bool:
        """Whether octets have come that no complete reply accounts for."""
        return bool(self._lines) or self._buffer.in_line

    def feed(self, chunk: bytes) -> None:
        """Store a chunk."""
        self._buffer.feed(chunk)

    def next_reply(self) -> Reply | None:
        """
        Take the next complete reply; None when more octets are needed.

        Raises:
            MalformedReply: no reply looks like that, or it passed a bound.  The stream is of no use after it.
        """
        try:
            while (line := self._buffer.next_line()) is not None:
                self._check(line)
                self._lines.append(line)
                if line[3:4] != b"-":
                    lines, self._lines, self._octets = tuple(self._lines), [], 0
                    return Reply(int(line[:3]), lines)
        except LineTooLong as error:
            raise MalformedReply(f"a line of a reply is longer than {MAX_REPLY_LINE_OCTETS} octets") from error
        except BareNewline as error:
            raise MalformedReply("a line of a reply ends without CR") from error
        return None

    def _check(self, line: bytes) -> None:
        self._octets += len(line) + 2
        if not _REPLY_LINE.fullmatch(line):
            raise MalformedReply("not a reply of SMTP")
        if self._lines and self._lines[0][:3] != line[:3]:
            raise MalformedReply("the lines of a reply differ in their codes")
        if len(self._lines) >= MAX_REPLY_LINES or self._octets > MAX_REPLY_OCTETS:
            raise MalformedReply(f"a reply is longer than {MAX_REPLY_LINES} lines or {MAX_REPLY_OCTETS} octets")


@frozen
class Extensions:
    """
    What a mail server offers in its reply to EHLO: keyword, upper case, to its parameters.

    `domain` is the name that the server gives itself, as it wrote it.
    """

    domain: bytes
    keywords: Mapping[str, str] = field(hash=False)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    def get(self, keyword: str) -> tuple[str, ...]:
        """The parameters of a keyword; none where it is not offered."""
        return tuple(self.keywords.get(keyword, "").split())

    def limit(self, name: str) -> int:
        """
        A limit of the mail server's, as `MAILMAX`; 0 is none.

        Source: RFC 9422.
        """
        values = [value for each, _, value in (pair.partition("=") for pair in self.get("LIMITS")) if each == name]
        return number(values[-1]) if values else 0


def number(text: str) -> int:
    """A number in a parameter of EHLO; 0 for what is none, or too long for one."""
    return int(text) if text.isdigit() and len(text) <= MAX_NUMBER_DIGITS else 0


def parse_ehlo(reply: Reply) -> Extensions:
    """
    What a positive reply to EHLO offers.

    Keywords are matched without case, doubles keep the first, `AUTH=` of old servers counts as `AUTH`, and lines
    beyond the first 64 keywords or outside ASCII are passed over.

    Source: RFC 5321 §4.1.1.1.
    """
    keywords: dict[str, str] = {}
    for line in reply.lines[1 : MAX_EHLO_KEYWORDS + 1]:
        if _STRANGE.search(line):
            continue
        keyword, _, parameters = line[4:].decode("ascii").strip().partition(" ")
        keyword, _, first = keyword.partition("=")
        if keyword:
            keywords.setdefault(keyword.upper(), f"{first} {parameters}".strip())
    domain = (reply.lines[0][4:].split() or [b""])[0]
    return Extensions(domain, keywords)


@frozen
class Command:
    """
    A command line: `verb` in upper case, `argument` as it stood there without outer blanks.
    """

    verb: bytes
    argument: bytes


def parse_command(line: bytes) -> Command:
    """
    The command in a line without its CRLF.

    Raises:
        BadCommand: an empty line, or one with control octets; a tab counts as a blank.
    """
    line = line.replace(b"\t", b" ")
    if b"\r" in line:
        raise BadCommand(500, "5.5.2", "Bare <CR> received")
    if _CONTROL_OCTET.search(line):
        raise BadCommand(501, "5.5.2", "Control characters are not allowed")
    verb, _, argument = line.strip(b" ").partition(b" ")
    if not verb:
        raise BadCommand(500, "5.5.2", "Empty command line")
    return Command(verb.upper(), argument.strip(b" "))


@frozen
class Parameter:
    """One `KEYWORD[=value]` of MAIL or RCPT; `keyword` in upper case, `value` None without `=`."""

    keyword: str
    value: bytes | None

    def format(self) -> bytes:
        """The parameter as it goes on the wire."""
        keyword = self.keyword.encode("ascii")
        return keyword if self.value is None else keyword + b"=" + self.value


@frozen
class PathCommand:
    """
    MAIL or RCPT: `path` with its brackets, octet for octet, and the parameters in order.
    """

    verb: bytes
    path: bytes
    parameters: tuple[Parameter, ...]

    def format(self, parameters: Iterable[Parameter]) -> bytes:
        """The command line, CRLF included, with these parameters."""
        keyword = b"FROM:" if self.verb == b"MAIL" else b"TO:"
        return b" ".join([self.verb, keyword + self.path, *(each.format() for each in parameters)]) + b"\r\n"


def parse_path_command(command: Command) -> PathCommand:
    """
    MAIL or RCPT with its path and parameters.

    The brackets may be missing, and a blank may stand before the path: people type these commands.

    Raises:
        BadCommand: no path, an ambiguous one, or a parameter that is none.

    Source: RFC 5321 §4.1.1.2, §4.1.1.3, §4.1.2.
    """
    keyword = b"FROM:" if command.verb == b"MAIL" else b"TO:"
    usage = f"Syntax: {command.verb.decode('ascii')} {keyword.decode('ascii')}<address>"
    if command.argument[: len(keyword)].upper() != keyword:
        raise BadCommand(501, "5.5.4", usage)
    rest = command.argument[len(keyword) :].lstrip(b" ")
    match = _BRACKETED.match(rest) or _BARE_ADDRESS.match(rest)
    if match is None or rest[match.end() : match.end() + 1] not in (b"", b" "):
        raise BadCommand(501, "5.5.4", usage)
    path = match.group() if match.group().startswith(b"<") else b"<" + match.group() + b">"
    return PathCommand(command.verb, path, _parse_parameters(rest[match.end() :]))


def _parse_parameters(text: bytes) -> tuple[Parameter, ...]:
    parameters: dict[str, Parameter] = {}
    for token in text.split():
        keyword, equals, value = token.partition(b"=")
        if not _KEYWORD.fullmatch(keyword) or (equals and not _VALUE.fullmatch(value)):
            raise BadCommand(501, "5.5.4", "Malformed parameter")
        name = keyword.decode("ascii").upper()
        if name in parameters:
            raise BadCommand(501, "5.5.4", "Parameter given twice")
        parameters[name] = Parameter(name, value if equals else None)
    return tuple(parameters.values())


@lru_cache(maxsize=256)  # there are few of them, and none has a word of a peer in it
def format_reply(code: int, status: str, *texts: str) -> bytes:
    """
    One of our own replies, CRLF included; `status` is the enhanced status code, or empty where none belongs.

    Source: RFC 5321 §4.2, RFC 2034 §4.
    """
    lead = f"{status} " if status else ""
    last = len(texts) - 1
    return "".join(f"{code}{' ' if i == last else '-'}{lead}{text}\r\n" for i, text in enumerate(texts)).encode("ascii")
