"""
The login at an SMTP server, on `twisted.mail`'s ESMTP client: greeting, EHLO, STARTTLS, EHLO, AUTH; then a bare stream.
Where the mail server takes our word for who the client is, XCLIENT and another EHLO come before AUTH.

What is kept is the conversation and its order.  What is judged anew: replies are parsed strictly and bounded, a reply
that nobody asked for ends the login, not one octet may wait at the switch to TLS and everything learnt before it is
forgotten, TLS is never left out because it is missing, AUTH is tried once, and nothing of it is logged.

Source: RFC 5321 §3.1, RFC 3207 §4, RFC 4954 §4.
"""

from __future__ import annotations

from base64 import b64encode

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.mail.smtp import ESMTPClient
from twisted.python.failure import Failure

from mailproxy.destination.model import Login, Password, TLSMode
from mailproxy.errors import (
    DestinationUnusable,
    LacksMechanism,
    LacksTLS,
    LacksXCLIENT,
    LoopDetected,
    MalformedChallenge,
    MalformedReply,
    RefusedLogin,
    RefusedSession,
    Violation,
)
from mailproxy.tls import StrictClientTLS
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.upstream.words import login_refused, quoted
from mailproxy.wire import sasl
from mailproxy.wire.smtp import Extensions, Reply, ReplyParser, parse_ehlo
from mailproxy.wire.xclient import Telling, format_commands, parse_attributes

MAX_COMMAND_OCTETS = 512
"""RFC 4954 §4: an AUTH command with its initial response is a command line like any other."""

_OURS = ("_mechanism", "_offered", "_parser", "_reply")
_TWISTEDS = ("_expected", "_failresponse", "_okresponse", "authenticators", "context", "log", "resp")
_FOR_THE_LOGIN = (*_OURS, *_TWISTEDS, "successAddresses", "toAddressesResult")


