"""
The command lines of an SMTP client: each is a command, or a complaint about it.
"""

from __future__ import annotations

from attrs import frozen

from mailproxy.errors import BadCommand, BareNewline, LineTooLong
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.lines import LineBuffer
from mailproxy.wire.smtp import Command, format_reply, parse_command


@frozen
class Complaint:
    """
    What is said of a line that is no command.

    `outcome` not None ends the session with that word; `junk` counts it as idle talk and not as an error.
    """

    reply: bytes
    outcome: str | None = None
    junk: bool = False


_TOO_LONG = Complaint(format_reply(500, "5.5.2", "Line too long"))
_ENDLESS = Complaint(b"", "bad_line")
_BARE_LF = Complaint(format_reply(500, "5.5.2", "Bare <LF> received"), "bad_line")
_NUL = Complaint(format_reply(501, "5.5.2", "NUL is not allowed"), "bad_line")
_BLANK = Complaint(format_reply(500, "5.5.2", "Empty command line"), junk=True)


class CommandInput:
    """
    Octets of the client that are not mail data, until they are taken as commands.

    Source: RFC 5321 §4.1.1, §4.5.3.1.4.
    """

    def __init__(self, policy: SMTPPolicy) -> None:
        self._lines = LineBuffer(policy.max_line_octets, lone_lf_ends_line=policy.lone_lf_ends_command)
        self._max_skipped = policy.max_skipped_octets

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def in_line(self) -> bool:
        """Whether a line has begun that is not complete."""
        return self._lines.in_line

    def feed(self, chunk: bytes) -> None:
        """Store a chunk."""
        self._lines.feed(chunk)

    def take_all(self) -> bytes:
        """Take every octet that is left; they are somebody else's now."""
        return self._lines.take_all()

    def next_command(self) -> Command | Complaint | None:
        """The next line as a command, or what is wrong with it; None when more octets are needed."""
        try:
            line = self._lines.next_line()
        except LineTooLong:
            return _TOO_LONG if self._lines.skipped <= self._max_skipped else _ENDLESS
        except BareNewline:
            return _BARE_LF
        if line is None:
            return _ENDLESS if self._lines.skipped > self._max_skipped else None
        return self._parse(line)

    def _parse(self, line: bytes) -> Command | Complaint:
        if b"\0" in line:
            return _NUL
        if not line.strip(b" \t"):
            return _BLANK
        try:
            return parse_command(line)
        except BadCommand as error:
            return Complaint(format_reply(error.code, error.status, error.text))
