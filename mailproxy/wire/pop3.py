"""
POP3 on the wire: command lines, status lines, capability lists, multi-line responses.

Only a few commands may pass, because whoever relays has to know the shape of each response beforehand: the status
line does not tell whether more lines follow.

Source: RFC 1939 §3 (commands, responses), RFC 2449 §4 and §5 (lengths, CAPA), §8 (response codes), RFC 6856 §4 (LANG).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from attrs import field, frozen

from mailproxy.errors import MalformedReply
from mailproxy.wire.transparency import END, BareNewlines, EndFinder, NewlineKeeper

MAX_CAPABILITIES = 64
"""Lines of a capability list; real servers send about ten."""

# command-line = *WSP ALPHA *(ALPHA / DIGIT) [WSP *(WSP / octet that is no control)]
_COMMAND = re.compile(rb"[ \t]*([A-Za-z][A-Za-z0-9]*)(?:[ \t]([^\x00-\x08\x0a-\x1f\x7f]*))?")
_NUMBER = re.compile(rb"[0-9]{1,10}")
# language-tag = "*" / 1*64(ALPHA / DIGIT / "-"), RFC 6856 §4 and RFC 5646
_LANGUAGE = re.compile(rb"\*|[A-Za-z0-9-]{1,64}")

# status-line = ("+OK" / "-ERR") [SP *(octet that is no CR, LF or NUL)]
_STATUS = re.compile(rb"(\+OK|-ERR)(?: ([^\x00\r\n]*))?")
# response-code = "[" resp-level *("/" resp-level) "]", RFC 2449 §8
_RESPONSE_CODE = re.compile(rb"\[([A-Za-z0-9/_-]{1,64})\]")
_NO_CONTROL = bytes(octet if octet == 9 or 0x20 <= octet != 0x7F else 0x3F for octet in range(256))

# capability = 1*VCHAR *(SP 1*VCHAR), RFC 2449 §5
_CAPABILITY = re.compile(rb"[!-~]+(?: +[!-~]+)* *")


@frozen
class Form:
    """
    How a relayed command looks: the numbers of arguments it may have, and with which its `+OK` has more lines.
    """

    counts: frozenset[int]
    multiline: frozenset[int] = frozenset()
    argument: re.Pattern[bytes] = _NUMBER


_NONE, _ONE, _TWO, _OPTIONAL = frozenset({0}), frozenset({1}), frozenset({2}), frozenset({0, 1})

RELAYED: Mapping[str, Form] = {
    "STAT": Form(_NONE),
    "LIST": Form(_OPTIONAL, multiline=_NONE),
    "RETR": Form(_ONE, multiline=_ONE),
    "DELE": Form(_ONE),
    "NOOP": Form(_NONE),
    "RSET": Form(_NONE),
    "TOP": Form(_TWO, multiline=_TWO),
    "UIDL": Form(_OPTIONAL, multiline=_NONE),
    "QUIT": Form(_NONE),
    "LANG": Form(_OPTIONAL, multiline=_NONE, argument=_LANGUAGE),
}
"""The commands whose responses we can follow; every other one is answered here."""


@frozen
class Command:
    """
    A command line: its keyword in upper case, and what stood behind it, octet for octet.

    The argument of PASS is a password.
    """

    keyword: str
    argument: bytes = field(default=b"", repr=False)

    @property
    def arguments(self) -> tuple[bytes, ...]:
        """The argument's words."""
        return tuple(self.argument.split())

    @property
    def fits(self) -> bool:
        """Whether this is a command to relay and its arguments are as they have to be."""
        form = RELAYED.get(self.keyword)
        if form is None or len(self.arguments) not in form.counts:
            return False
        return all(form.argument.fullmatch(argument) for argument in self.arguments)

    @property
    def multiline(self) -> bool:
        """Whether a positive response to it goes on after the status line."""
        return len(self.arguments) in RELAYED[self.keyword].multiline

    @property
    def raw(self) -> bytes:
        """The line to relay, blanks collapsed."""
        return b" ".join((self.keyword.encode("ascii"), *self.arguments)) + b"\r\n"

    @property
    def raw_verbatim(self) -> bytes:
        """The line for USER and PASS, where a blank can be part of the argument."""
        return self.keyword.encode("ascii") + b" " + self.argument + b"\r\n"


def parse_command(line: bytes) -> Command | None:
    """
    The command in a line without its CRLF; None when it has no keyword, or holds control octets.
    """
    match = _COMMAND.fullmatch(line)
    if match is None:
        return None
    keyword, argument = match.groups()
    return Command(keyword.decode("ascii").upper(), argument or b"")


