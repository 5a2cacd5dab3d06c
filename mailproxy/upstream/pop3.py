"""
The login at a POP3 server, on `twisted.mail`'s POP3 client: greeting, CAPA, STLS, CAPA, login; then a bare stream.

What is kept is its commands and states.  What is judged anew: lines are strict and bounded, not one octet may stand
behind a complete response, everything learnt before TLS is forgotten, TLS has the options handed in or does not
begin, the greeting's timestamp starts no APOP, and a login is tried once.

Source: RFC 1939 §4 and §7, RFC 2449 §5, RFC 2595 §4, RFC 5034 §4.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.mail.pop3 import AdvancedPOP3Client, ServerErrorResponse
from twisted.python.failure import Failure

from mailproxy.destination.model import Credentials, Login, Password, TLSMode
from mailproxy.errors import (
    DestinationUnusable,
    LacksMechanism,
    LacksTLS,
    MailProxyError,
    MalformedChallenge,
    MalformedReply,
    RefusedLogin,
    RefusedSession,
    Violation,
    WireError,
)
from mailproxy.tls import StrictClientTLS
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.upstream.words import login_refused, quoted
from mailproxy.wire import sasl
from mailproxy.wire.lines import LineBuffer
from mailproxy.wire.pop3 import MAX_CAPABILITIES, POP3Capabilities, Status, parse_capabilities, parse_status

MAX_COMMAND_OCTETS = 255
"""RFC 2449 §4, RFC 5034 §4: an AUTH command with its initial response is a command line like any other."""

MAX_LINE_OCTETS = 16384
"""Room for a SASL challenge; status lines and capabilities are far shorter (RFC 2449 §4: 512 octets)."""

MAX_CAPABILITY_OCTETS = 512
"""What is kept of one line; RFC 2449 §4."""

MAX_LIST_OCTETS = 32768
"""What is read of a whole list."""

_USER_PASS: Final = "LOGIN"  # noqa: S105 - names a way to log in, is no secret
"""What destinations call USER and PASS; the SASL mechanism of that name is not used in POP3."""

_PASSWORD_ORDER = (_USER_PASS, "PLAIN")
"""For a password, where the destination names no mechanisms: what most servers expect first."""

_ASSUMED = (_USER_PASS, "PLAIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER")
"""Taken to be offered where nothing is known, because CAPA was refused or is not to be asked."""

_TEMPORARY = frozenset({"SYS/TEMP", "IN-USE", "LOGIN-DELAY"})
"""Response codes of a refusal that passes by itself; RFC 2449 §8.1, RFC 3206 §4."""


class POP3Upstream(UpstreamStream, AdvancedPOP3Client):  # type: ignore[misc]  # two names of ours hide two of its, see `_client`
    """
    Logs in as `login` says; `ready` fires with the stream, its `capabilities` the `POP3Capabilities` after the login.

    There is no farewell: QUIT would carry out deletions, so only a session may send it.

    Args:
        clock: for the end of the connection.
        login: where, and as whom.
        tls: options for STLS or, over implicit TLS, None.
        allow_plaintext_auth: credentials may travel unencrypted.
    """

    def __init__(
        self, clock: IReactorTime, login: Login, *, tls: StrictClientTLS | None, allow_plaintext_auth: bool
    ) -> None:
        UpstreamStream.__init__(self, clock, login, over_tls=login.destination.tls.mode is TLSMode.IMPLICIT)
        self._tls = tls
        self._allow_plaintext_auth = allow_plaintext_auth
        self._lines = LineBuffer(MAX_LINE_OCTETS)
        self._status = Status(positive=True)
        self._tls_up: Deferred[None] = Deferred()
        self._conversation: Deferred[None] | None = None

    @property
    def _client(self) -> Any:
        """
        `twisted.mail`'s side of us, which has no annotations.

        Its `login` and `capabilities` are hidden by our attributes of these names: the one would use APOP and knows
        no SASL, the other takes names as they are written.
        """
        return self

    # Lines

    def converse(self, chunk: bytes) -> None:
        """Lines of the login, each judged before `twisted.mail` sees it."""
        self._lines.feed(chunk)
        try:
            while not self.ready.called and (line := self._lines.next_line()) is not None:
                if self._completes(line) and len(self._lines):
                    sentence = f"the mail server spoke out of turn: it said more than asked while we were {self.doing}"
                    raise Violation(sentence).having_seen("upstream_desync")
                self._client.lineReceived(line)
        except WireError as error:
            self.fail(Violation(f"while {self.doing}: {error}"))
        except MailProxyError as error:
            self.fail(error)

    def _completes(self, line: bytes) -> bool:
        """
        Whether a response is complete with this line.

        Raises:
            MalformedReply: it is no line that may stand here.
            Violation: no line may stand here.
            RefusedSession: it is a negative greeting.
        """
        if self.state == "LONG":
            return line == b"."
        if self.state == "WAITING" or self._handshaking:
            raise Violation("the mail server spoke out of turn").having_seen("upstream_desync")
        if self.state == "SASL" and line.startswith(b"+") and line[1:2] in (b"", b" "):
            return True
        self._status = parse_status(line)
        if self.state == "WELCOME" and not self._status.positive:
            raise RefusedSession(f"the mail server refused the session: {self._said()}")
        return not (self.state == "LONG_INITIAL" and self._status.positive)

    def _said(self) -> str:
        return f"-ERR {quoted(self._status.text, self.login.credentials)}"

    # The conversation

    def serverGreeting(self, greeting: bytes) -> None:  # noqa: ARG002, D102 - Twisted's; the text means nothing to us
        self._conversation = Deferred.fromCoroutine(self._log_in())
        self._conversation.addErrback(self._conversation_failed)

    async def _log_in(self) -> None:
        credentials = self.login.credentials
        offered = await self._ask_capabilities()
        if not self.secured and self._wants_tls(offered):
            await self._secure()
            offered = await self._ask_capabilities()
        # Somebody logs in in any case: if not we, then the client, whose password goes the same way.
        if not (self.secured or self._allow_plaintext_auth):
            raise LacksTLS("the connection is not encrypted, and credentials may not travel so")
        if credentials is not None:
            await self._authenticate(offered, credentials)
            offered = await self._ask_capabilities()
        self.logged_in(POP3Capabilities(offered, logged_in=credentials is not None), pending=bool(len(self._lines)))

    def _conversation_failed(self, failure: Failure) -> None:
        """The login's one error; that it was given up is nobody's, and what we did not foresee is our bug."""
        if failure.check(CancelledError):
            return
        if failure.check(WireError):
            failure = Failure(Violation(f"while {self.doing}: {failure.getErrorMessage()}"))
        if isinstance(failure.value, MailProxyError):
            failure.value.having_seen(*self.tls_seen)
        self.abort()
        self.ready.errback(failure)

    async def _ask_capabilities(self) -> Mapping[str, tuple[str, ...]] | None:
        """What the mail server offers at this moment; None where it does not say, or is not to be asked."""
        if not self.login.destination.ask_capabilities:
            return None
        lines: list[bytes] = []
        octets = 0

        def keep(line: bytes) -> None:
            nonlocal octets
            octets += len(line) + 2
            if len(lines) == MAX_CAPABILITIES or octets > MAX_LIST_OCTETS:
                raise MalformedReply(f"more than {MAX_CAPABILITIES} capabilities or {MAX_LIST_OCTETS} octets")
            lines.append(line[:MAX_CAPABILITY_OCTETS])

        self.doing = "waiting for the response to CAPA"
        try:
            await self._client.sendLong(b"CAPA", None, keep, None)
        except ServerErrorResponse:
            return None
        return parse_capabilities(lines)

    # STLS

    def _wants_tls(self, offered: Mapping[str, tuple[str, ...]] | None) -> bool:
        """Whether STLS comes next; where nothing is known of a required one, it is tried."""
        mode = self.login.destination.tls.mode
        if mode is TLSMode.REQUIRED:
            if offered is not None and "STLS" not in offered:
                raise LacksTLS("TLS is required and the mail server does not offer STLS")
            return True
        return mode is TLSMode.OPPORTUNISTIC and offered is not None and "STLS" in offered

    async def _secure(self) -> None:
        self.doing = "waiting for the reply to STLS"
        try:
            await self._client.sendShort(b"STLS", None)
        except ServerErrorResponse:
            refused = LacksTLS(f"the mail server refused STLS: {self._said()}")
            raise refused.having_seen("upstream_starttls_refused") from None
        self._lines = LineBuffer(MAX_LINE_OCTETS)
        self.begin_tls(self._tls)
        await self._tls_up

    def tls_ready(self) -> None:
        """Behind STLS the conversation goes on; behind implicit TLS the greeting is still to come."""
        if self.login.destination.tls.mode is TLSMode.IMPLICIT:
            self.doing = "waiting for the greeting"
        else:
            self._tls_up.callback(None)

    # Login

    async def _authenticate(self, offered: Mapping[str, tuple[str, ...]] | None, credentials: Credentials) -> None:
        name = self._choose(offered, "password" if isinstance(credentials, Password) else "token")
        destination = self.login.destination
        try:
            mechanism = sasl.client(name, credentials.user, credentials.secret, destination.host, destination.port)
        except ValueError as error:
            raise DestinationUnusable("credentials", str(error)) from None
        self.shown = True
        try:
            if name == _USER_PASS:
                await self._user_pass(mechanism)
            else:
                await self._auth(mechanism, in_one_line=isinstance(credentials, Password))
        except ServerErrorResponse:
            raise self._refused(mechanism) from None

    def _choose(self, offered: Mapping[str, tuple[str, ...]] | None, kind: sasl.SecretKind) -> str:
        destination = self.login.destination
        names = _ASSUMED if offered is None else _login_names(offered)
        allowed = destination.mechanisms or (_PASSWORD_ORDER if kind == "password" else None)
        name = sasl.choose(names, secret_kind=kind, allowed=allowed, disabled=destination.disabled)
        if name is None:
            words = self.quoted(" ".join(names).encode("ascii")) or "none"
            raise LacksMechanism(f"no mechanism for a {kind} in common with the mail server, which offers: {words}")
        return name

    async def _user_pass(self, mechanism: sasl.Mechanism) -> None:
        for keyword in (b"USER", b"PASS"):
            self.doing = f"waiting for the reply to {keyword.decode('ascii')}"
            await self._client.sendShort(keyword, mechanism.respond(b""))

    async def _auth(self, mechanism: sasl.Mechanism, *, in_one_line: bool) -> None:
        """
        An AUTH exchange.

        A token goes on a line of its own: it rarely fits, and there are servers that want it so.
        """
        self.doing = f"waiting for the reply to AUTH {mechanism.name}"
        line, initial = b"AUTH " + mechanism.name.encode("ascii"), mechanism.initial()
        if initial is not None and in_one_line:
            whole = line + b" " + b64encode(initial)
            if len(whole) + 2 <= MAX_COMMAND_OCTETS:
                line, initial = whole, None
        challenge = await self._exchange(line)
        while challenge is not None:
            if initial is not None:
                answer, initial = initial, None
            else:
                answer = await self._respond(mechanism, challenge)
            challenge = await self._exchange(b64encode(answer))

    async def _respond(self, mechanism: sasl.Mechanism, challenge: bytes) -> bytes:
        """
        The answer to a challenge.

        Raises:
            MalformedChallenge: there is none.  The exchange was broken off; whatever is said to that, it has failed.

        Source: RFC 5034 §4 (`*` cancels).
        """
        try:
            return mechanism.respond(sasl.decode_challenge(challenge))
        except MalformedChallenge:
            with suppress(ServerErrorResponse):
                await self._exchange(b"*")
            raise

    def _exchange(self, line: bytes) -> Deferred[bytes | None]:
        """Send a line of an AUTH exchange; fires with the challenge that answers it, None when it is over."""
        self._client.sendLine(line)
        self.state = "SASL"
        waiting: Deferred[bytes | None] = Deferred()
        self._waiting = waiting
        return waiting

    def state_SASL(self, line: bytes) -> str:
        """The answer to a line of an AUTH exchange."""
        waiting: Any
        waiting, self._waiting = self._waiting, None
        if line.startswith(b"+") and line[1:2] in (b"", b" "):
            waiting.callback(line[2:])
        elif self._status.positive:
            waiting.callback(None)
        else:
            waiting.errback(ServerErrorResponse(self._status.text))
        return "WAITING"

    def _refused(self, mechanism: sasl.Mechanism) -> RefusedLogin:
        code = self._status.response_code
        return RefusedLogin(
            login_refused(mechanism, self._said()),
            temporary=code in _TEMPORARY,
            response_code=code if code in _TEMPORARY else None,
        )

    # Ends

    def forget_login(self) -> None:
        """The conversation is over."""
        self._tls = None
        del self._lines, self._status, self._tls_up

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: D102 - Twisted's
        super().connectionLost(reason)
        self._stop()

    def abort(self) -> None:
        """The connection ends at once, and with it whatever the login was waiting for."""
        super().abort()
        self._stop()

    def _stop(self) -> None:
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.cancel()


def _login_names(offered: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The ways to log in that a capability list names, in its spelling."""
    names = tuple(name for name in offered.get("SASL", ()) if name.upper() != _USER_PASS)
    return (_USER_PASS, *names) if "USER" in offered else names
