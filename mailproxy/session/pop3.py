"""
One POP3 session of a mail client, joined to one session at the mail server: one login, one maildrop, one lock.

Theory of operation.  The mail server is logged in to before the client is greeted; then the client is in
TRANSACTION state at once.  Commands go upstream one at a time, and only such whose response we can follow; the
responses come back octet for octet.  Everything else is answered here.  Whose turn it is, is the whole state:

    UPSTREAM_LOGIN --opened, greeting--> DOWNSTREAM_COMMAND
    DOWNSTREAM_COMMAND --relayed command--> UPSTREAM_REPLY --status line--> DOWNSTREAM_COMMAND
                                            UPSTREAM_REPLY --+OK, more lines follow--> UPSTREAM_BODY
                                                             UPSTREAM_BODY --final dot--> DOWNSTREAM_COMMAND
    DOWNSTREAM_COMMAND --QUIT--> UPSTREAM_QUIT_REPLY --status line--> NOBODY

What the client sends out of its turn waits in a bounded buffer.  What the mail server sends out of its turn is never
delivered and ends the session.

Deletions are carried out by QUIT (RFC 1939 §6), so QUIT goes upstream only because the client sent it: every other
end aborts the connection to the mail server, which deletes nothing.  And only the mail server ends a multi-line
response: when it is lost inside one, the client's connection is aborted, so that half a mail is not taken for a whole.

Source: RFC 1939, RFC 2449 §6.6 (pipelining).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import frozen

from mailproxy.errors import LineTooLong, MailProxyError, UpstreamTimeout, Violation, WireError
from mailproxy.session.actions import (
    AbortDownstream,
    AbortUpstream,
    Action,
    CloseDownstream,
    OpenUpstream,
    Report,
    SendDownstream,
    SendUpstream,
    Waiting,
)
from mailproxy.session.pop3_login import ALREADY, AUTH_UNSUPPORTED, LOGIN_KEYWORDS, UNSUPPORTED, IgnoredLogin
from mailproxy.session.pop3_words import CONFUSED, LOST, NO_ANSWER, QUIT_LOST, announced, failure_line
from mailproxy.wire.lines import LineBuffer
from mailproxy.wire.pop3 import (
    RELAYED,
    Command,
    MultilineScanner,
    POP3Capabilities,
    format_capabilities,
    parse_command,
    parse_status,
)


@frozen
class POP3Policy:
    """
    Habits and bounds of a POP3 session; sizes in octets.

    `max_queued_octets` bounds what is kept of a client that sends ahead; one more read may come on top of it.
    `max_skipped_octets` of over-long lines end the session.
    """

    accept_any_login: bool = True
    fix_newlines: bool = False
    max_line_octets: int = 512
    max_skipped_octets: int = 8192
    max_queued_octets: int = 65536
    max_status_octets: int = 4096


class POP3Session:
    """
    Decides what follows from each octet of either side; see `session/actions.py` for its owner's part.

    `AbortUpstream` can come while the login is still under way, and then means to give it up.
    """

    def __init__(self, policy: POP3Policy) -> None:
        self.reading = True
        self.reading_upstream = True
        self.waiting = Waiting.UPSTREAM_LOGIN
        self.wait_serial = 0
        self.conceal: Callable[[bytes], bytes] = bytes
        self._policy = policy
        self._actions: deque[Action] = deque()
        self._turn = Waiting.UPSTREAM_LOGIN
        self._steps = 0
        """Commands, responses and pieces of bodies so far: what makes one wait another one."""
        self._lines = LineBuffer(policy.max_line_octets, lone_lf_ends_line=True)
        self._status_lines = LineBuffer(policy.max_status_octets)
        self._body = MultilineScanner()
        self._outstanding = Command("")
        self._offered = POP3Capabilities(None)
        self._login = IgnoredLogin()
        self._login_over = not policy.accept_any_login
        self._login_reported = False
        self._identified = False
        """The mail server knows whose maildrop it is."""
        self._upstream_there = False
        self._downstream_ended = False
        self._downstream_gone = False

    # What the client does

    def start(self) -> None:
        """The client is connected; it is greeted when the mail server is ready, and may send ahead until then."""
        self._upstream_there = True
        self._act(OpenUpstream())

    def receive_downstream(self, chunk: bytes) -> None:
        """Octets of the client, cut anywhere; those behind QUIT are thrown away."""
        if self._turn not in (Waiting.UPSTREAM_QUIT_REPLY, Waiting.NOBODY):
            self._lines.feed(chunk)

    def downstream_ended(self) -> None:
        """The client will send no more: what it sent is answered, then it counts as gone without QUIT."""
        self._downstream_ended = True
        if self._turn is Waiting.UPSTREAM_LOGIN and not self._lines.in_line:
            self._finish(CloseDownstream("downstream_closed"))

    def downstream_lost(self) -> None:
        """The client is gone.  A QUIT that went upstream is seen through; otherwise nothing is deleted."""
        self._downstream_gone = True
        if self._turn is not Waiting.UPSTREAM_QUIT_REPLY:
            self._finish(CloseDownstream("downstream_lost"))

    # What the mail server does

    def upstream_opened(self, capabilities: object) -> None:
        """The mail server is ready for commands; `capabilities` are its `POP3Capabilities`."""
        assert isinstance(capabilities, POP3Capabilities)
        if self._turn is Waiting.UPSTREAM_LOGIN:
            self._offered = capabilities
            self._identified = capabilities.logged_in
            self._say(b"+OK ready\r\n")
            self._next_turn(Waiting.DOWNSTREAM_COMMAND)

    def upstream_failed(self, error: MailProxyError) -> None:
        """The mail server could not be reached, or did not let us in: one line in place of the greeting."""
        self._upstream_there = False
        if self._turn is Waiting.UPSTREAM_LOGIN:
            self._refuse(error)

    def receive_upstream(self, chunk: bytes) -> None:
        """Octets of the mail server, cut anywhere."""
        if not chunk or self._turn is Waiting.NOBODY:
            return
        if self._turn is Waiting.UPSTREAM_BODY:
            self._take_body(chunk)
        elif self._turn in (Waiting.UPSTREAM_REPLY, Waiting.UPSTREAM_QUIT_REPLY):
            self._status_lines.feed(chunk)
            self._take_status()
        else:
            self._desync(chunk)

    def upstream_lost(self, error: MailProxyError) -> None:
        """The connection to the mail server ended without our asking."""
        self._upstream_there = False
        self._give_up(error, LOST)

    # What the clock does

    def expired(self) -> None:
        """The deadline of the current wait has passed; an idle client is sent away without a word."""
        if self._turn is Waiting.DOWNSTREAM_COMMAND:
            self._finish(CloseDownstream("downstream_timeout"))
        else:
            self._drop(UpstreamTimeout(f"the mail server did not answer in time: {self._doing()}"), NO_ANSWER)

    # What follows

    def next_action(self) -> Action | None:
        """Take the next thing to do, or None; the client's commands are taken one by one as it is asked."""
        while not self._actions and self._turn is Waiting.DOWNSTREAM_COMMAND and self._take_line():
            pass
        self._settle()
        return self._actions.popleft() if self._actions else None

    def _settle(self) -> None:
        """Say whose turn it is; the serial moves only when another wait begins."""
        waiting = self._turn
        if waiting is Waiting.DOWNSTREAM_COMMAND and self._lines.in_line:
            waiting = Waiting.DOWNSTREAM_LINE
        if waiting is not self.waiting or self._steps:
            self.waiting = waiting
            self.wait_serial += 1
            self._steps = 0
        self.reading = len(self._lines) < self._policy.max_queued_octets

    # Commands

    def _take_line(self) -> bool:
        """Take a line of the client, if there is one; whether there was."""
        try:
            line = self._lines.next_line()
        except LineTooLong:
            line = None
            self._steps += 1
            self._act(Report("bad_line", {}))
            self._say(self._login.give_up(b"-ERR line too long\r\n"))
        if self._lines.skipped > self._policy.max_skipped_octets:
            self._finish(CloseDownstream("bad_line"))
        elif line is not None:
            self._steps += 1
            self._say(self._login.answer_line(line)) if self._login.open else self._run(parse_command(line))
        elif self._downstream_ended and not self._actions:
            self._finish(CloseDownstream("downstream_closed"))
        return line is not None

    def _run(self, command: Command | None) -> None:
        if command is None:
            self._say(b"-ERR invalid command\r\n")
        elif command.keyword in LOGIN_KEYWORDS:
            self._run_login(command)
        elif command.keyword == "CAPA":
            self._say(format_capabilities(announced(self._offered)))
        elif command.keyword not in RELAYED or (command.keyword == "LANG" and "LANG" not in self._offered):
            self._say(b"-ERR unknown command\r\n")
        elif not self._identified and command.keyword != "QUIT":
            self._say(b"-ERR log in first\r\n")
        elif not command.fits:
            self._say(b"-ERR invalid argument\r\n")
        else:
            self._login_over = True
            self._relay(command, command.raw)

    def _run_login(self, command: Command) -> None:
        """The client's own login: relayed where nobody has logged in yet, else played along with or refused."""
        if self._identified and self._login_over:
            self._say(ALREADY)
        elif command.keyword in UNSUPPORTED or (command.keyword == "AUTH" and not self._identified):
            self._say(UNSUPPORTED.get(command.keyword, AUTH_UNSUPPORTED))
        elif self._identified:
            self._report_login(command)
            self._say(self._login.answer(command))
        elif command.argument:
            self._relay(command, command.raw_verbatim)
        else:
            self._say(b"-ERR invalid argument\r\n")

    def _report_login(self, command: Command) -> None:
        if not self._login_reported:
            self._login_reported = True
            self._act(Report("login_ignored", {"command": command.keyword}))

    def _relay(self, command: Command, raw: bytes) -> None:
        self._outstanding = command
        self._act(SendUpstream(raw))
        if command.keyword == "QUIT":
            self._lines.take_all()
            self._next_turn(Waiting.UPSTREAM_QUIT_REPLY)
        else:
            self._next_turn(Waiting.UPSTREAM_REPLY)

    # Responses

    def _take_status(self) -> None:
        """Pass on a status line once it is complete, and know what comes behind it."""
        try:
            line = self._status_lines.next_line()
            if line is None:
                return
            status = parse_status(line)
        except WireError as error:
            self._drop(Violation(f"{error}: {self._doing()}"), CONFUSED)
            return
        self._say(self.conceal(line) + b"\r\n")
        rest = self._status_lines.take_all()
        if self._turn is Waiting.UPSTREAM_QUIT_REPLY:
            self._finish(CloseDownstream("quit"))
        elif status.positive and self._outstanding.keyword in RELAYED and self._outstanding.multiline:
            self._body = MultilineScanner(fix_newlines=self._policy.fix_newlines)
            self._next_turn(Waiting.UPSTREAM_BODY)
            self.receive_upstream(rest)
        else:
            self._note_login(positive=status.positive)
            self._next_turn(Waiting.DOWNSTREAM_COMMAND)
            self.receive_upstream(rest)

    def _note_login(self, *, positive: bool) -> None:
        if positive and self._outstanding.keyword == "PASS":
            self._identified = self._login_over = True

    def _take_body(self, chunk: bytes) -> None:
        self._steps += 1
        raw = self._body.feed(chunk)
        if raw:
            self._say(raw)
        if self._body.ended:
            self._next_turn(Waiting.DOWNSTREAM_COMMAND)
            self.receive_upstream(self._body.rest)

    # Ends

    def _refuse(self, error: MailProxyError) -> None:
        self._say(failure_line(error))
        self._finish(CloseDownstream(error.outcome))

    def _drop(self, error: MailProxyError, words: bytes) -> None:
        """We end the connection to the mail server; nobody but us knows why."""
        if self._turn is not Waiting.NOBODY:
            self._act(Report("upstream_dropped", {"reason": str(error)}))
            self._give_up(error, words)

    def _doing(self) -> str:
        if self._turn is Waiting.UPSTREAM_LOGIN:
            return "waiting for the login"
        return f"waiting for the response to {self._outstanding.keyword}"

    def _give_up(self, error: MailProxyError, words: bytes) -> None:
        """
        The mail server is of no use any more: the client hears of it as the moment allows.

        Where the client logs in by itself, a mail server may refuse and close; its refusal has to arrive.
        """
        if self._turn is Waiting.UPSTREAM_LOGIN:
            self._refuse(error)
        elif self._turn is Waiting.UPSTREAM_REPLY:
            self._say(words)
            self._finish(CloseDownstream(error.outcome))
        elif self._turn is Waiting.UPSTREAM_QUIT_REPLY:
            self._say(QUIT_LOST)
            self._finish(CloseDownstream(error.outcome))
        elif self._turn is Waiting.DOWNSTREAM_COMMAND and not self._identified:
            self._finish(CloseDownstream(error.outcome))
        else:
            self._finish(AbortDownstream(error.outcome))

    def _desync(self, chunk: bytes) -> None:
        """The mail server spoke out of turn: what it has to say now could be taken for any later response."""
        self._act(Report("upstream_desync", {"octets": len(chunk)}))
        if self._turn is Waiting.UPSTREAM_LOGIN:
            self._say(failure_line(Violation("octets before the login was over")))
        self._finish(CloseDownstream("upstream_desync"))

    def _finish(self, end: CloseDownstream | AbortDownstream) -> None:
        """The session is over, once: nothing that happens afterwards matters."""
        if self._turn is Waiting.NOBODY:
            return
        if self._upstream_there:
            self._act(AbortUpstream())
        self._act(end)
        self._lines.take_all()
        self._next_turn(Waiting.NOBODY)

    # Small things

    def _next_turn(self, turn: Waiting) -> None:
        self._turn = turn
        self._steps += 1

    def _say(self, raw: bytes) -> None:
        if not self._downstream_gone:
            self._act(SendDownstream(raw))

    def _act(self, action: Action) -> None:
        self._actions.append(action)
