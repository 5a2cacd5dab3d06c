"""
One SMTP session of a mail client, joined to a session at the mail server, transaction by transaction.

Theory of operation.  Greeting, EHLO, NOOP, QUIT and the like are answered here.  MAIL, RCPT, DATA, RSET and mail data
go upstream one after the other, and the client gets the mail server's own replies, in the order of its commands.
The mail server is asked for at EHLO, or at MAIL where the client skips EHLO, and kept for the transactions that follow.

    COMMANDS --EHLO or MAIL, no upstream yet--> LOGIN --opened or failed--> COMMANDS
    COMMANDS --354--> CONTENT --CRLF . CRLF--> COMMANDS (the reply to the end of data is awaited)
    COMMANDS --BDAT--> SWALLOWING --its octets are through--> COMMANDS

A 2xx to MAIL, RCPT or the end of data is only ever the mail server's to that very command.  The final dot goes
upstream only because the client sent it and every check of the data has passed; whatever fails before it aborts
the upstream connection.

Source: RFC 5321; RFC 2920 (pipelining); RFC 1047 (what may be lost or doubled after the dot).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from mailproxy.errors import (
    BadCommand,
    ConnectionLost,
    MailProxyError,
    MalformedReply,
    UpstreamTimeout,
    Violation,
)
from mailproxy.session.actions import (
    AbortUpstream,
    Action,
    CloseDownstream,
    OpenUpstream,
    ReleaseUpstream,
    Report,
    SendDownstream,
    SendUpstream,
    Waiting,
)
from mailproxy.session.reply_queue import Awaited, ReplyQueue
from mailproxy.session.smtp_content import Content
from mailproxy.session.smtp_ehlo import announced, format_ehlo, mail_parameters, needed, rcpt_parameters, without_size
from mailproxy.session.smtp_input import CommandInput, Complaint
from mailproxy.session.smtp_local import OK, bdat_octets, is_binary, is_other_protocol, local_reply
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.session.smtp_states import WAITS, Mode, Transaction, Upstream
from mailproxy.session.smtp_words import failure_reply
from mailproxy.wire.smtp import (
    Command,
    Extensions,
    PathCommand,
    Reply,
    ReplyParser,
    format_reply,
    parse_path_command,
)
from mailproxy.wire.transparency import END

_OUR_LOGIN = frozenset({530, 534, 535, 538})
"""Replies that speak of our login at the mail server, not of the client's command."""

_LAST_OF_A_GROUP = frozenset({b"EHLO", b"HELO", b"STARTTLS", b"AUTH"})
"""What a client sends behind them ahead of the reply may be meant otherwise (RFC 2920 §3.1, RFC 3207, RFC 4954)."""

_SYNC = format_reply(554, "5.5.0", "Error: SMTP protocol synchronization")
_LOST = format_reply(421, "4.4.2", "Upstream connection lost")
_NOT_NOW = format_reply(451, "4.3.0", "Parameter not available at the moment")
_UNKNOWN = format_reply(451, "4.4.2", "Delivery status unknown")