class SMTPUpstream(UpstreamStream, ESMTPClient):
    """
    Logs in as `login` says; `ready` fires with the stream, its `capabilities` the `Extensions` after TLS.

    Args:
        clock: for the farewell.
        login: where, and as whom.
        tls: options for STARTTLS or, over implicit TLS, None.
        ehlo_name: our name towards the mail server, where the destination gives none; None for the address literal of
            our end.
        own_name: what we call ourselves towards clients; a server of that name is a loop.
        allow_plaintext_auth: credentials may travel unencrypted.
        xclient: whether the mail server is told of the client: never, if it offers to hear of it, or in any case.
    """

    debug = False
    heloFallback = False
    farewell = b"QUIT\r\n"

    def __init__(
        self,
        clock: IReactorTime,
        login: Login,
        *,
        tls: StrictClientTLS | None,
        ehlo_name: str | None,
        own_name: str,
        allow_plaintext_auth: bool,
        xclient: Telling = "off",
    ) -> None:
        ESMTPClient.__init__(self, None, tls, login.destination.ehlo_name or ehlo_name or "")
        implicit = login.destination.tls.mode is TLSMode.IMPLICIT
        UpstreamStream.__init__(self, clock, login, over_tls=implicit)
        self._own_name = own_name.encode("ascii").lower()
        self._allow_plaintext_auth = allow_plaintext_auth
        self._xclient = xclient
        self._introducing: list[bytes] | None = None
        """What is still to be said of the client; None before the first word."""
        self._parser = ReplyParser()
        self._asked = True
        self._reply = Reply(0, ())
        self._offered = Extensions(b"", {})
        self._mechanism: sasl.Mechanism | None = None

    # `ESMTPClient` has one, in Python, for the sake of a name of old.
    __setattr__ = object.__setattr__

    def connectionMade(self) -> None:  # noqa: D102 - Twisted's
        super().connectionMade()
        if not self.identity:
            host = self.transport.getHost().host
            self.identity = (f"[IPv6:{host}]" if ":" in host else f"[{host}]").encode("ascii")

    def converse(self, chunk: bytes) -> None:
        """Replies of the login, one at a time."""
        self._parser.feed(chunk)
        try:
            while not self.ready.called and (reply := self._parser.next_reply()) is not None:
                self._take(reply)
        except MalformedReply as error:
            self.fail(Violation(f"while {self.doing}: {error}"))

    def _take(self, reply: Reply) -> None:
        if not self._asked or self._handshaking:
            self.fail(Violation("the mail server spoke out of turn").having_seen("upstream_desync"))
            return
        self._asked = False
        self._reply = reply
        if reply.code not in self._expected:
            self._failresponse(reply.code, reply.text)
        elif self._parser.pending:
            sentence = f"the mail server spoke out of turn: it said more than asked while we were {self.doing}"
            self.fail(Violation(sentence).having_seen("upstream_desync"))
        else:
            self._okresponse(reply.code, reply.text)

    def sendLine(self, line: bytes) -> None:  # noqa: D102 - Twisted's
        self._asked = True
        self.transport.write(line + b"\r\n")

    def _said(self) -> str:
        return f"{self._reply.code} {quoted(self._reply.text, self.login.credentials)}"

    # Greeting and EHLO

    def smtpConnectionFailed(self, code: int, resp: bytes) -> None:  # noqa: ARG002, D102 - Twisted's
        self.fail(RefusedSession(f"the mail server refused the session: {self._said()}"))

    def esmtpState_ehlo(self, code: int, resp: bytes) -> None:  # noqa: D102 - Twisted's
        self.doing = "waiting for the reply to EHLO"
        super().esmtpState_ehlo(code, resp)
        self._expected = [250]

    def esmtpEHLORequired(self, code: int = -1, resp: bytes | None = None) -> None:  # noqa: ARG002, D102 - Twisted's
        self.fail(Violation(f"the mail server refused EHLO: {self._said()}"))

    def esmtpState_serverConfig(self, code: int, resp: bytes) -> None:  # noqa: D102 - Twisted's
        self._offered = parse_ehlo(self._reply)
        if self._offered.domain.lower() == self._own_name:
            self.fail(LoopDetected("the mail server calls itself by our own name: the destination leads back to us"))
            return
        self.tryTLS(code, resp, self._offered)

    # STARTTLS

    def tryTLS(self, code: int, resp: bytes, items: Extensions) -> None:  # noqa: D102 - Twisted's
        mode = self.login.destination.tls.mode
        wanted = mode in (TLSMode.REQUIRED, TLSMode.OPPORTUNISTIC) and not self.secured
        if wanted and "STARTTLS" in items:
            self.doing = "waiting for the reply to STARTTLS"
            self._expected = [220]
            self._okresponse = self.esmtpState_starttls
            self._failresponse = self.esmtpTLSFailed
            self.sendLine(b"STARTTLS")
        elif wanted and mode is TLSMode.REQUIRED:
            self.fail(LacksTLS("TLS is required and the mail server does not offer STARTTLS"))
        else:
            self.authenticate(code, resp, items)

    def esmtpTLSFailed(self, code: int = -1, resp: bytes | None = None) -> None:  # noqa: ARG002, D102 - Twisted's
        refused = LacksTLS(f"the mail server refused STARTTLS: {self._said()}")
        self.fail(refused.having_seen("upstream_starttls_refused"))

    def esmtpState_starttls(self, code: int, resp: bytes) -> None:  # noqa: ARG002, D102 - Twisted's
        self._offered = Extensions(b"", {})
        self.begin_tls(self.context)

    def tls_ready(self) -> None:
        """Behind STARTTLS the conversation begins anew; behind implicit TLS the greeting is still to come."""
        if self.login.destination.tls.mode is TLSMode.IMPLICIT:
            self.doing = "waiting for the greeting"
            return
        self._parser = ReplyParser()
        self.esmtpState_ehlo(220, b"")

    # XCLIENT

    def _begins_introduction(self, items: Extensions) -> bool:
        """
        Whether the login has to wait, or has failed: something is said of the client first, if the mail server listens.
        """
        if self._xclient == "off" or self.introduction is None or self._introducing is not None:
            return False
        offered = parse_attributes(items.get("XCLIENT"))
        self._introducing = format_commands(self.introduction, offered)
        if self._xclient == "required" and "ADDR" not in offered:
            self.fail(LacksXCLIENT("XCLIENT is required and the mail server does not offer it with ADDR"))
            return True
        if not self._introducing:
            return False
        self._introduce()
        return True

    def _introduce(self, code: int = 220, resp: bytes = b"") -> None:
        """One command after the other; behind the last one the session begins anew, without another greeting."""
        if not self._introducing:
            self.esmtpState_ehlo(code, resp)
            return
        self.doing = "waiting for the reply to XCLIENT"
        self._expected = [220, 250]
        self._okresponse = self._introduce
        self._failresponse = self._introduction_refused
        self.sendLine(self._introducing.pop(0))

    def _introduction_refused(self, code: int, resp: bytes) -> None:  # noqa: ARG002 - the shape of a state
        self.fail(RefusedSession(f"the mail server refused XCLIENT: {self._said()}"))

    # AUTH

    def authenticate(self, code: int, resp: bytes, items: Extensions) -> None:  # noqa: D102 - Twisted's
        if self._begins_introduction(items):
            return
        destination, credentials = self.login.destination, self.login.credentials
        if credentials is None:
            self.smtpState_from(code, resp)
            return
        if not (self.secured or self._allow_plaintext_auth):
            self.fail(LacksTLS("the connection is not encrypted, and credentials may not travel so"))
            return
        kind: sasl.SecretKind = "password" if isinstance(credentials, Password) else "token"
        name = sasl.choose(
            items.get("AUTH"), secret_kind=kind, allowed=destination.mechanisms, disabled=destination.disabled
        )
        if name is None:
            offered = self.quoted(" ".join(items.get("AUTH")).encode("ascii")) or "none"
            self.fail(
                LacksMechanism(f"no mechanism for a {kind} in common with the mail server, which offers: {offered}")
            )
            return
        try:
            self._mechanism = sasl.client(
                name, credentials.user, credentials.secret, destination.host, destination.port
            )
        except ValueError as error:
            self.fail(DestinationUnusable("credentials", str(error)))
            return
        self._start_auth(name, self._mechanism.initial())

    def _start_auth(self, name: str, initial: bytes | None) -> None:
        self.doing = f"waiting for the reply to AUTH {name}"
        command = b"AUTH " + name.encode("ascii")
        self._expected = [235, 334]
        self._okresponse = self._auth_goes_on
        self._failresponse = self._auth_refused
        self._initial = initial
        if initial is not None and isinstance(self.login.credentials, Password):
            line = command + b" " + (b64encode(initial) or b"=")
            if len(line) + 2 <= MAX_COMMAND_OCTETS:
                command, self._initial = line, None
        self.shown = True
        self.sendLine(command)

    def _auth_goes_on(self, code: int, resp: bytes) -> None:
        if code == 235:
            self.smtpState_from(code, resp)
            return
        assert self._mechanism is not None
        try:
            if self._initial is not None:
                answer, self._initial = self._initial, None
            else:
                answer = self._mechanism.respond(sasl.decode_challenge(resp))
        except MalformedChallenge as error:
            self._cancel_auth(Violation(f"while {self.doing}: {error}"))
            return
        self.sendLine(b64encode(answer))

    def _cancel_auth(self, error: Violation) -> None:
        """The exchange is broken off as RFC 4954 §4 has it; whatever is said to that, the login has failed."""
        self._expected = []
        self._failresponse = lambda code, resp: self.fail(error)  # noqa: ARG005 - the shape of a state
        self.sendLine(b"*")

    def _auth_refused(self, code: int, resp: bytes) -> None:  # noqa: ARG002 - the shape of a state
        assert self._mechanism is not None
        if code < 400:
            self.fail(Violation(f"while {self.doing}: {self._said()}"))
        else:
            self.fail(RefusedLogin(login_refused(self._mechanism, self._said()), temporary=code < 500))

    def smtpState_from(self, code: int, resp: bytes) -> None:  # noqa: ARG002 - Twisted's
        """The login is done: what follows is the session's."""
        self.logged_in(self._offered, pending=self._parser.pending)

    def forget_login(self) -> None:
        """The conversation is over."""
        for name in _FOR_THE_LOGIN:
            setattr(self, name, None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: D102 - Twisted's
        super().connectionLost(reason)
        self.forget_login()  # among it are methods of our own, which would keep us alive
