"""
The mail server of an SMTP session: what it was asked, what its replies mean, and what follows when it is lost.

    NONE --open--> OPENING --opened--> READY --lost, dropped or left--> NONE

Each reply belongs to the first command that has none yet; one that belongs to no command is never passed on.  A 2xx
to MAIL, RCPT or the end of data is only ever the mail server's to that very command.  The final dot goes out only when
the client has sent it and every check of the mail data has passed; whatever fails before it aborts the connection.

Source: RFC 5321 §4.2 (replies), §4.5.4.1 (trying again); RFC 1047 (what may be lost or doubled after the dot).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mailproxy.errors import ConnectionLost, MailProxyError, MalformedReply, UpstreamTimeout, Violation
from mailproxy.session.actions import AbortUpstream, OpenUpstream, ReleaseUpstream
from mailproxy.session.agenda import Agenda
from mailproxy.session.recording import MAX_KEPT_TEXT_OCTETS, Event, NoRecorder
from mailproxy.session.reply_queue import Awaited
from mailproxy.session.smtp_answers import Answers
from mailproxy.session.smtp_content import Content
from mailproxy.session.smtp_input import Complaint
from mailproxy.session.smtp_local import OK
from mailproxy.session.smtp_notes import NoNotes
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.session.smtp_states import Transaction, Upstream
from mailproxy.session.smtp_words import LOST, LOST_IN_DATA, UNKNOWN_DELIVERY, failure_reply
from mailproxy.wire.smtp import Command, Extensions, Reply, ReplyParser, format_reply
from mailproxy.wire.transparency import END

Line = Command | Complaint
"""What a line of the client is."""

_OUR_LOGIN = frozenset({530, 534, 535, 538})
"""Replies that speak of our login at the mail server, not of the client's command."""

_OUT_OF_PLACE = frozenset({220, 221, 235})
"""Positive replies that belong to a greeting, to QUIT and to AUTH, none of which is under way."""


