"""
One POP3 session of a mail client, joined to one session at the mail server: one login, one maildrop, one lock.

Theory of operation.  The mail server is logged in to before the client is greeted; then the client is in
TRANSACTION state at once.  Commands go upstream one at a time, and only such whose response we can follow; the
responses come back octet for octet.  Everything else is answered here, see `pop3_commands`.  Whose turn it is, is the
whole state:

    UPSTREAM_LOGIN --opened, greeting--> DOWNSTREAM_COMMAND
    DOWNSTREAM_COMMAND --relayed command--> UPSTREAM_REPLY --status line--> DOWNSTREAM_COMMAND
                                            UPSTREAM_REPLY --+OK, more lines follow--> UPSTREAM_BODY
                                                             UPSTREAM_BODY --final dot--> DOWNSTREAM_COMMAND
    DOWNSTREAM_COMMAND --QUIT--> UPSTREAM_QUIT_REPLY --status line--> NOBODY
    DOWNSTREAM_COMMAND --STLS--> DOWNSTREAM_HANDSHAKE --secured--> DOWNSTREAM_COMMAND

Where TLS is required, the client is greeted without the mail server, and the login comes behind the handshake.

What the client sends out of its turn waits in a bounded buffer.  What the mail server sends out of its turn is never
delivered and ends the session.

Deletions are carried out by QUIT (RFC 1939 §6), so QUIT goes upstream only because the client sent it: every other
end aborts the connection to the mail server, which deletes nothing.  And only the mail server ends a multi-line
response: when it is lost inside one, the client's connection is aborted, so that half a mail is not taken for a whole.

Source: RFC 1939, RFC 2449 §6.6 (pipelining), RFC 2595 §4 (STLS).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from mailproxy.errors import LineTooLong, MailProxyError, UpstreamTimeout, Violation, WireError
from mailproxy.session.actions import (
    AbortDownstream,
    AbortUpstream,
    Action,
    CloseDownstream,
    MaildropVisited,
    OpenUpstream,
    Report,
    SendDownstream,
    SendUpstream,
    StartTLS,
    Waiting,
)
from mailproxy.session.agenda import Agenda
from mailproxy.session.encryption import Encryption
from mailproxy.session.kept_words import note_long_pop3, note_pop3
from mailproxy.session.pop3_commands import Commands, Deed, Relay
from mailproxy.session.pop3_login import LOGIN_KEYWORDS
from mailproxy.session.pop3_notes import VisitNotes
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.pop3_words import CONFUSED, LOST, NO_ANSWER, QUIT_LOST, SHUTDOWN, UNRECORDED, failure_line
from mailproxy.session.recording import BINARY, MAX_KEPT_TEXT_OCTETS, NO_RECORDER, Event, Measure, NoRecorder
from mailproxy.session.strangers import is_binary
from mailproxy.session.tally import key
from mailproxy.session.wait import Wait
from mailproxy.wire.lines import LineBuffer
from mailproxy.wire.pop3 import RELAYED, Command, MultilineScanner, POP3Capabilities, parse_status, relayed

_AT_REST = frozenset({Waiting.UPSTREAM_LOGIN, Waiting.DOWNSTREAM_COMMAND, Waiting.DOWNSTREAM_HANDSHAKE})
"""Nothing of the client's is under way at the mail server."""


