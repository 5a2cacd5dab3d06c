"""
Targets: logins at mail servers that say whatever they like.
"""

from __future__ import annotations

from base64 import b64decode

from attrs import define, field
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailproxy.destination.model import Destination, Login, MailProtocol, Password, TLSMode, TLSSettings, Token
from mailproxy.errors import MailProxyError
from mailproxy.upstream.pop3 import POP3Upstream
from mailproxy.upstream.smtp import SMTPUpstream
from tests.fuzz.target import options, target
from tests.upstream.memory import Transport

SECRET = "Sentinel/s3cret+word=="
CREDENTIALS = (None, Password("robot", SECRET), Token("robot", SECRET, 1e9), Password("robot", SECRET + "x" * 600))
MOST_OCTETS = 16 * 1024
"""What we may say in one login, however long the mail server talks."""


@define
class Attempt:
    """One login, and what is known of it from outside."""

    stream: object
    allowed: bool
    outcomes: list = field(factory=list)
    sent: bytes = b""

    def begin(self):
        self.stream.ready.addBoth(self.outcomes.append)
        self.stream.makeConnection(Transport())

    def tell(self, octets):
        """The mail server says something; a handshake that was to come is done first."""
        over = bool(self.outcomes)
        if self.stream.transport.tls is not None and not self.stream.secured:
            self.stream.handshakeCompleted()
            self.look(over=over)
        self.stream.dataReceived(octets)
        self.look(over=over)

    def look(self, *, over):
        """What was said meanwhile is what may be said at this moment."""
        said = self.stream.transport.value()
        self.stream.transport.clear()
        self.sent += said
        assert not (over and said), f"{said} behind the end of the login"
        assert said == b"" or said.endswith(b"\r\n")
        assert said.count(b"\n") <= 1
        assert len(self.sent) <= MOST_OCTETS
        if has_secret(said):
            assert self.stream.secured or self.allowed, "a secret in the clear"
        assert len(self.outcomes) <= 1

    def end(self):
        """The mail server closes."""
        if self.stream.transport is not None:
            self.stream.connectionLost(Failure(ConnectionDone()))
        (outcome,) = self.outcomes
        credentials = self.stream.login.credentials
        if outcome is self.stream:
            assert credentials is None or b"AUTH " in self.sent or b"PASS " in self.sent
            assert self.stream.secured or self.stream.login.destination.tls.mode is not TLSMode.REQUIRED
            return
        assert outcome.check(MailProxyError), outcome
        words = str(outcome.value)
        assert words.isprintable()
        assert len(words) < 2000
        assert SECRET not in words


def has_secret(octets):
    return any(SECRET.encode() in word or SECRET.encode() in decoded(word) for word in octets.split())


def decoded(word):
    try:
        return b64decode(word, validate=True)
    except ValueError:
        return b""


def log_in(data, make):
    """The first octet chooses; each line is what the mail server says next, a `|` in it stands for CRLF."""
    (choice,), octets = options(data, 1)
    mode = list(TLSMode)[choice % 4]
    credentials = CREDENTIALS[choice // 4 % 4]
    allowed = bool(choice & 16)
    ask = not choice & 32
    attempt = Attempt(make(mode, credentials, allowed, ask), allowed)
    attempt.begin()
    if mode is TLSMode.IMPLICIT:
        attempt.stream.handshakeCompleted()
    for line in octets.split(b"\n"):
        attempt.tell(line.replace(b"|", b"\r\n"))
        if attempt.stream.transport.aborted:
            break
    attempt.end()


def destination(protocol, mode, credentials, **more):
    return Destination("d", protocol, "mail.test", 587, TLSSettings(mode), login=credentials is not None, **more)


@target(
    "smtp_login",
    *(b"220 hi|", b"250-mail.test|250-STARTTLS|250 AUTH PLAIN LOGIN|", b"250 AUTH XOAUTH2|", b"334 |", b"235 ok|"),
    *(
        b"334 VXNlcm5hbWU6|",
        b"334 eyJzdGF0dXMiOiI0MDEifQ==|",
        b"535 no|",
        b"421 bye|",
        b"220 go|",
        b"250 mailproxy.test|",
    ),
    by_line=True,
    longest=1024,
    share=2,
)
def check_smtp_login(data):
    def make(mode, credentials, allowed, _ask):
        return SMTPUpstream(
            Clock(),
            Login(destination(MailProtocol.SMTP, mode, credentials), credentials),
            tls="options",
            ehlo_name="proxy.test",
            own_name="mailproxy.test",
            allow_plaintext_auth=allowed,
        )

    log_in(data, make)


@target(
    "pop3_login",
    *(b"+OK hi <1@x>|", b"+OK|USER|STLS|SASL PLAIN|.|", b"+OK|SASL XOAUTH2 PLAIN|.|", b"+OK|", b"-ERR|", b"+ |", b"."),
    *(b"-ERR [IN-USE] no|", b"-ERR [AUTH] no|", b"+ VXNlcm5hbWU6|", b"+ eyJzdGF0dXMiOiI0MDEifQ==|", b"+OK|.|", b".|"),
    by_line=True,
    longest=1024,
    share=2,
)
def check_pop3_login(data):
    def make(mode, credentials, allowed, ask):
        login = Login(destination(MailProtocol.POP3, mode, credentials, ask_capabilities=ask), credentials)
        return POP3Upstream(Clock(), login, tls="options", allow_plaintext_auth=allowed)

    log_in(data, make)
