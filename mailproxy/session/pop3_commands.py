"""
The commands of a POP3 client: which go to the mail server, and what the others are answered.

What is relayed is a closed list, because the shape of each response has to be known.  Before TLS, where that is
required, nothing is relayed at all.

Source: RFC 1939, RFC 2449 §5 (CAPA), RFC 2595 §4 (STLS).
"""

from __future__ import annotations

from enum import Enum

from attrs import field, frozen

from mailproxy.session.agenda import Agenda
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3_login import ALREADY, APOP_UNSUPPORTED, AUTH_UNSUPPORTED, LOGIN_KEYWORDS, IgnoredLogin
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.pop3_words import BEFORE_TLS, TLS_FIRST, announced
from mailproxy.session.strangers import begins_other_protocol
from mailproxy.session.tally import GREETING, OTHER, POP3_STAGES
from mailproxy.wire.pop3 import RELAYED, Command, POP3Capabilities, format_capabilities, parse_command

_NOT_NOW = b"-ERR STLS not permitted now\r\n"
_INVALID_ARGUMENT = b"-ERR invalid argument\r\n"
_IN_PUBLIC = frozenset({"CAPA", "NOOP", "QUIT"})
"""What tells nobody anything, with TLS or without."""


@frozen
class Relay:
    """The command goes to the mail server as `raw`, which may hold a password."""

    command: Command
    raw: bytes = field(repr=False)


class Deed(Enum):
    """What the session has to do, where it is neither to say something nor to relay it."""

    SECURE = "change to TLS"
    LEAVE = "end, the mail server knows of nothing"
    SEND_AWAY = "end, the client speaks another protocol"


class Commands:
    """
    Says what becomes of each line of the client; keeps what the client has told of itself, and who is logged in.
    """

    __slots__ = (
        "_agenda",
        "_login",
        "_login_over",
        "_login_reported",
        "_offered",
        "_policy",
        "_relayed",
        "_secure",
        "_unencrypted",
        "identified",
        "stage",
    )

    def __init__(self, policy: POP3Policy, agenda: Agenda) -> None:
        self._policy = policy
        self._agenda = agenda
        self._secure = policy.encryption is Encryption.IMPLICIT
        self._offered = POP3Capabilities(None)
        self._login = IgnoredLogin()
        self._login_over = not policy.accept_any_login
        self._login_reported = False
        self._unencrypted = False
        self.stage = GREETING
        """What an answer of ours is an answer to, as it is counted."""
        self._relayed = False
        """A command went to the mail server: it is too late for STLS."""
        self.identified = False
        """The mail server knows whose maildrop it is."""

    @property
    def locked(self) -> bool:
        """Whether TLS is required, and not there yet."""
        return self._policy.encryption is Encryption.REQUIRED and not self._secure

    @property
    def in_login(self) -> bool:
        """Whether the next line is an answer in an exchange of AUTH."""
        return self._login.open

    @property
    def _stls_possible(self) -> bool:
        return self._policy.encryption.by_command and not self._secure and not self._relayed

    # What is known from elsewhere

    def opened(self, offered: POP3Capabilities) -> None:
        """The mail server is there."""
        self._offered = offered
        self.identified = offered.logged_in

    def secured(self) -> None:
        """The client's octets come through TLS: what it said of itself before is forgotten."""
        self._secure = True
        self._login = IgnoredLogin()

    def answered(self, command: Command, *, positive: bool) -> None:
        """The mail server has answered what was relayed."""
        if positive and command.keyword == "PASS":
            self.identified = self._login_over = True

    # Lines of the client

    def take(self, line: bytes) -> bytes | Relay | Deed:
        """What becomes of a line: the answer to it, or else what is to be done."""
        if self._login.open:
            return self._login.answer_line(line)
        self.stage = OTHER
        if begins_other_protocol(line):
            return Deed.SEND_AWAY
        command = parse_command(line)
        if command is None:
            return b"-ERR invalid command\r\n"
        self.stage = POP3_STAGES.get(command.keyword, OTHER)
        if command.keyword == "STLS":
            return self._stls(command)
        if command.keyword not in _IN_PUBLIC:
            self._note_privacy()
        return self._before_tls(command) if self.locked else self._run(command)

    def refuse_line(self, beginning: bytes) -> bytes | Deed:
        """The same for a line that is too long and begins so; an exchange of AUTH, if there was one, is over."""
        self.stage = OTHER
        if begins_other_protocol(beginning) and not self._login.open:
            return Deed.SEND_AWAY
        return self._login.give_up(b"-ERR line too long\r\n")

    def _note_privacy(self) -> None:
        """A client that does without TLS though it is offered is told of once."""
        if self._policy.encryption.by_command and not (self._secure or self._unencrypted):
            self._unencrypted = True
            self._agenda.report("unencrypted")

    def _stls(self, command: Command) -> bytes | Deed:
        if self._stls_possible:
            return _INVALID_ARGUMENT if command.arguments else Deed.SECURE
        if self._secure:
            return b"-ERR TLS is active already\r\n"
        if self.identified and self._login_over:
            return ALREADY
        return b"-ERR STLS not supported\r\n" if self._policy.encryption is Encryption.PLAINTEXT else _NOT_NOW

    def _before_tls(self, command: Command) -> bytes | Deed:
        if command.keyword == "CAPA":
            return format_capabilities(BEFORE_TLS)
        if command.keyword == "NOOP":
            return b"+OK\r\n"
        return Deed.LEAVE if command.keyword == "QUIT" else TLS_FIRST

    def _run(self, command: Command) -> bytes | Relay:
        if command.keyword in LOGIN_KEYWORDS:
            return self._log_in(command)
        if command.keyword == "CAPA":
            return format_capabilities(announced(self._offered, stls=self._stls_possible))
        if command.keyword not in RELAYED or (command.keyword == "LANG" and "LANG" not in self._offered):
            return b"-ERR unknown command\r\n"
        if not self.identified and command.keyword != "QUIT":
            return b"-ERR log in first\r\n"
        if not command.fits:
            return _INVALID_ARGUMENT
        self._login_over = True
        return self._relay(command, command.raw)

    def _log_in(self, command: Command) -> bytes | Relay:
        """The client's own login: relayed where nobody has logged in yet, else played along with or refused."""
        if self.identified and self._login_over:
            return ALREADY
        if command.keyword == "APOP":
            return APOP_UNSUPPORTED
        if self.identified:
            self._report_login(command)
            return self._login.answer(command)
        if command.keyword == "AUTH":
            return AUTH_UNSUPPORTED
        return self._relay(command, command.raw_verbatim) if command.argument else _INVALID_ARGUMENT

    def _relay(self, command: Command, raw: bytes) -> Relay:
        self._relayed = True
        return Relay(command, raw)

    def _report_login(self, command: Command) -> None:
        if not self._login_reported:
            self._login_reported = True
            self._agenda.report("login_ignored", command=command.keyword)