class POP3Session:
    """
    Decides what follows from each octet of either side; see `session/actions.py` for its owner's part.

    `AbortUpstream` can come while the login is still under way, and then means to give it up.

    Args:
        policy: habits and bounds.
        counts: where status lines are counted, by the keys of `tally`.
        may_record: whether the ledger takes another session at the moment; None where there is no ledger.
        recorder: keeps what is heard.
    """

    _body: MultilineScanner
    """The last multi-line response."""

    def __init__(
        self,
        policy: POP3Policy,
        counts: Counter[str] | None = None,
        *,
        may_record: Callable[[], bool] | None = None,
        recorder: NoRecorder = NO_RECORDER,
    ) -> None:
        self.recorder = recorder
        self._counts: Counter[str] = Counter() if counts is None else counts
        self.reading = True
        self.reading_upstream = True
        self.conceal: Callable[[bytes], bytes] = bytes
        self.policy = policy
        self._may_record = None if may_record is None else recorder.asking(Event.RECORDABLE, may_record)
        self._agenda = Agenda()
        self._notes = VisitNotes()
        self._asked = False
        """Whether the mail server was asked for."""
        self._commands = Commands(policy, self._agenda)
        self._turn = Waiting.UPSTREAM_LOGIN
        self._wait = Wait(Waiting.UPSTREAM_LOGIN)
        self._steps = 0
        """Commands, responses and pieces of bodies so far: what makes one wait another one."""
        self._lines = self._new_lines()
        self._status_lines = LineBuffer(policy.max_status_octets)
        self._outstanding = Command("")
        self._upstream_there = False
        self.has_spoken = False
        self._draining = False
        self._downstream_ended = False
        self._downstream_gone = False

    @property
    def waiting(self) -> Waiting:
        """Whose turn it is."""
        return self._wait.waiting

    @property
    def wait_serial(self) -> int:
        """Another number with each wait."""
        return self._wait.serial

    @property
    def helo(self) -> tuple[bytes, bool]:
        """No client of POP3 calls itself anything."""
        return b"", False

    # What the client does

    def start(self) -> None:
        """
        The client is connected; it is greeted when the mail server is ready, and may send ahead until then.

        Where TLS is required and still to come, it is greeted at once, and the mail server is left alone until then.
        """
        if self._turn is Waiting.NOBODY:
            return
        if self.policy.encryption is Encryption.IMPLICIT:
            self._agenda.report("downstream_tls")
        if self._commands.locked:
            self._greet()
            self._next_turn(Waiting.DOWNSTREAM_COMMAND)
        else:
            self._open()

    def untold(self) -> list[Report]:
        """What has happened and nobody has been told of, should the session end now."""
        return self._agenda.take_reports()

    def account(self) -> list[MaildropVisited]:
        """What the ledger has to hear, should the session end now; a client that led to nothing is not worth a word."""
        return [self._notes.account()] if self._may_record is not None and self._asked else []

    def _open(self) -> None:
        if self._may_record is not None and not self._may_record():
            self._part(UNRECORDED, "ledger_unavailable")
            return
        self._asked = self._upstream_there = True
        self._act(OpenUpstream())
        self._next_turn(Waiting.UPSTREAM_LOGIN)

    def _greet(self) -> None:
        self._answer(b"+OK ready\r\n")

    def receive_downstream(self, chunk: bytes) -> None:
        """Octets of the client, cut anywhere; those behind QUIT are thrown away."""
        if self._turn is Waiting.DOWNSTREAM_HANDSHAKE and chunk:
            self._agenda.report("downstream_desync")
            self._finish(CloseDownstream("downstream_desync"))
        elif chunk and is_binary(chunk[0]) and not (self.has_spoken or self._lines.in_line):
            self.recorder.note(Event.COMPLAINT, len(chunk), BINARY)
            self._finish(CloseDownstream("not_pop3"))
        elif self._turn not in (Waiting.UPSTREAM_QUIT_REPLY, Waiting.NOBODY):
            self._lines.feed(chunk)

    def downstream_secured(self) -> None:
        """The client speaks through TLS from now on; a session at the mail server stays, or is asked for only now."""
        if self._turn is not Waiting.DOWNSTREAM_HANDSHAKE:
            return
        self._agenda.report("downstream_tls")
        self._lines = self._new_lines()
        self._commands.secured()
        if self._upstream_there:
            self._next_turn(Waiting.DOWNSTREAM_COMMAND)
        else:
            self._open()

    def downstream_ended(self) -> None:
        """The client will send no more: what it sent is answered, then it counts as gone without QUIT."""
        self._downstream_ended = True
        if self._turn is Waiting.DOWNSTREAM_HANDSHAKE:
            self.downstream_lost()
        elif self._turn is Waiting.UPSTREAM_LOGIN and not self._lines.in_line:
            self._finish(CloseDownstream("downstream_closed"))

    def downstream_lost(self) -> None:
        """The client is gone.  A QUIT that went upstream is seen through; otherwise nothing is deleted."""
        self._downstream_gone = True
        if self._turn is Waiting.DOWNSTREAM_HANDSHAKE:
            self._finish(AbortDownstream("downstream_tls_failed"))
        elif self._turn is not Waiting.UPSTREAM_QUIT_REPLY:
            self._finish(CloseDownstream("downstream_lost"))

    # What the mail server does

    def upstream_opened(
        self,
        capabilities: object,
        *,
        reused: bool = False,  # noqa: ARG002 - none is
        messages: int = 0,  # noqa: ARG002 - so that there are none
    ) -> None:
        """The mail server is ready for commands; `capabilities` are its `POP3Capabilities`."""
        assert isinstance(capabilities, POP3Capabilities)
        if self._turn is Waiting.UPSTREAM_LOGIN:
            self._commands.opened(capabilities)
            if self.policy.encryption is not Encryption.REQUIRED:
                self._greet()
            self._next_turn(Waiting.DOWNSTREAM_COMMAND)

    def upstream_failed(self, error: MailProxyError) -> None:
        """The mail server could not be reached, or did not let us in: one line in place of what it waits for."""
        self._upstream_there = False
        if self._turn is Waiting.UPSTREAM_LOGIN:
            self._refuse(error)

    def upstream_wanted(self) -> None:
        """Its connection is of no use to others: a maildrop is locked for the login, and QUIT means something."""

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
            self.recorder.note(Event.MALFORMED, len(chunk))
            self._desync(chunk)

    def upstream_lost(self, error: MailProxyError) -> None:
        """The connection to the mail server ended without our asking."""
        self._upstream_there = False
        self._give_up(error, LOST)

    # What else the owner tells

    def expired(self) -> None:
        """The deadline of the current wait has passed; an idle client is sent away without a word."""
        if self._turn is Waiting.DOWNSTREAM_HANDSHAKE:
            self._finish(AbortDownstream("downstream_tls_failed"))
        elif self._turn is Waiting.DOWNSTREAM_COMMAND:
            self._finish(CloseDownstream("downstream_timeout"))
        else:
            self._drop(UpstreamTimeout(f"the mail server did not answer in time: {self._doing()}"), NO_ANSWER)

    def drain(self) -> None:
        """No new command is carried out; one that the mail server is answering is seen through."""
        self._draining = True

    def cut(self, *, last: bool) -> None:
        """Only the answer to QUIT is waited for from now on, until `last`."""
        if self._turn is Waiting.UPSTREAM_BODY:
            self._finish(AbortDownstream("shutdown"))
        elif self._turn is not Waiting.UPSTREAM_QUIT_REPLY:
            self._shut_down(SHUTDOWN)
        elif last:
            self._shut_down(QUIT_LOST)

    # What follows

    def next_action(self) -> Action | None:
        """Take the next thing to do, or None; the client's commands are taken one by one as it is asked."""
        if self._draining and self._turn in _AT_REST:
            self._shut_down(SHUTDOWN)
        while not self._agenda and self._turn is Waiting.DOWNSTREAM_COMMAND and self._take_line():
            pass
        self._settle()
        return self._agenda.take()

    def _settle(self) -> None:
        """Say whose turn it is, and whether there is room for more of what the client sends ahead."""
        waiting = self._turn
        if waiting is Waiting.DOWNSTREAM_COMMAND and self._lines.in_line:
            waiting = Waiting.DOWNSTREAM_LINE
        elif waiting is Waiting.DOWNSTREAM_COMMAND and not self.has_spoken:
            waiting = Waiting.DOWNSTREAM_FIRST_COMMAND
        self._wait.note(waiting, self._steps)
        self.reading = len(self._lines) < self.policy.max_queued_octets

    # Commands

    def _take_line(self) -> bool:
        """Take a line of the client, if there is one; whether there was."""
        before = Measure(self._lines) if self.recorder.on else None
        try:
            line = self._lines.next_line()
            if before is not None:
                note_pop3(self.recorder, before, line, secret=self._commands.in_login)
        except LineTooLong:
            if before is not None:
                note_long_pop3(self.recorder, before, self._lines)
            line = None
            self.has_spoken = True
            self._steps += 1
            self._agenda.report("bad_line")
            self._follow(self._commands.refuse_line(self._lines.beginning))
        if self._lines.skipped > self.policy.max_skipped_octets:
            self._finish(CloseDownstream("bad_line"))
        elif line is not None:
            self.has_spoken = True
            self._steps += 1
            self._follow(self._commands.take(line))
        elif self._downstream_ended and not self._agenda:
            self._finish(CloseDownstream("downstream_closed"))
        return line is not None

    def _follow(self, answer: bytes | Relay | Deed) -> None:
        if isinstance(answer, Relay):
            self._relay(answer)
        elif answer is Deed.SECURE:
            self._start_tls()
        elif answer is Deed.LEAVE:
            self._part(b"+OK bye\r\n", "quit")
        elif answer is Deed.SEND_AWAY:
            self._part(b"-ERR this is a mail server\r\n", "not_pop3")
        else:
            self._answer(answer)

    def _relay(self, relay: Relay) -> None:
        self._outstanding = relay.command
        self._notes.relayed(relay.command)
        self._act(SendUpstream(relay.raw))
        if relay.command.keyword == "QUIT":
            self._lines.take_all()
            self._next_turn(Waiting.UPSTREAM_QUIT_REPLY)
        else:
            self._next_turn(Waiting.UPSTREAM_REPLY)

    def _start_tls(self) -> None:
        """TLS begins behind our answer, unless there is an octet behind STLS: it would be read as if it were TLS's."""
        if len(self._lines):
            self._agenda.report("bad_pipeline")
            self._part(b"-ERR nothing may follow STLS\r\n", "bad_pipeline")
            return
        self._answer(b"+OK begin TLS\r\n")
        self._act(StartTLS())
        self._next_turn(Waiting.DOWNSTREAM_HANDSHAKE)

    # Responses

    def _take_status(self) -> None:
        """Pass on a status line once it is complete, and know what comes behind it."""
        try:
            line = self._status_lines.next_line()
            if line is None:
                self.recorder.note(Event.PARTIAL)
                return
            status = parse_status(line)
        except WireError as error:
            self.recorder.note(Event.MALFORMED)
            self._drop(Violation(f"{error}: {self._doing()}"), CONFUSED)
            return
        self._notes.answered(self._outstanding, positive=status.positive)
        words = relayed(self.conceal(line))
        self._note_status(words)
        self._answer(words + b"\r\n", upstream=True)
        rest = self._status_lines.take_all()
        if self._turn is Waiting.UPSTREAM_QUIT_REPLY:
            self._finish(CloseDownstream("quit"))
        elif status.positive and self._outstanding.keyword in RELAYED and self._outstanding.multiline:
            self._body = MultilineScanner(fix_newlines=self.policy.fix_newlines)
            self._next_turn(Waiting.UPSTREAM_BODY)
            self.receive_upstream(rest)
        else:
            self._commands.answered(self._outstanding, positive=status.positive)
            self._at_rest(rest)
            self.receive_upstream(rest)

    def _note_status(self, words: bytes) -> None:
        """What answers a login that is the client's own may quote the password."""
        if self._outstanding.keyword in LOGIN_KEYWORDS:
            words, _, _ = words.partition(b" ")
        self.recorder.note(Event.STATUS, 0, words[:MAX_KEPT_TEXT_OCTETS])

    def _take_body(self, chunk: bytes) -> None:
        self._steps += 1
        raw = self._body.feed(chunk)
        if raw:
            self._notes.body(self._outstanding, len(raw))
            self._say(raw)
        if self._body.ended:
            self.recorder.note(Event.BODY_END, len(chunk) - len(self._body.rest))
            self._notes.body_ended(self._outstanding)
            self._at_rest(self._body.rest)
            self.receive_upstream(self._body.rest)
        else:
            self.recorder.flow(Event.BODY, len(chunk))

    def _at_rest(self, rest: bytes) -> None:
        """A response is complete; what was said before it does not matter any more."""
        self._next_turn(Waiting.DOWNSTREAM_COMMAND)
        if not (rest or len(self._lines)):
            self.recorder.rest()

    # Ends

    def _refuse(self, error: MailProxyError) -> None:
        self._part(failure_line(error), error.outcome)

    def _drop(self, error: MailProxyError, words: bytes) -> None:
        """We end the connection to the mail server; nobody but us knows why."""
        if self._turn is not Waiting.NOBODY:
            self._agenda.report("upstream_dropped", reason=str(error))
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
            self._answer(words)
            self._finish(CloseDownstream(error.outcome))
        elif self._turn is Waiting.UPSTREAM_QUIT_REPLY:
            self._answer(QUIT_LOST)
            self._finish(CloseDownstream(error.outcome))
        elif self._turn is Waiting.DOWNSTREAM_COMMAND and not self._commands.identified:
            self._finish(CloseDownstream(error.outcome))
        else:
            self._finish(AbortDownstream(error.outcome))

    def _desync(self, chunk: bytes) -> None:
        """The mail server spoke out of turn: what it has to say now could be taken for any later response."""
        self._agenda.report("upstream_desync", octets=len(chunk))
        if self._turn is Waiting.UPSTREAM_LOGIN:
            self._answer(failure_line(Violation("octets before the login was over")))
        self._finish(CloseDownstream("upstream_desync"))

    def _shut_down(self, words: bytes) -> None:
        if self._turn is not Waiting.NOBODY:
            self._part(words, "shutdown")

    def _part(self, words: bytes, outcome: str) -> None:
        self._answer(words)
        self._finish(CloseDownstream(outcome))

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

    def _answer(self, raw: bytes, *, upstream: bool = False) -> None:
        """A status line, of ours or of the mail server's."""
        self._counts[key(self._commands.stage, raw[0], upstream=upstream)] += 1
        self._say(raw)

    def _say(self, raw: bytes) -> None:
        if not self._downstream_gone:
            self._act(SendDownstream(raw))

    def _act(self, action: Action) -> None:
        self._agenda.add(action)

    def _new_lines(self) -> LineBuffer:
        return LineBuffer(self.policy.max_line_octets, lone_lf_ends_line=True)