class MailServer:
    """
    Asks the mail server in the client's place, and settles what the client is owed with what it replies.

    Args:
        policy: what becomes of bare newlines, and the largest message.
        answers: what the client is owed.
        agenda: where the actions go.
        notes: what the ledger hears of.
        recorder: keeps what is heard.
    """

    __slots__ = (
        "_agenda",
        "_answers",
        "_asked",
        "_content",
        "_earlier",
        "_fresh",
        "_mended",
        "_messages",
        "_parser",
        "_policy",
        "_recorder",
        "_refusals",
        "_replies",
        "_reused",
        "_taken",
        "_tally",
        "_utf8",
        "notes",
        "offered",
        "receiving",
        "recipients",
        "state",
        "transaction",
        "withdrawn",
    )

    _content: Content
    """The last mail data that the mail server has asked for."""

    def __init__(
        self, policy: SMTPPolicy, answers: Answers, agenda: Agenda, notes: NoNotes, recorder: NoRecorder
    ) -> None:
        self.notes = notes
        self._recorder = recorder
        self._policy = policy
        self._answers = answers
        self._replies = answers.replies
        self._agenda = agenda
        self._parser = ReplyParser()
        self.receiving = False
        """Whether mail data is under way, or is being thrown away: the client has not ended it."""
        self._reused = False
        self._earlier = self._messages = 0
        """Messages that were begun on the connection, by others and by this session."""
        self._taken = False
        self._refusals = 0
        self._mended = False
        self._utf8 = False
        self._fresh = False
        self._asked: list[Line] = []
        self._tally = answers.tally
        self.withdrawn: list[Line] = []
        """What the client has said and is to be carried out once more, in order; whoever takes it leaves nothing."""
        self.state = Upstream.NONE
        self.transaction = Transaction.NONE
        self.offered = Extensions(b"", {})
        """What its last reply to EHLO said."""
        self.recipients = 0
        """Of the current transaction: accepted, or not answered yet."""

    @property
    def worn_out(self) -> bool:
        """Whether no message more may be begun on the connection; the client does not see MAILMAX (RFC 9422 §4.1)."""
        return 0 < self._most_messages <= self._earlier + self._messages

    @property
    def _most_messages(self) -> int:
        return self.offered.limit("MAILMAX")

    @property
    def may_ask_again(self) -> bool:
        """Whether MAIL is awaited, and may have to be tried on another connection, with all that came behind it."""
        return self._reused and bool(self._replies.awaited) and self._replies.awaited[0].awaited is Awaited.MAIL

    def remember(self, line: Line) -> None:
        """The client has said this while `may_ask_again`."""
        self._asked.append(line)

    # The connection

    def open(self) -> None:
        """A session at the mail server is asked for; behind one that was of no use, a fresh one."""
        self.state = Upstream.OPENING
        fresh, self._fresh = self._fresh, False
        self._agenda.add(OpenUpstream(fresh))

    def open_as_known(self, known: Extensions) -> None:
        """The same, where we know what it offered to others before."""
        self.offered = known
        self.transaction = Transaction.NONE
        self.open()

    def opened(self, offered: Extensions, *, reused: bool, messages: int = 0) -> None:
        """It is ready for MAIL; others may have used it before, and begun so many messages."""
        self.state = Upstream.READY
        self.offered = offered
        self.transaction = Transaction.NONE
        self._parser = ReplyParser()
        self._reused = reused
        self._earlier, self._messages = messages, 0
        self._taken = False
        self._refusals = 0
        self._mended = False

    def failed(self) -> None:
        """There is no session."""
        self.state = Upstream.NONE
        self.transaction = Transaction.NONE

    def abandon(self) -> None:
        """The connection, or the attempt at one, ends without a word; nothing is said of it to the client."""
        if self.state is not Upstream.NONE:
            self.state = Upstream.NONE
            self._agenda.add(AbortUpstream())

    def leave(self, *, orderly: bool = True) -> None:
        """
        The connection is not needed any more: a healthy one can be of use to others, or is ended politely.

        `orderly`: the client has done nothing wrong.
        """
        if self.state is Upstream.READY and not self._replies.awaited and not self.receiving:
            self.state = Upstream.NONE
            self._agenda.add(
                ReleaseUpstream(
                    messages=self._messages,
                    taken=self._taken,
                    refusals=self._refusals,
                    reset=self.transaction is Transaction.OPEN,
                    sound=orderly and not (self._parser.pending or self._mended),
                )
            )
            self.transaction = Transaction.NONE
        self.abandon()

    # What it is asked

    def ask_mail(self, command: Command, raw: bytes, *, utf8: bool) -> None:
        """MAIL; `utf8` as RFC 6531 has it, `command` as the client sent it."""
        self._utf8 = utf8
        self.recipients = 0
        self.transaction = Transaction.OPEN
        self._messages += 1
        self._agenda.report("transaction")
        self._asked, self._tally = [command], self._answers.tally
        self.notes.asked()
        self._ask(Awaited.MAIL, raw)

    def ask_rcpt(self, raw: bytes) -> None:
        """RCPT."""
        self.recipients += 1
        self._ask(Awaited.RCPT, raw)

    def ask_data(self) -> None:
        """DATA."""
        self._ask(Awaited.DATA, b"DATA\r\n")

    def ask_rset(self) -> bool:
        """RSET, because the client said so; whether the mail server was asked: it knows only of an open transaction."""
        self.notes.break_off()
        if self.transaction is Transaction.OPEN:
            self._ask(Awaited.RSET, b"RSET\r\n")
            return True
        self.transaction = Transaction.NONE
        return False

    def reset_before(self, command: Command) -> None:
        """RSET, because of the client's EHLO or HELO, which is carried out again when the transaction is over."""
        self.notes.break_off()
        self._asked = [command]
        self._ask(Awaited.EHLO, b"RSET\r\n")

    def _ask(self, awaited: Awaited, raw: bytes) -> None:
        out_of_turn = self._parser.pending and not self._replies.awaited
        self._replies.expect(awaited)
        if out_of_turn:
            self._desync()
        else:
            self._agenda.send_upstream(raw)

    # Mail data

    def send_data(self, chunk: bytes) -> Content:
        """Mail data goes on as far as it may; the message, whose `ended` and `verdict` say what is next."""
        content = self._content
        spoiled = bool(content.verdict)
        raw = content.feed(chunk)
        if self._recorder.on:
            self._note_content(len(chunk), spoiled=spoiled)
        if raw:
            self.notes.content(raw)
            self._agenda.send_upstream(raw)
        if content.verdict and not spoiled:
            self.abandon()
        return content

    def _note_content(self, octets: int, *, spoiled: bool) -> None:
        content = self._content
        if content.ended:
            size = b"" if content.verdict else b"%d" % content.octets
            self._recorder.note(Event.CONTENT_END, octets - len(content.rest), size)
        else:
            self._recorder.flow(Event.CONTENT, octets)
        if content.fault and not spoiled:
            self._recorder.note(Event.SPOILED, content.sound, content.fault.encode())

    def finish_data(self) -> bool:
        """The client has ended its mail data; whether the mail server was told so.  Else the verdict is the reply."""
        if not self._content.verdict and self._parser.pending:
            self._desync()
        self.receiving = False
        if self._content.verdict:
            self.transaction = Transaction.NONE
            self.notes.ruled(self._content.verdict)
            self.notes.end("rejected")
            return False
        self.notes.committed()
        if self._content.mended and not self._mended:
            self._mended = True
            self._agenda.report("newlines_mended", count=self._content.mended)
        self._ask(Awaited.END_OF_DATA, END)
        return True

    # What it says

    def receive(self, chunk: bytes, conceal: Callable[[bytes], bytes]) -> None:
        """Octets of the mail server, cut anywhere; `conceal` takes out of a text what the client must not see."""
        self._parser.feed(chunk)
        try:
            while self.state is Upstream.READY and (reply := self._parser.next_reply()) is not None:
                self._hear(reply.rewritten(conceal))
        except MalformedReply as error:
            self._recorder.note(Event.MALFORMED)
            self.drop(Violation(str(error)))
        else:
            if self._parser.pending:
                self._recorder.note(Event.PARTIAL)

    def receive_late(self) -> None:
        """Octets of a mail server that was asked for nothing: its connection is not to be of use to others."""
        self._agenda.spoil_release()

    def _hear(self, reply: Reply) -> None:
        if self._recorder.on:
            self._recorder.note(Event.REPLY, reply.code, reply.text[:MAX_KEPT_TEXT_OCTETS])
        self._take(reply)

    def _take(self, reply: Reply) -> None:
        awaited = self._replies.awaited[0].awaited if self._replies.awaited else None
        if awaited is None:
            self._unasked(reply)
        elif not _belongs(awaited, reply):
            self.drop(Violation(f"reply {reply.code} to {awaited.value}"))
        else:
            self._refusals += reply.negative
            _ANSWERS[awaited](self, reply)

    def _unasked(self, reply: Reply) -> None:
        """A reply without a command: an early refusal of mail data, a farewell, or a desync."""
        if self.receiving:
            self._early(reply)
        elif reply.code == 421:
            self._agenda.report("upstream_421")
            self.drop(ConnectionLost("the mail server said 421 and closed"))
        else:
            self._desync()

    def _early(self, reply: Reply) -> None:
        believed = reply.negative and reply.code not in _OUR_LOGIN
        if believed:
            self.notes.said(reply)
        closing = "upstream_421" if reply.code == 421 else None
        words = reply.format(utf8=self._utf8) if believed else LOST_IN_DATA
        self._content.spoil(words, closing, upstream=believed)
        self.abandon()

    def _on_mail(self, reply: Reply) -> None:
        if self._stale and (reply.code in _OUR_LOGIN or reply.code == 421):
            self._try_again()
        elif reply.code in _OUR_LOGIN:
            self._refused(reply)
            self._pass_on(reply)
            self.transaction = Transaction.NONE
            self.abandon()
            self._gone(ConnectionLost("the mail server wants another login"))
        else:
            if not reply.positive:
                self._refused(reply)
            self._pass_on(reply)
            if not reply.positive:
                self.transaction = Transaction.NONE

    def _refused(self, reply: Reply) -> None:
        self.notes.said(reply)
        self.notes.end("rejected")

    def _on_rcpt(self, reply: Reply) -> None:
        self.notes.recipient_answered(reply)
        self.recipients -= not reply.positive
        self._pass_on(reply)

    def _on_data(self, reply: Reply) -> None:
        if reply.negative:
            self.notes.said(reply)
        if self._replies.doomed:
            self.abandon()
            self._pass_on(reply)
        elif reply.code == 354:
            self._pass_on(reply)
            self._content = Content(self._policy.bare_newline, self._policy.max_message_octets)
            self.notes.content_begins()
            self.receiving = True
        elif self._replies.awaited[0].ahead:
            self._agenda.report("bad_pipeline")
            self._pass_on(reply, "bad_pipeline")
        else:
            self._pass_on(reply)

    def _on_rset(self, reply: Reply) -> None:
        self.transaction = Transaction.NONE
        if reply.positive:
            self._replies.settle(reply.format(), upstream=True)
        else:
            self._replies.settle(OK)
            self.abandon()

    def _on_ehlo(self, reply: Reply) -> None:
        if not reply.positive:
            self.abandon()
        self._carry_out_again()

    def _on_end_of_data(self, reply: Reply) -> None:
        self.transaction = Transaction.NONE
        self._reused = True
        self.notes.said(reply)
        self.notes.end("accepted" if reply.positive else "rejected")
        if reply.positive:
            self._answers.forgive()
            if self._recorder.on and not self._most_messages:  # which would be remembered
                self._recorder.ripen()
            self._taken = True
            self._refusals = 0
        self._agenda.report(
            "message", code=reply.code, octets=self._content.octets, recipients=self.recipients, text=reply.text
        )
        self._relay(reply)

    def _pass_on(self, reply: Reply, outcome: str | None = None) -> None:
        """The mail server's own words, unless they speak of our login: that is nothing that the client can mend."""
        if reply.code in _OUR_LOGIN:
            self._agenda.report("upstream_login_refused", code=reply.code, text=reply.text)
            self._replies.settle(format_reply(451, "4.7.0", "Upstream authentication failed"), outcome)
        else:
            self._relay(reply, outcome)

    def _relay(self, reply: Reply, outcome: str | None = None) -> None:
        """The mail server's own words; a 421 ends the session after them."""
        if reply.code == 421:
            self.abandon()
            outcome = "upstream_421"
        self._replies.settle(reply.format(utf8=self._utf8), outcome, upstream=True)

    # When it has to be asked again

    @property
    def _stale(self) -> bool:
        """
        Whether what goes wrong with MAIL is the connection's age, and nobody's fault.  Where a line behind it has cost
        the client its session already, there is nothing to try for.
        """
        return self.may_ask_again and not self._replies.closing

    def _try_again(self) -> None:
        """MAIL on a connection that had done its work before is tried once more on a fresh one (RFC 5321 §4.5.4.1)."""
        self.abandon()
        self._reused = False
        self._fresh = True
        self._answers.tally = self._tally
        self._carry_out_again()

    def _carry_out_again(self) -> None:
        """What the client said last is carried out from the beginning, unless it has cost the session already."""
        self.transaction = Transaction.NONE
        self.notes.withdrawn()
        if self._replies.doomed:
            self._replies.settle(b"")
        else:
            self.withdrawn, self._asked = self._asked, []
            self._replies.withdraw()

    # When it is lost

    def lost(self, error: MailProxyError) -> None:
        """The connection ended without our asking."""
        self.state = Upstream.NONE
        self._gone(error)

    def drop(self, error: MailProxyError) -> None:
        """We end the connection, and the client hears of it as the moment demands."""
        self._agenda.report("upstream_dropped", reason=str(error))
        self.abandon()
        self._gone(error)

    def _desync(self) -> None:
        self._agenda.report("upstream_desync")
        self.drop(Violation("the mail server spoke out of turn"))

    def _gone(self, error: MailProxyError) -> None:
        if self.receiving:
            self._content.spoil(LOST_IN_DATA)
        elif not self._replies.awaited and self.transaction is Transaction.OPEN:
            self.transaction = Transaction.DEAD
        if self._stale and not (self._parser.pending or isinstance(error, UpstreamTimeout | Violation)):
            self._try_again()
        while self._replies.awaited:
            self._settle_lost(self._replies.awaited[0].awaited, error)

    def _settle_lost(self, awaited: Awaited | None, error: MailProxyError) -> None:
        """What stands in for the reply to each command that will not have one."""
        if awaited is Awaited.EHLO:
            self._carry_out_again()
        elif awaited in (Awaited.MAIL, Awaited.RSET, Awaited.END_OF_DATA):
            self.transaction = Transaction.NONE
            self._replies.settle(self._last_words(awaited, error))
        elif self._replies.awaited[0].ahead:
            self._replies.settle(LOST, error.outcome)  # or mail data would be read as commands
        elif self.transaction is Transaction.NONE:
            self._replies.settle(format_reply(503, "5.5.1", "Need MAIL first"))
        elif isinstance(error, Violation) and self.transaction is Transaction.OPEN:
            self.transaction = Transaction.DEAD
            self._replies.settle(failure_reply(451, error))
        else:
            self._replies.settle(LOST, error.outcome)

    def _last_words(self, awaited: Awaited, error: MailProxyError) -> bytes:
        if awaited is Awaited.RSET:
            return OK
        words = failure_reply(451, error) if awaited is Awaited.MAIL else UNKNOWN_DELIVERY
        self.notes.ruled(words)
        self.notes.end("rejected" if awaited is Awaited.MAIL else "unknown")
        if awaited is Awaited.MAIL:
            return words
        self._agenda.report("delivery_unknown", reason=str(error), octets=self._content.octets)
        return words


def _belongs(awaited: Awaited, reply: Reply) -> bool:
    """Whether a reply with this code can be one to this command at all."""
    if awaited is Awaited.DATA:
        return reply.code == 354 or reply.negative
    return reply.code // 100 != 3 and reply.code not in _OUT_OF_PLACE


# ruff: noqa: SLF001 - the table below is the class's own, beside it only because methods must exist first
_ANSWERS: Mapping[Awaited, Callable[[MailServer, Reply], None]] = {
    Awaited.MAIL: MailServer._on_mail,
    Awaited.RCPT: MailServer._on_rcpt,
    Awaited.DATA: MailServer._on_data,
    Awaited.RSET: MailServer._on_rset,
    Awaited.EHLO: MailServer._on_ehlo,
    Awaited.END_OF_DATA: MailServer._on_end_of_data,
}
