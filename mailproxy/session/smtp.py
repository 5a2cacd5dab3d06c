"""
One SMTP session of a mail client, joined to a session at the mail server, transaction by transaction.

Theory of operation.  Greeting, EHLO, NOOP, QUIT and the like are answered here.  MAIL, RCPT, DATA, RSET and mail data
go upstream one after the other, and the client gets the mail server's own replies, in the order of its commands.
The mail server is asked for at EHLO, or at MAIL where the client skips EHLO, and kept for the transactions that follow.
EHLO has to wait for what it offers, unless that is known from others' sessions; then MAIL is the first to wait.

This module has the client's half: what its octets are, when a command may be carried out, and how the session ends.
`smtp_commands` carries the commands out, `smtp_upstream` is the mail server's half, and between the two halves there is
the queue of the replies that are owed.

    COMMANDS --EHLO or MAIL, no upstream yet--> (it is being opened) --opened or failed--> COMMANDS
    COMMANDS --354--> (mail data) --CRLF . CRLF--> COMMANDS (the reply to the end of data is awaited)
    COMMANDS --BDAT--> SWALLOWING --its octets are through--> COMMANDS
    COMMANDS --STARTTLS--> HANDSHAKE --secured--> COMMANDS (nothing is known of the client any more)

Where TLS is required and not there yet, the mail server is not asked for at all.

Source: RFC 5321; RFC 2920 (pipelining); RFC 3207 (STARTTLS).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from mailproxy.errors import MailProxyError, UpstreamTimeout
from mailproxy.session.actions import (
    AbortDownstream,
    Action,
    CloseDownstream,
    Report,
    SendDownstream,
    StartTLS,
    Transacted,
    Waiting,
)
from mailproxy.session.agenda import Agenda
from mailproxy.session.encryption import Encryption
from mailproxy.session.kept_words import note_smtp
from mailproxy.session.recording import BINARY, NO_RECORDER, Event, Measure, NoRecorder
from mailproxy.session.reply_queue import Awaited
from mailproxy.session.smtp_answers import Answers
from mailproxy.session.smtp_commands import Commands
from mailproxy.session.smtp_groups import may_run, must_be_silent
from mailproxy.session.smtp_input import CommandInput, Complaint
from mailproxy.session.smtp_local import bdat_octets
from mailproxy.session.smtp_notes import NO_NOTES, Notes
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.session.smtp_states import DOWNSTREAM_WAITS, WAITS, Mode, Next, Transaction, Upstream
from mailproxy.session.smtp_upstream import Line, MailServer
from mailproxy.session.smtp_words import SHUTDOWN
from mailproxy.session.strangers import is_binary
from mailproxy.session.tally import CONTENT, OTHER, SMTP_STAGES
from mailproxy.session.wait import Wait
from mailproxy.wire.smtp import Command, Extensions, format_reply

_ORDERLY = frozenset({"quit", "downstream_closed", "downstream_lost", "shutdown"})
"""Ends that say nothing against the connection to the mail server."""

_SYNC = format_reply(554, "5.5.0", "Error: SMTP protocol synchronization")


def _nothing() -> None:
    """Nothing is known of the mail server before it is asked."""


class SMTPSession:
    """
    Decides what follows from each octet of either side; see `session/actions.py` for its owner's part.

    Args:
        policy: habits and bounds.
        known: what the mail server has offered lately, where that is known: EHLO is answered with it at once.
        counts: where replies are counted, by the keys of `tally`.
        may_record: whether the ledger takes another transaction at the moment; None where there is no ledger.
        recorder: keeps what is heard.
    """

    def __init__(
        self,
        policy: SMTPPolicy,
        known: Callable[[], Extensions | None] = _nothing,
        counts: Counter[str] | None = None,
        *,
        may_record: Callable[[], bool] | None = None,
        recorder: NoRecorder = NO_RECORDER,
    ) -> None:
        self.recorder = recorder
        self.policy = policy
        self._known = recorder.asking(Event.KNOWN, known)
        self._agenda = Agenda()
        self._answers = Answers(policy, counts)
        self._replies = self._answers.replies
        notes = NO_NOTES if may_record is None else Notes(self._agenda, recorder.asking(Event.RECORDABLE, may_record))
        self._server = MailServer(policy, self._answers, self._agenda, notes, recorder)
        self._commands = self._new_commands(secure=policy.encryption is Encryption.IMPLICIT)
        self._input = CommandInput(policy)
        self.helo = (b"", False)
        self._mode = Mode.COMMANDS
        self._held: Command | None = None
        """A command that was taken and cannot be carried out yet."""
        self._login_awaited = False
        """It needs the mail server, which is being opened."""
        self._again: list[Line] = []
        """Lines that were taken, and have to be taken once more."""
        self._swallow = 0
        self._steps = 0
        """Commands, and pieces of mail data: what makes one wait another one."""
        self._first_octet_seen = self._first_command_seen = self.has_spoken = False
        self._input_ended = self._downstream_gone = False
        self._draining = False
        self._wanted = False
        """Others wait for our connection."""
        self._wait = Wait(Waiting.NOBODY)
        self.conceal: Callable[[bytes], bytes] = bytes

    # What the owner looks at

    @property
    def waiting(self) -> Waiting:
        """Whose turn it is."""
        return self._wait.waiting

    @property
    def wait_serial(self) -> int:
        """Another number with each wait."""
        return self._wait.serial

    @property
    def reading(self) -> bool:
        """Whether more octets of the client are welcome; there is always room for one more read."""
        return len(self._input) < self.policy.max_buffered_octets or self._server.receiving or self._deaf

    @property
    def reading_upstream(self) -> bool:
        """Replies are always welcome."""
        return True

    def next_action(self) -> Action | None:
        """Take the next thing to do, or None."""
        return self._agenda.take()

    def untold(self) -> list[Report]:
        """What has happened and nobody has been told of, should the session end now."""
        return self._agenda.take_reports()

    def account(self) -> list[Transacted]:
        """What the ledger has to hear of yet, should the session end now."""
        self._server.notes.break_off()
        return self._agenda.take_records()

    # What the owner tells of the client

    def start(self) -> None:
        """The client is connected: it is greeted at once, the mail server is not asked yet."""
        if self._mode is Mode.ENDED:
            return
        if self.policy.encryption is Encryption.IMPLICIT:
            self._agenda.report("downstream_tls")
        self._answers.say(format_reply(220, "", f"{self.policy.server_name} ESMTP mailproxy"))
        self._advance()

    def receive_downstream(self, chunk: bytes) -> None:
        """Octets of the client, cut anywhere."""
        if self._deaf or not chunk:
            return
        if not self._first_octet_seen and is_binary(chunk[0]):
            self.recorder.note(Event.COMPLAINT, len(chunk), BINARY)
            self._close("not_smtp")
            return
        self._first_octet_seen = True
        if self._server.receiving:
            self._take_data(chunk)
        elif self._mode is Mode.SWALLOWING:
            self._take_swallowed(chunk)
        elif self._must_be_silent:
            self._desync("downstream_desync")
        else:
            self._input.feed(chunk)
        self._advance()

    def downstream_secured(self) -> None:
        """The client speaks through TLS from now on: nothing that it said before counts (RFC 3207 §4.2)."""
        if self._mode is not Mode.HANDSHAKE:
            return
        self._agenda.report("downstream_tls")
        self._mode = Mode.COMMANDS
        self._input = CommandInput(self.policy)
        self._commands = self._new_commands(secure=True)
        self.helo = (b"", False)
        self._server.notes.greeted(b"")
        self._answers.forgive()
        self._advance()

    def downstream_ended(self) -> None:
        """The client will send no more, yet may still read: complete commands are answered, then it is over."""
        self._input_ended = True
        self._advance()

    def downstream_lost(self) -> None:
        """The client is gone; only a reply to its end of data is still waited for."""
        if self._mode is Mode.ENDED:
            return
        self._downstream_gone = True
        if self._final_awaited:
            self._advance()
        else:
            self._close("downstream_tls_failed" if self._mode is Mode.HANDSHAKE else "downstream_lost")

    # What the owner tells of the mail server

    def upstream_opened(self, capabilities: object, *, reused: bool = False, messages: int = 0) -> None:
        """The mail server is ready for MAIL; `capabilities` are the `Extensions` of its last EHLO."""
        assert isinstance(capabilities, Extensions)
        if self._server.state is Upstream.OPENING:
            self._login_awaited = self._wanted = False
            self._server.opened(capabilities, reused=reused, messages=messages)
            self._advance()

    def upstream_failed(self, error: MailProxyError) -> None:
        """The mail server could not be reached, or did not let us in; the client hears of it when it asks for it."""
        if self._server.state is Upstream.OPENING:
            self._server.failed()
            if self._login_awaited:
                self._refuse_login(error)

    def upstream_wanted(self) -> None:
        """Others wait for a connection; ours can go as soon as it is between two transactions."""
        self._wanted = True
        self._let_go()

    def receive_upstream(self, chunk: bytes) -> None:
        """Octets of the mail server, cut anywhere."""
        if self._server.state is Upstream.READY:
            self._server.receive(chunk, self.conceal)
            self._advance()
        else:
            self._server.receive_late()

    def upstream_lost(self, error: MailProxyError) -> None:
        """The connection to the mail server ended without our asking."""
        if self._server.state is Upstream.READY:
            self._server.lost(error)
            self._advance()

    # What else the owner tells

    def expired(self) -> None:
        """The deadline of the current wait has passed."""
        waiting = self.waiting
        if waiting is Waiting.DOWNSTREAM_HANDSHAKE:
            self._close("downstream_tls_failed", abort=True)
        elif waiting in DOWNSTREAM_WAITS:
            self._answers.end(format_reply(421, "4.4.2", "Timeout, closing connection"), "downstream_timeout")
        elif waiting is Waiting.UPSTREAM_LOGIN:
            self._server.abandon()
            self._refuse_login(UpstreamTimeout("no login in time"))
        elif waiting is not Waiting.NOBODY:
            self._server.drop(UpstreamTimeout(f"no reply in time while {waiting.name}"))
        self._advance()

    def drain(self) -> None:
        """No new transaction is begun; one that is open is finished."""
        self._draining = True
        self._advance()

    def cut(self, *, last: bool) -> None:
        """Only the reply to the end of data is waited for from now on, until `last`."""
        if self._mode is Mode.ENDED:
            return
        self._draining = True
        if not self._final_awaited:
            self._server.abandon()
            self._replies.break_off(SHUTDOWN, "shutdown")
        elif last:
            self._server.drop(UpstreamTimeout("no reply to the end of mail data before the stop"))
        self._advance()

    # Taking commands

    @property
    def _deaf(self) -> bool:
        """Whether nothing that the client says can make a difference any more."""
        return self._replies.closing or self._downstream_gone or self._mode is Mode.ENDED

    @property
    def _must_be_silent(self) -> bool:
        return self._mode is Mode.HANDSHAKE or must_be_silent(self._held, self._replies, strict=self.policy.strict_sync)

    @property
    def _between_transactions(self) -> bool:
        """Whether nothing is under way that the client could lose."""
        busy = self._replies.awaited or self._server.receiving or self._mode is Mode.SWALLOWING
        return not busy and self._server.transaction is not Transaction.OPEN

    def _advance(self) -> None:
        """Go on as far as the input and the replies allow."""
        if self._server.receiving and len(self._input):
            self._take_data(self._input.take_all())
        if not self._deaf:
            while self._step():
                pass
        if self._replies.awaits_last(Awaited.DATA) and len(self._input):
            self._replies.awaited[-1].ahead = True
        self._deliver()
        if self._wanted:
            self._let_go()
        if self.recorder.ripe:
            self._mark_rest()
        if self._input_ended and not self._replies.awaited:
            self._end_of_input()
        self._wait.note(*self._current_wait())

    def _step(self) -> bool:
        """Take a line of the client, if there is none, and carry it out, if its turn has come; whether it had."""
        if self._draining and self._left_for_good():
            return False
        idle = self._held is None and not (self._again or self._server.withdrawn or self._input.in_line)
        if idle or not self._takes_commands():
            return False
        if self._server.withdrawn:
            self._take_back()
        if self._held is None and not self._take_line():
            return False
        if self._held is None:
            return not self._deaf
        if self._replies.awaited and not self._has_its_turn(self._held):
            return False
        command, self._held = self._held, None
        self._run(command)
        return not self._deaf

    def _has_its_turn(self, command: Command) -> bool:
        """Whether it may join those whose replies are awaited."""
        pipelining = "PIPELINING" in self._server.offered
        return may_run(command, self._replies, pipelining=pipelining, maybe_again=self._server.may_ask_again)

    def _take_back(self) -> None:
        """What has to be carried out again comes before all that was taken since."""
        withdrawn, self._server.withdrawn = self._server.withdrawn, []
        held, self._held = self._held, None
        self._again[:0] = [*withdrawn, held] if held else withdrawn

    def _let_go(self) -> None:
        """The connection goes to others who want it, if nothing is under way on it."""
        if self._server.state is Upstream.READY and self._held is None and self._between_transactions:
            self._server.leave()

    def _left_for_good(self) -> bool:
        if self._between_transactions:
            self._answers.end(SHUTDOWN, "shutdown")
        return self._replies.closing

    def _mark_rest(self) -> None:
        """Behind a message that was taken, what was said before it does not matter any more."""
        held = self._held or self._again or len(self._input)
        if self._server.state is Upstream.READY and not held and self._between_transactions:
            self.recorder.rest()

    def _next_command(self) -> Command | Complaint | None:
        if not self.recorder.on:
            return self._input.next_command()
        before = Measure(self._input)
        line = self._input.next_command()
        note_smtp(self.recorder, before, line)
        return line

    def _take_line(self) -> bool:
        line = self._again.pop(0) if self._again else self._next_command()
        if isinstance(line, Complaint):
            self._remember(line)
            self._replies.stage = OTHER
            self._commands.object_to(line)
        else:
            self._held = line
        self._steps += line is not None
        self.has_spoken = self._steps > 0
        return line is not None

    def _takes_commands(self) -> bool:
        """
        Whether the client's next octets are commands, and may be taken; behind DATA they may be mail data.
        """
        if self._mode is not Mode.COMMANDS or self._server.receiving or self._login_awaited:
            return False
        if self._replies.awaits_last(Awaited.DATA):
            return False
        if len(self._replies) < self.policy.max_pipelined_commands:
            return True
        self._deliver()
        return len(self._replies) < self.policy.max_pipelined_commands

    def _run(self, command: Command) -> None:
        if not self._first_command_seen:
            self._first_command_seen = True
            if command.verb not in (b"EHLO", b"HELO", b"QUIT"):
                self._agenda.report("bad_ehlo")
        if command.verb in (b"EHLO", b"HELO"):
            self.helo = (command.argument, command.verb == b"EHLO")
        self._remember(command)
        self._replies.stage = SMTP_STAGES.get(command.verb, OTHER)
        follows = self._commands.run(command, ahead=bool(self._again or len(self._input)))
        if follows is Next.LOGIN:
            self._held = command
            self._login_awaited = True
            if self._server.state is Upstream.NONE:
                self._server.open()
        elif follows is Next.CHUNK:
            self._mode = Mode.SWALLOWING
            self._swallow = bdat_octets(command) or 0
            self._take_swallowed(self._input.take_all())
        elif follows is Next.HANDSHAKE:
            self._deliver()
            self._agenda.add(StartTLS())
            self._mode = Mode.HANDSHAKE
        elif follows is Next.DESYNC:
            self._desync("bad_pipeline")

    def _remember(self, line: Line) -> None:
        if self._replies.awaited and self._server.may_ask_again:
            self._server.remember(line)

    def _new_commands(self, *, secure: bool) -> Commands:
        return Commands(self.policy, self._answers, self._server, self._agenda, self._known, secure=secure)

    def _refuse_login(self, error: MailProxyError) -> None:
        self._login_awaited = False
        command, self._held = self._held, None
        assert command is not None
        self._commands.refuse_login(command, error)
        self._advance()

    # Octets that are no commands

    def _take_data(self, chunk: bytes) -> None:
        self._steps += 1
        content = self._server.send_data(chunk)
        if content.ended:
            self._input.feed(content.rest)
            self._replies.stage = CONTENT
            if not self._server.finish_data():
                self._answers.complain(content.verdict, outcome=content.outcome, upstream=content.upstream)
        elif content.discarded > self.policy.max_discarded_octets:
            self._replies.stage = CONTENT
            self._answers.end(*content.last_word)

    def _take_swallowed(self, chunk: bytes) -> None:
        self._steps += 1
        rest = chunk[self._swallow :]
        self.recorder.note(Event.SKIPPED, len(chunk) - len(rest))
        self._swallow -= len(chunk) - len(rest)
        if not self._swallow:
            self._mode = Mode.COMMANDS
            self._commands.refuse_chunk()
            self._input.feed(rest)

    # Ends

    def _desync(self, event: str) -> None:
        """
        The client spoke when it had to wait: what it sent may not be what it seems (RFC 2920 §3.1).

        Earlier commands keep their replies.  Where the mail server was asked already, its reply is waited for, since
        only then it is known what has to be broken off.
        """
        self._agenda.report(event)
        self._input.take_all()
        self._again.clear()
        self._held = None
        if self._replies.awaits_last(Awaited.DATA, Awaited.EHLO):
            self._replies.doom(_SYNC, event)
        else:
            self._answers.end(_SYNC, event)

    def _end_of_input(self) -> None:
        """The client has closed its side, and what could be answered is answered."""
        if self._server.receiving or self._mode in (Mode.SWALLOWING, Mode.HANDSHAKE):
            self.downstream_lost()
        elif not self._login_awaited:
            self._close("downstream_closed")

    def _deliver(self) -> None:
        raw, outcome = self._replies.take_ready()
        if raw:
            self._agenda.add(SendDownstream(raw))
        if outcome is not None:
            self._close(outcome)
        elif self._downstream_gone and not self._final_awaited:
            self._close("downstream_lost")

    def _close(self, outcome: str, *, abort: bool = False) -> None:
        if self._mode is Mode.ENDED:
            return
        self._server.leave(orderly=outcome in _ORDERLY)
        self._agenda.add(AbortDownstream(outcome) if abort else CloseDownstream(outcome))
        self._mode = Mode.ENDED
        self._wait.note(*self._current_wait())

    @property
    def _final_awaited(self) -> bool:
        return self._replies.awaits_last(Awaited.END_OF_DATA)

    # Telling the owner whose turn it is

    def _current_wait(self) -> tuple[Waiting, object]:
        """Whose turn it is, and what makes this wait another one than the one before."""
        if self._mode is Mode.ENDED:
            return Waiting.NOBODY, None
        if self._replies.awaited:
            owed = self._replies.awaited[0]
            return (WAITS[owed.awaited] if owed.awaited else Waiting.NOBODY), owed
        if self._login_awaited or self._mode is Mode.HANDSHAKE:
            return (Waiting.UPSTREAM_LOGIN if self._login_awaited else Waiting.DOWNSTREAM_HANDSHAKE), None
        if self._server.receiving or self._mode is Mode.SWALLOWING:
            return Waiting.DOWNSTREAM_CONTENT, self._steps
        if self._input.in_line:
            return Waiting.DOWNSTREAM_LINE, self._steps
        return (Waiting.DOWNSTREAM_COMMAND if self.has_spoken else Waiting.DOWNSTREAM_FIRST_COMMAND), self._steps
