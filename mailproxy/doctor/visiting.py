"""
The second half of a check: the mail server, from its name to its sign of life.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, NoReturn

import attrs

from mailproxy.assembly import make_connector, stream_maker
from mailproxy.destination.model import Credentials, Login, MailProtocol, TLSMode
from mailproxy.doctor.certificates import SOON_DAYS
from mailproxy.doctor.diagnosis import Diagnosis, StepFailed, stage_of, step_of
from mailproxy.doctor.overheard import STREAMS, OnlyLogin, Watch, WatchedAttempt, WatchedConnector, WatchedTLS
from mailproxy.doctor.steps import Record
from mailproxy.doctor.talk import MarkedMail, Said, Talk, is_mail_address
from mailproxy.errors import DestinationUnusable, MailProxyError, UpstreamError
from mailproxy.recipes import UpstreamRecipe
from mailproxy.tls import TrustSource
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.upstream.words import quoted


@attrs.frozen
class Wishes:
    """
    What is wanted of every check.

    `seconds` bounds a login and each question behind it; None for the configuration's own.  `send_to` is whom a test
    mail goes to, `send_from` who sends it, None for the destination's user.
    """

    seconds: float | None = None
    send_to: str | None = None
    send_from: str | None = None


class Visitor:
    """
    Args:
        recipe: the way to the mail server.
        login: where, and as whom; without credentials where there are none.
        record: what becomes of each step.
        diagnosis: explains failures.
        reactor: connects, resolves names and tells the time.
        trust: whose certificates are believed.
        wishes: what is wanted.
    """

    def __init__(
        self,
        recipe: UpstreamRecipe,
        login: Login,
        record: Record,
        diagnosis: Diagnosis,
        reactor: Any,
        trust: TrustSource,
        wishes: Wishes,
    ) -> None:
        self._recipe = recipe
        self._login = login
        self._record = record
        self._diagnosis = diagnosis
        self._reactor = reactor
        self._trust = trust
        self._wishes = wishes
        self._seconds = recipe.login_seconds if wishes.seconds is None else wishes.seconds
        self._watch = Watch(record, login)

    async def visit(self) -> None:
        """
        The mail server has shown what it can do for us.

        Raises:
            StepFailed: it cannot do enough.
        """
        self._skip_what_is_not_wanted()
        stream = await self._log_in()
        talk = Talk(stream, self._reactor, self._seconds)
        try:
            if self._login.credentials is not None:
                self._record.facts("login", user=self._login.credentials.user)
            await self._probe(talk)
            if self._sends:
                await self._send(talk)
        finally:
            self._record.pause()
            await talk.end(b"QUIT\r\n")

    @property
    def _smtp(self) -> bool:
        return self._login.destination.protocol is MailProtocol.SMTP

    @property
    def _sends(self) -> bool:
        return self._smtp and self._wishes.send_to is not None

    def _skip_what_is_not_wanted(self) -> None:
        mode = self._login.destination.tls.mode
        if mode in (TLSMode.IMPLICIT, TLSMode.NONE, TLSMode.OPPORTUNISTIC):
            why = {TLSMode.IMPLICIT: "TLS comes first", TLSMode.NONE: "the destination wants none"}
            self._record.skip("starttls", why.get(mode, "it is not offered"))
        if mode in (TLSMode.NONE, TLSMode.OPPORTUNISTIC):
            self._record.skip("tls", "the connection is not encrypted")

    # The login

    async def _log_in(self) -> UpstreamStream:
        attempt = WatchedAttempt(self._connector(), self._reactor, self._seconds)
        try:
            stream = await attempt.start()
        except MailProxyError as error:
            step = step_of(error, self._record.current, self._login.destination)
            self._tell_of_peer()
            self._failed(step, stage_of(step, self._login.destination), error, self._watch.told(step))
        self._tell_of_peer()
        return stream

    def _failed(self, step: str, stage: str, error: MailProxyError, told: list[str]) -> NoReturn:
        destination, greeting = self._login.destination, self._watch.heard("greeting")
        raise StepFailed(step, self._diagnosis.of_server(stage, error, destination, told, greeting)) from None

    def _connector(self) -> WatchedConnector:
        recipe = self._recipe
        tls = WatchedTLS(self._trust)
        tls.witness = self._watch.certificates
        connector = make_connector(
            WatchedConnector,
            self._reactor,
            recipe,
            OnlyLogin(self._login),
            tls,
            stream_maker(self._reactor, recipe, made=STREAMS[recipe.protocol].with_watch(self._watch)),
            is_ours=lambda _peer, _own: False,
            random=float,
        )
        connector.watch = self._watch
        return connector

    def _tell_of_peer(self) -> None:
        """What the mail server said and showed of itself, however far it came to that."""
        if greeting := self._watch.heard("greeting"):
            self._record.facts("greeting", says=quoted(greeting.encode("utf-8"), self._login.credentials))
        certificates = self._watch.certificates
        if facts := certificates.facts():
            self._record.facts("tls", **facts)
        left = certificates.days_left(datetime.now(UTC))
        if left is not None and 0 <= left < SOON_DAYS:
            self._record.note(f"a certificate in the chain expires in {left} days", "tls")

    # Behind the login

    async def _probe(self, talk: Talk) -> None:
        """A sign of life: NOOP; in POP3 STAT, which also shows that there is a maildrop."""
        if not self._smtp and self._login.credentials is None:
            self._record.skip("probe", "there is no login")
            return
        command = "NOOP" if self._smtp else "STAT"
        self._record.begin("probe")
        said = await self._ask(
            talk, f"{command}\r\n".encode("ascii"), command, "probe", "mail" if self._smtp else "pop"
        )
        self._record.facts("probe", command=command, reply=self._shown(said))

    async def _send(self, talk: Talk) -> None:
        """The test mail is the mail server's."""
        credentials, send_to = self._login.credentials, self._wishes.send_to
        assert send_to is not None, "nobody wants a test mail"
        self._record.begin("mail")
        mail = MarkedMail(self._wishes.send_from or _sender(credentials), send_to, secrets.token_hex(6))
        self._record.facts("mail", sender=mail.sender, recipient=mail.recipient, message_id=mail.message_id)
        if not is_mail_address(mail.sender):
            self._failed("mail", "mail", DestinationUnusable("mail.user", "is no address; --send-from gives one"), [])
        said = None
        for stage, what, raw in mail.commands(
            self._recipe.reference.name, self._recipe.source.tenant.name, datetime.now(UTC)
        ):
            said = await self._ask(talk, raw, what, "mail", stage)
        assert said is not None, "a mail has commands"
        self._record.facts("mail", reply=self._shown(said))

    async def _ask(self, talk: Talk, raw: bytes, what: str, step: str, stage: str) -> Said:
        """
        A positive reply.

        Raises:
            StepFailed: it is another, or none.
        """
        heard = ""
        try:
            said = await talk.ask(raw, what)
            heard = said.text
            if said.positive:
                return said
            raise _Refused(f"the mail server refused {what}: {self._shown(said)}", temporary=said.temporary)
        except UpstreamError as error:
            self._failed(step, stage, error, [heard])

    def _shown(self, said: Said) -> str:
        return quoted(said.text.replace("\n", " ").encode("utf-8", "replace"), self._login.credentials)


class _Refused(UpstreamError):
    """A negative reply behind the login; the proxy would pass it on to its client."""

    outcome = "relayed"

    def __init__(self, text: str, *, temporary: bool) -> None:
        super().__init__(text)
        self.temporary = temporary


def _sender(credentials: Credentials | None) -> str:
    return "" if credentials is None else credentials.user