class SMTPSession:
    """
    Decides what follows from each octet of either side; see `session/actions.py` for its owner's part.
    """

    def __init__(self, policy: SMTPPolicy) -> None:
        self._policy = policy
        self._actions: deque[Action] = deque()
        self._input = CommandInput(policy)
        self._replies = ReplyQueue()
        self._parser = ReplyParser()
        self._mode = Mode.COMMANDS
        self._upstream = Upstream.NONE
        self._transaction = Transaction.NONE
        self._offered = Extensions(b"", {})
        self._keywords: dict[str, str] = {}
        self._greeted = False
        self._first_command_seen = False
        self._held: Command | None = None
        self._mail: PathCommand | None = None
        self._content = Content(policy.bare_newline, policy.max_message_octets)
        self._swallow = 0
        self._reused = False
        self._recipients = 0
        self._utf8 = False
        self._deaf = False
        self._out_of_sync: str | None = None
        self._input_ended = False
        self._downstream_gone = False
        self._fresh_connection = True
        self._errors = self._junk = self._failed_logins = self._steps = 0
        self._wait: tuple[Waiting, object] = (Waiting.NOBODY, None)
        self.wait_serial = 0
        self.conceal: Callable[[bytes], bytes] = bytes

    # What the owner looks at

    @property
    def waiting(self) -> Waiting:
        """Whose turn it is."""
        return self._wait[0]

    @property
    def reading(self) -> bool:
        """Whether more octets of the client are welcome; there is always room for one more read."""
        return self._mode in (Mode.CONTENT, Mode.SWALLOWING) or len(self._input) < self._policy.max_buffered_octets

    @property
    def reading_upstream(self) -> bool:
        """Replies are always welcome."""
        return True

    def next_action(self) -> Action | None:
        """Take the next thing to do, or None."""
        return self._actions.popleft() if self._actions else None

    # What the owner tells

    def start(self) -> None:
        """The client is connected: it is greeted at once, the mail server is not asked yet."""
        self._replies.say(format_reply(220, "", f"{self._policy.server_name} ESMTP mailproxy"))
        self._advance()

    def receive_downstream(self, chunk: bytes) -> None:
        """Octets of the client, cut anywhere."""
        if self._deaf or not chunk:
            return
        if self._fresh_connection:
            self._fresh_connection = False
            if is_binary(chunk[0]):
                self._close("not_smtp")
                return
        if self._mode is Mode.CONTENT:
            self._take_content(chunk)
        elif self._mode is Mode.SWALLOWING:
            self._take_swallowed(chunk)
        elif self._must_wait():
            self._desync("downstream_desync")
        else:
            self._input.feed(chunk)
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
        self._stop_listening()
        if self._final_awaited():
            self._advance()
        else:
            self._close("downstream_lost")

    def upstream_opened(self, capabilities: object) -> None:
        """The mail server is ready for MAIL; `capabilities` are the `Extensions` of its last EHLO."""
        assert isinstance(capabilities, Extensions)
        self._upstream = Upstream.READY
        self._offered = capabilities
        self._parser = ReplyParser()
        self._reused = False
        self._leave_login(self._run)

    def upstream_failed(self, error: MailProxyError) -> None:
        """The mail server could not be reached, or did not let us in."""
        self._upstream = Upstream.NONE
        self._leave_login(lambda command: self._refuse_login(command, error))

    def receive_upstream(self, chunk: bytes) -> None:
        """Octets of the mail server, cut anywhere."""
        if self._upstream is not Upstream.READY:
            return
        self._parser.feed(chunk)
        try:
            while self._upstream is Upstream.READY and (reply := self._parser.next_reply()) is not None:
                self._take_reply(reply.rewritten(self.conceal))
        except MalformedReply as error:
            self._drop_upstream(Violation(str(error)))
        self._advance()

    def upstream_lost(self, error: MailProxyError) -> None:
        """The connection to the mail server ended without our asking."""
        if self._upstream is Upstream.READY:
            self._upstream_gone(error)
            self._advance()

    def expired(self) -> None:
        """The deadline of the current wait has passed."""
        waiting = self.waiting
        if waiting in (Waiting.DOWNSTREAM_COMMAND, Waiting.DOWNSTREAM_LINE, Waiting.DOWNSTREAM_CONTENT):
            self._replies.say(format_reply(421, "4.4.2", "Timeout, closing connection"), "downstream_timeout")
        elif waiting is Waiting.UPSTREAM_LOGIN:
            self._act(AbortUpstream())
            self.upstream_failed(UpstreamTimeout("no login in time"))
        elif waiting is not Waiting.NOBODY:
            self._drop_upstream(UpstreamTimeout(f"no reply in time while {waiting.name}"))
        self._advance()

    # Taking commands

    def _advance(self) -> None:
        """Go on as far as the input and the replies allow."""
        while self._mode is Mode.COMMANDS and self._step():
            pass
        self._deliver()
        if self._input_ended and self._mode in (Mode.CONTENT, Mode.SWALLOWING):
            self.downstream_lost()
        elif self._input_ended and self._mode is Mode.COMMANDS and not self._replies.awaited:
            self._close("downstream_closed")
        self._note_wait()

    def _step(self) -> bool:
        if len(self._replies) >= self._policy.max_pipelined_commands:
            self._deliver()
            if len(self._replies) >= self._policy.max_pipelined_commands:
                return False
        if self._replies.closing or self._next_is_open():
            return False
        if self._held is None:
            command = self._input.next_command()
            if command is None:
                return False
            self._steps += 1
            if isinstance(command, Complaint):
                self._object(command)
                return True
            self._held = command
        if not self._may_run(self._held):
            return False
        command, self._held = self._held, None
        self._run(command)
        return True

    def _next_is_open(self) -> bool:
        """
        Whether a reply decides what is to be made of the client's next octets.

        They may be mail data, which must not be read as commands.  And behind a MAIL that may have to be tried again
        nothing is taken, or its reply would come first.
        """
        awaited = self._replies.awaited
        if not awaited:
            return False
        return awaited[-1].awaited is Awaited.DATA or (self._reused and awaited[0].awaited is Awaited.MAIL)

    def _object(self, complaint: Complaint) -> None:
        if not complaint.junk:
            self._report("bad_line")
        if complaint.outcome is not None:
            self._end_with(complaint.reply, complaint.outcome)
        elif complaint.junk:
            self._replies.say(complaint.reply)
            self._count_junk()
        else:
            self._complain(complaint.reply)

    def _may_run(self, command: Command) -> bool:
        """Whether a command can be carried out while replies to earlier ones are awaited."""
        awaited = self._replies.awaited
        if not awaited:
            return True
        if command.verb in (b"RCPT", b"DATA"):
            group = all(owed.awaited in (Awaited.MAIL, Awaited.RCPT) for owed in awaited)
            return group and "PIPELINING" in self._offered
        return command.verb not in _COMMANDS and command.verb not in _LAST_OF_A_GROUP

    def _must_wait(self) -> bool:
        """Whether the client has sent a command that must be the last of a group, and has no reply to it yet."""
        if self._held is not None and self._held.verb in _LAST_OF_A_GROUP:
            return True
        return any(
            owed.awaited is Awaited.EHLO or (owed.awaited is Awaited.DATA and self._policy.strict_sync)
            for owed in self._replies.awaited
        )

    def _run(self, command: Command) -> None:
        if not self._first_command_seen:
            self._first_command_seen = True
            if command.verb not in (b"EHLO", b"HELO", b"QUIT"):
                self._report("bad_ehlo")
        if is_other_protocol(command):
            self._end_with(format_reply(421, "4.7.0", "This is a mail server"), "not_smtp")
            return
        if command.verb in _LAST_OF_A_GROUP and len(self._input):
            self._desync("bad_pipeline")
            return
        try:
            _COMMANDS.get(command.verb, SMTPSession._answer)(self, command)
        except BadCommand as error:
            self._complain(format_reply(error.code, error.status, error.text))

    # Commands that are answered here

    def _answer(self, command: Command) -> None:
        reply = local_reply(command.verb)
        if reply.error:
            self._complain(reply.raw)
        else:
            self._replies.say(reply.raw)
            self._count_junk()

    def _quit(self, _command: Command) -> None:
        self._end_with(format_reply(221, "2.0.0", f"{self._policy.server_name} closing connection"), "quit")

    def _bdat(self, command: Command) -> None:
        """A chunk nobody announced is swallowed whole, so that it is never read as commands (RFC 3030 §2)."""
        octets = bdat_octets(command)
        if octets is None or octets > (self._policy.max_message_octets or self._policy.max_discarded_octets):
            self._end_with(format_reply(501, "5.5.4", "Bad BDAT"), "bad_line")
            return
        self._mode = Mode.SWALLOWING
        self._swallow = octets
        self._take_swallowed(self._input.take_all())

    def _take_swallowed(self, chunk: bytes) -> None:
        self._steps += 1
        rest = chunk[self._swallow :]
        self._swallow -= len(chunk) - len(rest)
        if not self._swallow:
            self._mode = Mode.COMMANDS
            self._complain(format_reply(503, "5.5.1", "CHUNKING not advertised"))
            self._input.feed(rest)

    # EHLO

    def _ehlo(self, command: Command) -> None:
        if not command.argument:
            raise BadCommand(501, "5.5.4", f"Syntax: {command.verb.decode('ascii')} hostname")
        if self._upstream is Upstream.NONE:
            self._enter_login(command)
        elif self._transaction is Transaction.OPEN:
            self._held = command
            self._ask(Awaited.EHLO, b"RSET\r\n")
        else:
            self._greet(command)

    def _greet(self, command: Command) -> None:
        self._greeted = True
        self._transaction = Transaction.NONE
        if command.verb == b"HELO":
            self._report("non_esmtp")
            self._keywords = {}
            self._replies.say(format_reply(250, "", self._policy.server_name))
            return
        self._keywords = announced(
            self._offered,
            max_message_octets=self._policy.max_message_octets,
            max_recipients=self._policy.max_recipients,
        )
        self._replies.say(format_ehlo(self._policy.server_name, self._keywords))

    # The mail transaction

    def _start_mail(self, command: Command) -> None:
        if self._policy.require_helo and not self._greeted:
            raise BadCommand(503, "5.5.1", "Send EHLO first")
        if self._told_of_death():
            return
        if self._transaction is Transaction.OPEN:
            raise BadCommand(503, "5.5.1", "Nested MAIL command")
        mail = parse_path_command(command)
        parameters = mail_parameters(mail.parameters, self._keywords, self._policy.max_message_octets)
        if self._upstream is Upstream.NONE:
            self._enter_login(command)
            return
        if self._policy.max_message_octets and "SIZE" not in self._offered:
            parameters = without_size(parameters)
        if not needed(parameters) <= set(self._offered.keywords):
            self._replies.say(_NOT_NOW)
            return
        self._mail = mail
        self._utf8 = any(each.keyword == "SMTPUTF8" for each in parameters)
        self._recipients = 0
        self._transaction = Transaction.OPEN
        self._ask(Awaited.MAIL, mail.format(parameters))

    def _rcpt(self, command: Command) -> None:
        if self._told_of_death():
            return
        if self._transaction is Transaction.NONE:
            raise BadCommand(503, "5.5.1", "Need MAIL before RCPT")
        rcpt = parse_path_command(command)
        parameters = rcpt_parameters(rcpt.parameters, self._keywords)
        if self._policy.max_recipients and self._recipients >= self._policy.max_recipients:
            self._replies.say(format_reply(452, "4.5.3", "Too many recipients"))
            return
        if not needed(parameters) <= set(self._offered.keywords):
            self._replies.say(_NOT_NOW)
            return
        self._recipients += 1
        self._ask(Awaited.RCPT, rcpt.format(parameters))

    def _data(self, command: Command) -> None:
        if len(self._input) and self._policy.strict_sync:
            self._desync("bad_pipeline")
            return
        if self._told_of_death():
            return
        if command.argument:
            self._refuse_data(format_reply(501, "5.5.4", "DATA takes no argument"))
        elif self._transaction is Transaction.NONE:
            self._refuse_data(format_reply(503, "5.5.1", "Need MAIL before DATA"))
        else:
            self._ask(Awaited.DATA, b"DATA\r\n")

    def _refuse_data(self, raw: bytes) -> None:
        """DATA fails; what the client sent behind it would be read as commands, so that then it is over."""
        if len(self._input):
            self._report("bad_pipeline")
        self._complain(raw, outcome="bad_pipeline" if len(self._input) else None)

    def _rset(self, _command: Command) -> None:
        if self._upstream is Upstream.READY and self._transaction is Transaction.OPEN:
            self._ask(Awaited.RSET, b"RSET\r\n")
        else:
            self._transaction = Transaction.NONE
            self._replies.say(OK)
        self._count_junk()

    def _told_of_death(self) -> bool:
        if self._transaction is Transaction.DEAD:
            self._end_with(_LOST, "upstream_lost")
            return True
        return False

    # Mail data

    def _begin_content(self) -> None:
        self._mode = Mode.CONTENT
        self._content = Content(self._policy.bare_newline, self._policy.max_message_octets)
        early = self._input.take_all()
        if early:
            self._take_content(early)

    def _take_content(self, chunk: bytes) -> None:
        content = self._content
        self._steps += 1
        spoiled = bool(content.verdict)
        raw = content.feed(chunk)
        if raw:
            self._act(SendUpstream(raw))
        if content.verdict and not spoiled:
            self._drop_spoiled()
        if content.ended:
            self._end_content()
        elif content.discarded > self._policy.max_discarded_octets:
            self._end_with(content.verdict if content.outcome else _LOST, content.outcome or "upstream_lost")

    def _end_content(self) -> None:
        content = self._content
        if not content.verdict and self._parser.pending:
            self._desync_upstream()
        self._mode = Mode.COMMANDS
        self._input.feed(content.rest)
        if content.verdict:
            self._transaction = Transaction.NONE
            self._complain(content.verdict, outcome=content.outcome)
            return
        if content.mended:
            self._report("newlines_mended", count=content.mended)
        self._ask(Awaited.END_OF_DATA, END)

    def _drop_spoiled(self) -> None:
        """The message will not be completed: the mail server must not see an end of it."""
        if self._upstream is Upstream.READY:
            self._upstream = Upstream.NONE
            self._act(AbortUpstream())

    # Asking the mail server

    def _ask(self, awaited: Awaited, raw: bytes) -> None:
        out_of_turn = self._parser.pending and not self._replies.awaited
        self._replies.expect(awaited)
        if out_of_turn:
            self._desync_upstream()
        else:
            self._act(SendUpstream(raw))

    def _enter_login(self, command: Command) -> None:
        self._held = command
        self._mode = Mode.LOGIN
        if self._upstream is Upstream.NONE:
            self._upstream = Upstream.OPENING
            self._act(OpenUpstream())

    def _leave_login(self, go_on: Callable[[Command], None]) -> None:
        if self._mode is not Mode.LOGIN or self._held is None:
            return
        command, self._held = self._held, None
        self._mode = Mode.COMMANDS
        go_on(command)
        self._advance()

    def _refuse_login(self, command: Command, error: MailProxyError) -> None:
        self._transaction = Transaction.NONE
        self._failed_logins += 1
        if command.verb in (b"EHLO", b"HELO") or self._failed_logins > self._policy.max_failed_logins:
            self._end_with(failure_reply(421, error), error.outcome)
        else:
            self._replies.say(failure_reply(451, error))

    # What the mail server says

    def _take_reply(self, reply: Reply) -> None:
        if not self._replies.awaited:
            self._unasked(reply)
            return
        awaited = self._replies.awaited[0].awaited
        assert awaited is not None
        if reply.code // 100 == 3 and not (awaited is Awaited.DATA and reply.code == 354):
            self._drop_upstream(Violation(f"reply {reply.code} to {awaited.value}"))
        elif awaited is Awaited.DATA and reply.positive:
            self._drop_upstream(Violation(f"reply {reply.code} to DATA"))
        else:
            _ANSWERS[awaited](self, reply)

    def _unasked(self, reply: Reply) -> None:
        """A reply without a command: an early refusal of mail data, a farewell, or a desync."""
        if self._mode is Mode.CONTENT:
            self._early_reply(reply)
        elif reply.code == 421:
            self._report("upstream_421")
            self._drop_upstream(ConnectionLost("the mail server said 421 and closed"))
        else:
            self._desync_upstream()

    def _early_reply(self, reply: Reply) -> None:
        believed = reply.negative and reply.code not in _OUR_LOGIN
        lost = format_reply(451, "4.4.2", "Upstream connection lost")
        closing = "upstream_421" if reply.code == 421 else None
        self._content.spoil(reply.format(utf8=self._utf8) if believed else lost, closing)
        self._drop_spoiled()

    def _on_mail(self, reply: Reply) -> None:
        if reply.code in _OUR_LOGIN or reply.code == 421:
            if self._reused:
                self._retry_mail()
                return
            if reply.code in _OUR_LOGIN:
                self._our_login_refused(reply)
                self._drop_upstream_quietly()
                self._transaction = Transaction.NONE
                self._upstream_gone(ConnectionLost("the mail server wants another login"))
                return
        self._pass_on(reply)
        if not reply.positive:
            self._transaction = Transaction.NONE

    def _on_rcpt(self, reply: Reply) -> None:
        self._recipients -= not reply.positive
        self._pass_on_or_mask(reply)

    def _on_data(self, reply: Reply) -> None:
        if self._out_of_sync is not None:
            self._drop_upstream_quietly()
            self._replies.settle(_SYNC, self._out_of_sync)
        elif reply.code == 354:
            self._pass_on(reply)
            self._begin_content()
        elif len(self._input):
            self._report("bad_pipeline")
            self._replies.settle(reply.format(utf8=self._utf8), "bad_pipeline")
        else:
            self._pass_on_or_mask(reply)

    def _pass_on_or_mask(self, reply: Reply) -> None:
        if reply.code in _OUR_LOGIN:
            self._our_login_refused(reply)
        else:
            self._pass_on(reply)

    def _on_rset(self, reply: Reply) -> None:
        self._transaction = Transaction.NONE
        if reply.positive:
            self._replies.settle(reply.format())
        else:
            self._replies.settle(OK)
            self._drop_upstream_quietly()

    def _on_ehlo(self, reply: Reply) -> None:
        """The transaction is reset; only now EHLO is answered."""
        self._transaction = Transaction.NONE
        if self._out_of_sync is not None:
            self._replies.settle(_SYNC, self._out_of_sync)
            return
        if not reply.positive:
            self._drop_upstream_quietly()
            self._greet_afresh()
            return
        self._replies.withdraw()
        command, self._held = self._held, None
        assert command is not None
        self._greet(command)

    def _greet_afresh(self) -> None:
        """The connection that EHLO was to be answered from is lost; another one is asked for."""
        if self._out_of_sync is not None:
            self._replies.settle(_SYNC, self._out_of_sync)
            return
        self._replies.withdraw()
        command, self._held = self._held, None
        assert command is not None
        self._enter_login(command)

    def _on_end_of_data(self, reply: Reply) -> None:
        self._transaction = Transaction.NONE
        self._reused = True
        if reply.positive:
            self._errors = self._junk = 0
        self._report(
            "message", code=reply.code, octets=self._content.octets, recipients=self._recipients, text=reply.text
        )
        self._pass_on(reply)

    def _pass_on(self, reply: Reply) -> None:
        """The mail server's own words; a 421 ends the session after them."""
        if reply.code == 421:
            self._drop_upstream_quietly()
            self._replies.settle(reply.format(utf8=self._utf8), "upstream_421")
        else:
            self._replies.settle(reply.format(utf8=self._utf8))

    def _our_login_refused(self, reply: Reply) -> None:
        self._report("upstream_login_refused", code=reply.code, text=reply.text)
        self._replies.settle(format_reply(451, "4.7.0", "Upstream authentication failed"))

    def _retry_mail(self) -> None:
        """MAIL on a connection that had done its work before is tried once more on a fresh one (RFC 5321 §4.5.4.1)."""
        mail = self._mail
        assert mail is not None
        self._drop_upstream_quietly()
        self._replies.withdraw()
        self._reused = False
        self._transaction = Transaction.NONE
        raw = mail.format(mail.parameters).removeprefix(b"MAIL ").rstrip()
        self._enter_login(Command(b"MAIL", raw))

    # When the mail server is lost

    def _drop_upstream_quietly(self) -> None:
        self._upstream = Upstream.NONE
        self._act(AbortUpstream())

    def _drop_upstream(self, error: MailProxyError) -> None:
        """We end the connection to the mail server, and the client hears of it as the moment demands."""
        self._report("upstream_dropped", reason=str(error))
        self._drop_upstream_quietly()
        self._upstream_gone(error)

    def _desync_upstream(self) -> None:
        self._report("upstream_desync")
        self._drop_upstream(Violation("the mail server spoke out of turn"))

    def _upstream_gone(self, error: MailProxyError) -> None:
        self._upstream = Upstream.NONE
        if self._mode is Mode.CONTENT:
            self._content.spoil(format_reply(451, "4.4.2", "Upstream connection lost"))
        elif not self._replies.awaited and self._transaction is Transaction.OPEN:
            self._transaction = Transaction.DEAD
        silent = not (self._parser.pending or isinstance(error, UpstreamTimeout | Violation))
        while self._replies.awaited:
            awaited = self._replies.awaited[0].awaited
            if awaited is Awaited.MAIL and self._reused and silent:
                self._retry_mail()
                return
            self._settle_lost(awaited, error)

    def _settle_lost(self, awaited: Awaited | None, error: MailProxyError) -> None:
        replies = self._replies
        if awaited is Awaited.MAIL:
            self._transaction = Transaction.NONE
            replies.settle(failure_reply(451, error))
        elif awaited is Awaited.RSET:
            self._transaction = Transaction.NONE
            replies.settle(OK)
        elif awaited is Awaited.EHLO:
            self._transaction = Transaction.NONE
            self._greet_afresh()
        elif awaited is Awaited.END_OF_DATA:
            self._transaction = Transaction.NONE
            self._report("delivery_unknown", reason=str(error), octets=self._content.octets)
            replies.settle(_UNKNOWN)
        elif awaited is Awaited.DATA and self._out_of_sync is not None:
            replies.settle(_SYNC, self._out_of_sync)
        elif awaited is Awaited.DATA and len(self._input):
            replies.settle(_LOST, error.outcome)  # or mail data would be read as commands
        elif self._transaction is Transaction.NONE:
            replies.settle(format_reply(503, "5.5.1", "Need MAIL first"))
        elif isinstance(error, Violation) and self._transaction is Transaction.OPEN:
            self._transaction = Transaction.DEAD
            replies.settle(failure_reply(451, error))
        else:
            replies.settle(_LOST, error.outcome)

    # Ends

    def _desync(self, event: str) -> None:
        """
        The client spoke when it had to wait: what it sent may not be what it seems (RFC 2920 §3.1).

        Earlier commands keep their replies.  Where the mail server was asked already, its reply is waited for, since
        only then it is known what has to be broken off.
        """
        self._report(event)
        asked = self._replies.awaited and self._replies.awaited[-1].awaited in (Awaited.DATA, Awaited.EHLO)
        self._stop_listening()
        if asked:
            self._out_of_sync = event
        else:
            self._end_with(_SYNC, event)

    def _complain(self, raw: bytes, *, outcome: str | None = None) -> None:
        """A negative reply of our own; too many of them end the session."""
        self._replies.say(raw, outcome)
        self._errors += 1
        if self._errors >= self._policy.max_errors:
            self._too_many()

    def _count_junk(self) -> None:
        self._junk += 1
        if self._junk > self._policy.max_junk_commands:
            self._too_many()

    def _too_many(self) -> None:
        self._end_with(format_reply(421, "4.7.0", "Too many errors"), "too_many_errors")

    def _end_with(self, raw: bytes, outcome: str) -> None:
        """The session ends behind this reply and those before it; no further input is taken."""
        self._stop_listening()
        self._replies.say(raw, outcome)

    def _stop_listening(self) -> None:
        self._deaf = True
        self._input.take_all()
        self._held = None

    def _deliver(self) -> None:
        raw, outcome = self._replies.take_ready()
        if raw:
            self._act(SendDownstream(raw))
        if outcome is not None:
            self._close(outcome)
        elif self._downstream_gone and not self._final_awaited():
            self._close("downstream_lost")

    def _close(self, outcome: str) -> None:
        if self._mode is Mode.ENDED:
            return
        healthy = self._upstream is Upstream.READY and not self._replies.awaited and self._mode is not Mode.CONTENT
        if self._upstream is not Upstream.NONE:
            self._act(ReleaseUpstream() if healthy else AbortUpstream())
        self._upstream = Upstream.NONE
        self._mode = Mode.ENDED
        self._deaf = True
        self._act(CloseDownstream(outcome))
        self._note_wait()

    def _final_awaited(self) -> bool:
        return any(owed.awaited is Awaited.END_OF_DATA for owed in self._replies.awaited)

    # Telling the owner

    def _act(self, action: Action) -> None:
        self._actions.append(action)

    def _report(self, event: str, **fields: object) -> None:
        self._act(Report(event, fields))

    def _note_wait(self) -> None:
        """Name the current wait; its serial moves only when another one begins."""
        wait: tuple[Waiting, object]
        if self._mode is Mode.ENDED:
            wait = (Waiting.NOBODY, None)
        elif self._replies.awaited:
            owed = self._replies.awaited[0]
            wait = (WAITS[owed.awaited] if owed.awaited else Waiting.NOBODY, owed)
        elif self._mode is Mode.LOGIN:
            wait = (Waiting.UPSTREAM_LOGIN, None)
        elif self._mode in (Mode.CONTENT, Mode.SWALLOWING):
            wait = (Waiting.DOWNSTREAM_CONTENT, self._steps)
        else:
            wait = (Waiting.DOWNSTREAM_LINE if self._input.in_line else Waiting.DOWNSTREAM_COMMAND, self._steps)
        if wait != self._wait:
            self._wait = wait
            self.wait_serial += 1


# ruff: noqa: SLF001 - the two tables below are the class's own, beside it only because methods must exist first
_COMMANDS: Mapping[bytes, Callable[[SMTPSession, Command], None]] = {
    b"EHLO": SMTPSession._ehlo,
    b"HELO": SMTPSession._ehlo,
    b"MAIL": SMTPSession._start_mail,
    b"RCPT": SMTPSession._rcpt,
    b"DATA": SMTPSession._data,
    b"BDAT": SMTPSession._bdat,
    b"RSET": SMTPSession._rset,
    b"QUIT": SMTPSession._quit,
}

_ANSWERS: Mapping[Awaited, Callable[[SMTPSession, Reply], None]] = {
    Awaited.MAIL: SMTPSession._on_mail,
    Awaited.RCPT: SMTPSession._on_rcpt,
    Awaited.DATA: SMTPSession._on_data,
    Awaited.RSET: SMTPSession._on_rset,
    Awaited.EHLO: SMTPSession._on_ehlo,
    Awaited.END_OF_DATA: SMTPSession._on_end_of_data,
}