@frozen
class Status:
    """
    A status line: its indicator, and the response code (`IN-USE`, upper case) that may follow it.
    """

    positive: bool
    text: bytes = b""
    response_code: str | None = None


def parse_status(line: bytes) -> Status:
    """
    The status in a line without its CRLF.

    Raises:
        MalformedReply: anything but exactly `+OK` or `-ERR`, followed by a blank or by nothing.
    """
    match = _STATUS.fullmatch(line)
    if match is None:
        raise MalformedReply("no POP3 status line")
    indicator, text = match.groups(default=b"")
    code = _RESPONSE_CODE.match(text)
    return Status(indicator == b"+OK", text, code.group(1).decode("ascii").upper() if code else None)


def relayed(line: bytes) -> bytes:
    """A status line as it is relayed: octet for octet, but for control octets, which become `?`."""
    return line.translate(_NO_CONTROL)


@frozen
class POP3Capabilities:
    """
    What the mail server offers after its login.

    `listed` maps names in upper case to their arguments; it is None where CAPA was refused or not to be asked.
    `logged_in` is False for a destination without login, where the client brings USER and PASS itself.
    """

    listed: Mapping[str, tuple[str, ...]] | None
    logged_in: bool = True

    def __contains__(self, name: str) -> bool:
        return self.listed is not None and name in self.listed


def parse_capabilities(lines: Iterable[bytes]) -> dict[str, tuple[str, ...]]:
    """
    Names in upper case with their arguments, from the lines between the status line and the final dot.

    A name listed twice has the arguments of both lines.  Lines that are no capability are passed over: what they
    were to say concerns nobody who cannot read them.

    Raises:
        MalformedReply: there are more than `MAX_CAPABILITIES` lines.
    """
    listed: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines):
        if number == MAX_CAPABILITIES:
            raise MalformedReply(f"more than {MAX_CAPABILITIES} capabilities")
        if _CAPABILITY.fullmatch(line):
            name, *arguments = line.decode("ascii").split()
            listed[name.upper()] = (*listed.get(name.upper(), ()), *arguments)
    return listed


def format_capabilities(listed: Mapping[str, tuple[str, ...]]) -> bytes:
    """The whole response to CAPA."""
    lines = ["+OK capability list follows", *(" ".join((name, *listed[name])) for name in listed), ".", ""]
    return "\r\n".join(lines).encode("ascii")


class MultilineScanner:
    """
    Follows a multi-line response behind its status line, through chunks cut anywhere, up to CRLF `.` CRLF.

    The response passes octet for octet, stuffed dots and final dot included; there are no lines, no limit, and at
    most three octets are held back.  With `fix_newlines` a bare CR or LF becomes CRLF, and a line that begins
    with a dot only because of that is stuffed: then also a client that takes LF `.` LF for the end is safe.

    Source: RFC 1939 §3.
    """

    __slots__ = ("_finder", "_keeper")

    def __init__(self, *, fix_newlines: bool = False) -> None:
        self._finder = EndFinder()
        self._keeper = NewlineKeeper(BareNewlines.NORMALIZE) if fix_newlines else None

    @property
    def ended(self) -> bool:
        """Whether the final dot has come."""
        return self._finder.ended

    @property
    def rest(self) -> bytes:
        """What came behind the end; no part of the response."""
        return self._finder.rest

    def feed(self, chunk: bytes) -> bytes:
        """The octets to pass on now; none once it has ended."""
        if self.ended:
            return self._finder.feed(chunk)
        raw = self._finder.feed(chunk)
        if self._keeper is not None:
            raw = _fix(self._keeper, raw)
        return raw + END if self._finder.ended else raw


def _fix(keeper: NewlineKeeper, raw: bytes) -> bytes:
    """
    What the keeper makes of it, except that NUL passes.

    The keeper refuses NUL in mail on its way to a server.  Here the mail is old and only its reader is behind us:
    a message that could not be collected would block its maildrop.  So NULs pass the keeper under an escape.
    Handing it the octets between them one after the other was tried: `.` CR NUL then made a final dot.
    """
    if b"\0" not in raw:
        return keeper.feed(raw)
    escaped = raw.replace(b"\1", b"\1\2").replace(b"\0", b"\1\3")
    return keeper.feed(escaped).replace(b"\1\3", b"\0").replace(b"\1\2", b"\1")
