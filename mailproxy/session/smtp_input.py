"""
The command lines of an SMTP client: each is a command, or a complaint about it.
"""

from __future__ import annotations

import re

from attrs import frozen

from mailproxy.errors import BadCommand, BareNewline, LineTooLong
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.session.strangers import begins_other_protocol
from mailproxy.wire.lines import LineBuffer
from mailproxy.wire.smtp import Command, format_reply, parse_command


@frozen
class Complaint:
    """
    What is said of a line that is no command.

    `outcome` not None ends the session with that word; `junk` counts it as idle talk and not as an error; `event` is
    reported.  `kind` is which line it is, in words.
    """

    kind: str
    reply: bytes
    outcome: str | None = None
    junk: bool = False
    event: str | None = "bad_line"


TOO_LONG = "too long"
ENDLESS = "endless"
BARE_LF = "bare LF"
NUL = "NUL"
BLANK = "empty"
STRANGER = "another protocol"
MALFORMED = "malformed"
CHUNK = "BDAT that is malformed or too long"
"""The kinds of complaints."""

_TOO_LONG = Complaint(TOO_LONG, format_reply(500, "5.5.2", "Line too long"))
_CHUNK_TOO_LONG = Complaint(CHUNK, _TOO_LONG.reply, "bad_line")
_TOO_LONG_AT_ONCE = Complaint(TOO_LONG, _TOO_LONG.reply, "bad_line")
_ENDLESS = Complaint(ENDLESS, b"", "bad_line")
_BARE_LF = Complaint(BARE_LF, format_reply(500, "5.5.2", "Bare <LF> received"), "bad_line")
_NUL = Complaint(NUL, format_reply(501, "5.5.2", "NUL is not allowed"), "bad_line")
_BLANK = Complaint(BLANK, format_reply(500, "5.5.2", "Empty command line"), junk=True, event=None)
_BDAT = re.compile(rb"[ \t]*BDAT\b", re.IGNORECASE)
"""Octets follow that are no commands, and a line that is not understood does not say how many (RFC 3030 §2)."""
_STRANGER = Complaint(STRANGER, format_reply(421, "4.7.0", "This is a mail server"), "not_smtp", event=None)


class CommandInput(LineBuffer):
    """
    Octets of the client that are not mail data, until they are taken as commands.

    Source: RFC 5321 §4.1.1, §4.5.3.1.4.
    """

    __slots__ = ("_max_skipped",)

    def __init__(self, policy: SMTPPolicy) -> None:
        super().__init__(policy.max_line_octets, lone_lf_ends_line=policy.lone_lf_ends_command)
        self._max_skipped = policy.max_skipped_octets

    def next_command(self) -> Command | Complaint | None:
        """The next line as a command, or what is wrong with it; None when more octets are needed."""
        try:
            line = self.next_line()
        except LineTooLong:
            if begins_other_protocol(self.beginning):
                return _STRANGER
            if _BDAT.match(self.beginning):
                return _CHUNK_TOO_LONG
            return _TOO_LONG_AT_ONCE if self._endless else _TOO_LONG
        except BareNewline:
            return _ENDLESS if self._endless else _BARE_LF
        if self.skipped and self._endless:
            return _ENDLESS
        return None if line is None else self._parse(line)

    @property
    def _endless(self) -> bool:
        """Whether more was thrown away than anybody may send."""
        return self.skipped > self._max_skipped

    def _parse(self, line: bytes) -> Command | Complaint:
        if b"\0" in line:
            return _NUL
        if not line.strip(b" \t"):
            return _BLANK
        if begins_other_protocol(line):
            return _STRANGER
        try:
            return parse_command(line)
        except BadCommand as error:
            reply = format_reply(error.code, error.status, error.text)
            return Complaint(CHUNK, reply, "bad_line") if _BDAT.match(line) else Complaint(MALFORMED, reply)
