"""
The commands of an SMTP client: who answers each, and with what.

MAIL, RCPT, DATA and RSET go to the mail server; EHLO, STARTTLS, QUIT, BDAT and all the rest are answered here.  What
the client has told of itself is kept here, too, so that a new `Commands` knows nothing of it, as STARTTLS wants it.

Source: RFC 5321 §4.1; RFC 3207 (STARTTLS); RFC 3030 §2 (BDAT).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mailproxy.errors import BadCommand, MailProxyError
from mailproxy.session.agenda import Agenda
from mailproxy.session.encryption import Encryption
from mailproxy.session.smtp_answers import Answers
from mailproxy.session.smtp_ehlo import (
    BEFORE_TLS,
    announced,
    format_ehlo,
    mail_parameters,
    needed,
    rcpt_parameters,
    without_size,
)
from mailproxy.session.smtp_groups import LAST_OF_A_GROUP
from mailproxy.session.smtp_input import Complaint
from mailproxy.session.smtp_local import OK, bdat_octets, local_reply
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.session.smtp_states import Next, Transaction, Upstream
from mailproxy.session.smtp_upstream import MailServer
from mailproxy.session.smtp_words import LOST, failure_reply
from mailproxy.wire.smtp import Command, Extensions, format_reply, parse_path_command

_TLS_FIRST = format_reply(530, "5.7.0", "Must issue a STARTTLS command first")
_NO_CHUNKS = format_reply(503, "5.5.1", "CHUNKING not advertised")
_UNRECORDED = format_reply(451, "4.3.0", "Audit ledger not available, try later")
_NOT_NOW = format_reply(451, "4.3.0", "Parameter not available at the moment")

_WITHOUT_TLS = frozenset({b"EHLO", b"HELO", b"NOOP", b"STARTTLS", b"QUIT", b"BDAT"})
"""What is carried out where TLS is required and not there yet; BDAT only so far that its octets are read past."""


_NEEDS_PRIVACY = frozenset({b"MAIL", b"AUTH"})
"""What tells of a client that does without TLS though it is offered."""


class Commands:
    """
    Carries out one command after the other.

    Args:
        policy: habits and bounds.
        answers: what the client is owed.
        server: the mail server.
        agenda: where events go.
        known: what the mail server has offered lately, or None.
        secure: whether the client's octets come through TLS.
    """

    __slots__ = (
        "_agenda",
        "_answers",
        "_failed_logins",
        "_greeted",
        "_keywords",
        "_known",
        "_plain_mail",
        "_policy",
        "_secure",
        "_server",
    )

    def __init__(
        self,
        policy: SMTPPolicy,
        answers: Answers,
        server: MailServer,
        agenda: Agenda,
        known: Callable[[], Extensions | None],
        *,
        secure: bool,
    ) -> None:
        self._policy = policy
        self._answers = answers
        self._server = server
        self._agenda = agenda
        self._known = known
        self._secure = secure
        self._keywords: Mapping[str, str] = {}
        self._greeted = False
        self._failed_logins = 0
        self._plain_mail = False

    @property
    def _starttls_possible(self) -> bool:
        return self._policy.encryption.by_command and not self._secure

    @property
    def _locked(self) -> bool:
        return self._policy.encryption is Encryption.REQUIRED and not self._secure

    def run(self, command: Command, *, ahead: bool) -> Next:
        """Carry out a command; `ahead` says that the client has sent more behind it already."""
        if ahead and (command.verb in LAST_OF_A_GROUP or (command.verb == b"DATA" and self._policy.strict_sync)):
            return Next.DESYNC
        if self._starttls_possible and command.verb in _NEEDS_PRIVACY and not self._plain_mail:
            self._plain_mail = True
            self._agenda.report("esmtp_unencrypted")
        if self._locked and command.verb not in _WITHOUT_TLS:
            self._refuse(command, _TLS_FIRST, ahead=ahead)
            return Next.COMMAND
        try:
            return _COMMANDS.get(command.verb, Commands._answer)(self, command)
        except BadCommand as error:
            self._refuse(command, format_reply(error.code, error.status, error.text), ahead=ahead)
        return Next.COMMAND

    def object_to(self, complaint: Complaint) -> None:
        """A line was no command."""
        if complaint.event is not None:
            self._agenda.report(complaint.event)
        if complaint.outcome is not None:
            self._answers.end(complaint.reply, complaint.outcome)
        elif complaint.junk:
            self._answers.say(complaint.reply)
            self._answers.count_junk()
        else:
            self._answers.complain(complaint.reply)

    def refuse_login(self, command: Command, error: MailProxyError) -> None:
        """There is no mail server for a command: EHLO ends the session with that, MAIL can be tried a few times."""
        self._failed_logins += 1
        if command.verb in (b"EHLO", b"HELO") or self._failed_logins > self._policy.max_failed_logins:
            self._answers.end(failure_reply(421, error), error.outcome)
        else:
            self._answers.say(failure_reply(451, error))
        if command.verb == b"MAIL":
            self._server.notes.ruled(failure_reply(451, error))
            self._server.notes.end("rejected")

    def refuse_chunk(self) -> None:
        """The octets of a BDAT are through."""
        self._answers.complain(_TLS_FIRST if self._locked else _NO_CHUNKS)

    def _refuse(self, command: Command, raw: bytes, *, ahead: bool) -> None:
        """A command fails here; what the client sent behind DATA would be read as commands, so that then it is over."""
        if ahead and command.verb == b"DATA":
            self._agenda.report("bad_pipeline")
            self._answers.end(raw, "bad_pipeline")
        else:
            self._answers.complain(raw)

    # Answered here

    def _answer(self, command: Command) -> Next:
        reply = local_reply(command.verb)
        if reply.error:
            self._answers.complain(reply.raw)
        else:
            self._answers.say(reply.raw)
            self._answers.count_junk()
        return Next.COMMAND

    def _quit(self, _command: Command) -> Next:
        self._answers.end(format_reply(221, "2.0.0", f"{self._policy.server_name} closing connection"), "quit")
        return Next.COMMAND

    def _bdat(self, command: Command) -> Next:
        """A chunk nobody announced is swallowed whole, so that it is never read as commands."""
        octets = bdat_octets(command)
        if octets is None or octets > (self._policy.max_message_octets or self._policy.max_discarded_octets):
            self._answers.end(format_reply(501, "5.5.4", "Bad BDAT"), "bad_line")
            return Next.COMMAND
        return Next.CHUNK

    def _ehlo(self, command: Command) -> Next:
        if not command.argument:
            raise BadCommand(501, "5.5.4", f"Syntax: {command.verb.decode('ascii')} hostname")
        if self._server.state is Upstream.NONE and not self._locked:
            known = self._known()
            if known is None:
                return Next.LOGIN
            self._server.open_as_known(known)
        if self._server.transaction is Transaction.OPEN:
            self._server.reset_before(command)
        else:
            self._greet(command)
        return Next.COMMAND

    def _greet(self, command: Command) -> None:
        self._greeted = True
        self._server.notes.greeted(command.argument)
        self._keywords = {} if command.verb == b"HELO" else self._announced()
        if command.verb == b"HELO":
            self._agenda.report("non_esmtp")
        self._answers.say(format_ehlo(self._policy.server_name, self._keywords))

    def _announced(self) -> Mapping[str, str]:
        if self._locked:
            return BEFORE_TLS
        return announced(
            self._server.offered,
            max_message_octets=self._policy.max_message_octets,
            max_recipients=self._policy.max_recipients,
            starttls=self._starttls_possible,
        )

    def _starttls(self, command: Command) -> Next:
        if self._policy.encryption is Encryption.PLAINTEXT:
            raise BadCommand(502, "5.5.1", "Command not implemented")
        if self._secure:
            raise BadCommand(503, "5.5.1", "TLS is active already")
        if command.argument:
            raise BadCommand(501, "5.5.4", "STARTTLS takes no argument")
        if self._server.transaction is not Transaction.NONE:
            raise BadCommand(503, "5.5.1", "STARTTLS is not possible in a mail transaction")
        self._answers.say(format_reply(220, "2.0.0", "Ready to start TLS"))
        return Next.HANDSHAKE

    # The mail transaction

    def _mail(self, command: Command) -> Next:
        if self._policy.require_helo and not self._greeted:
            raise BadCommand(503, "5.5.1", "Send EHLO first")
        if self._told_of_death():
            return Next.COMMAND
        if self._server.transaction is Transaction.OPEN:
            raise BadCommand(503, "5.5.1", "Nested MAIL command")
        mail = parse_path_command(command)
        parameters = mail_parameters(mail.parameters, self._keywords, self._policy.max_message_octets)
        if not self._server.notes.open:
            self._refuse_mail(_UNRECORDED)
            return Next.COMMAND
        self._server.notes.begin(mail.path)
        if self._server.state is Upstream.READY and self._server.worn_out:
            self._server.leave()
        if self._server.state is not Upstream.READY:
            return Next.LOGIN
        if self._policy.max_message_octets and "SIZE" not in self._server.offered:
            parameters = without_size(parameters)
        if not needed(parameters) <= set(self._server.offered.keywords):
            self._refuse_mail(_NOT_NOW)
        else:
            utf8 = any(each.keyword == "SMTPUTF8" for each in parameters)
            self._server.ask_mail(command, mail.format(parameters), utf8=utf8)
        return Next.COMMAND

    def _refuse_mail(self, raw: bytes) -> None:
        """It was fit to be passed on, and is not."""
        self._server.notes.ruled(raw)
        self._server.notes.end("rejected")
        self._answers.say(raw)

    def _refuse_rcpt(self, path: bytes, raw: bytes) -> None:
        self._server.notes.recipient(path, raw)
        self._answers.say(raw)

    def _rcpt(self, command: Command) -> Next:
        if self._told_of_death():
            return Next.COMMAND
        if self._server.transaction is Transaction.NONE:
            raise BadCommand(503, "5.5.1", "Need MAIL before RCPT")
        rcpt = parse_path_command(command)
        parameters = rcpt_parameters(rcpt.parameters, self._keywords)
        if self._policy.max_recipients and self._server.recipients >= self._policy.max_recipients:
            self._refuse_rcpt(rcpt.path, format_reply(452, "4.5.3", "Too many recipients"))
        elif not needed(parameters) <= set(self._server.offered.keywords):
            self._refuse_rcpt(rcpt.path, _NOT_NOW)
        else:
            self._server.notes.recipient(rcpt.path)
            self._server.ask_rcpt(rcpt.format(parameters))
        return Next.COMMAND

    def _data(self, command: Command) -> Next:
        if self._told_of_death():
            return Next.COMMAND
        if command.argument:
            raise BadCommand(501, "5.5.4", "DATA takes no argument")
        if self._server.transaction is Transaction.NONE:
            raise BadCommand(503, "5.5.1", "Need MAIL before DATA")
        self._server.ask_data()
        return Next.COMMAND

    def _rset(self, _command: Command) -> Next:
        if not self._server.ask_rset():
            self._answers.say(OK)
        self._answers.count_junk()
        return Next.COMMAND

    def _told_of_death(self) -> bool:
        dead = self._server.transaction is Transaction.DEAD
        if dead:
            self._answers.end(LOST, "upstream_lost")
        return dead


# ruff: noqa: SLF001 - the table below is the class's own, beside it only because methods must exist first
_COMMANDS: Mapping[bytes, Callable[[Commands, Command], Next]] = {
    b"EHLO": Commands._ehlo,
    b"HELO": Commands._ehlo,
    b"STARTTLS": Commands._starttls,
    b"MAIL": Commands._mail,
    b"RCPT": Commands._rcpt,
    b"DATA": Commands._data,
    b"BDAT": Commands._bdat,
    b"RSET": Commands._rset,
    b"QUIT": Commands._quit,
}
