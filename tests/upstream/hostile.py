"""
A mail server in memory that keeps to its script until the test tells it not to, and a session that logs in there.

The connection is made by the real connector, TLS is real, and time is the test's.
"""

from functools import partial
from unittest import mock

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols import tls
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.destination.model import Destination, Login, MailProtocol, Password, TLSMode, TLSSettings
from mailproxy.names import LocalhostResolver
from mailproxy.sandbox.pki import Authority
from mailproxy.tls import ClientTLS, Trust
from mailproxy.upstream.connector import Connector
from mailproxy.upstream.holdoff import HoldOffSettings
from mailproxy.upstream.pop3 import POP3Upstream
from mailproxy.upstream.smtp import SMTPUpstream
from mailproxy.upstream.stream import UpstreamStream
from tests.support.transports import Network
from tests.upstream.memory import SECRET

HOST = "mail.localhost"
SECONDS = 20.0
AUTHORITY = Authority.create()
CLIENT_TLS = ClientTLS(Trust(platform=False, bundles=(AUTHORITY.certificate_pem,)))


@frozen
class Step:
    """What the server says next; `starts_tls` is whether TLS begins behind it."""

    reply: bytes
    starts_tls: bool = False


_EHLO = b"250-mail.test\r\n250-SIZE\r\n250 "
_CAPA = b"+OK\r\nTOP\r\nUIDL\r\n%s\r\n.\r\n"
_SMTP = (Step(b"220 mail.test\r\n"), Step(_EHLO + b"AUTH PLAIN LOGIN\r\n"), Step(b"235 2.7.0 Ok\r\n"))
_POP3 = (Step(b"+OK ready\r\n"), Step(_CAPA % b"USER"), Step(b"+OK\r\n"), Step(b"+OK\r\n"), Step(_CAPA % b"USER"))
SCRIPTS = {
    ("smtp", TLSMode.IMPLICIT): _SMTP,
    ("smtp", TLSMode.REQUIRED): (_SMTP[0], Step(_EHLO + b"STARTTLS\r\n"), Step(b"220 go\r\n", True), *_SMTP[1:]),
    ("pop3", TLSMode.IMPLICIT): _POP3,
    ("pop3", TLSMode.REQUIRED): (_POP3[0], Step(_CAPA % b"STLS"), Step(b"+OK go\r\n", True), *_POP3[1:]),
}
"""Each turn of the server, from its greeting to the end of the login."""


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """With a certificate for one host."""

    def __init__(self, host):
        issued = AUTHORITY.issue(host)
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate(x509.load_pem_x509_certificate(issued.certificate_pem))
        self.context.use_privatekey(load_pem_private_key(issued.key_pem, None))

    def serverConnectionForTLS(self, _protocol):
        return SSL.Connection(self.context, None)


SERVER_TLS = ServerTLS(HOST)


@implementer(IHandshakeListener)
class MailServer(Protocol):
    """
    Says its script, one turn for each line that it hears.

    `attacks` maps a turn to what is done in it instead, called with the server and the step.
    """

    def __init__(self, clock, script, *, implicit, attacks):
        self.clock = clock
        self.script = list(script)
        self.implicit = implicit
        self.attacks = attacks
        self.turn = 0
        self.secure = False
        self.heard = []
        self.raw = b""
        self.over = False
        self.at_end = []
        self._rest = b""

    def connectionMade(self):
        if not self.implicit:
            self.go_on()
        elif "handshake" in self.attacks:
            self.attacks["handshake"](self, None)
        else:
            self.begin_tls()

    def begin_tls(self):
        self.transport.startTLS(SERVER_TLS)

    def handshakeCompleted(self):
        self.secure = True
        self._rest = b""
        if self.implicit:
            self.go_on()

    def dataReceived(self, data):
        self.raw += data
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            self.heard.append((self.secure, line))
            self.go_on()

    def go_on(self):
        if self.turn < len(self.script):
            self.turn += 1
            self.attacks.get(self.turn - 1, MailServer.keep_to_it)(self, self.script[self.turn - 1])

    def keep_to_it(self, step):
        self.transport.write(step.reply)
        if step.starts_tls:
            if "handshake" in self.attacks:
                self.attacks["handshake"](self, step)
            else:
                self.begin_tls()

    def say(self, octets):
        if not self.over:
            self.transport.write(octets)

    def connectionLost(self, reason):
        self.over = True
        for end in self.at_end:
            end()


class Logins:
    """The same for everybody, and no other."""

    def __init__(self, login):
        self.current = login

    async def login(self):
        return self.current

    async def replace(self, refused):
        return None


class LogIn:
    """One login at one such server; `result` is None until it is over."""

    def __init__(self, protocol, mode, attacks, *, mechanisms=None):
        self.reactor = MemoryReactorClock()
        self.reactor.installNameResolver(LocalhostResolver(self.reactor.nameResolver))
        self.network = Network(self.reactor)
        kind = MailProtocol(protocol)
        destination = Destination("d", kind, HOST, 587, TLSSettings(mode), login=True, mechanisms=mechanisms)
        common = {"allow_plaintext_auth": False}
        if kind is MailProtocol.SMTP:
            make = partial(SMTPUpstream, self.reactor, ehlo_name="me.test", own_name="mailproxy.test", **common)
        else:
            make = partial(POP3Upstream, self.reactor, **common)
        connector = Connector(
            self.reactor,
            "the way",
            Logins(Login(destination, Password("alice", SECRET))),
            CLIENT_TLS,
            lambda login, options: make(login, tls=options),
            is_ours=lambda *_: False,
            login_seconds=SECONDS,
            connect_seconds=SECONDS,
            random=lambda: 0.0,
            max_pending_logins=1,
            hold_off=HoldOffSettings(),
        )
        self.server = MailServer(
            self.reactor, SCRIPTS[protocol, mode], implicit=mode is TLSMode.IMPLICIT, attacks=attacks
        )
        self.result = None
        with mock.patch.object(tls, "_get_default_clock", return_value=self.reactor):
            self.opening = connector.open()
        self.opening.addBoth(self._ended)
        host, port, factory, _, _ = self.reactor.tcpClients[-1]
        self.network.join(factory.buildProtocol(IPv4Address("TCP", host, port)), self.server, as_tcp=True)
        self.network.settle()

    def _ended(self, result):
        assert self.result is None
        self.result = result.value if isinstance(result, Failure) else result

    def advance(self, seconds):
        self.network.advance(seconds)
        return self

    def close(self):
        """It is over, one way or the other, and nothing is left."""
        assert self.result is not None, "it hangs"
        if isinstance(self.result, UpstreamStream):
            self.result.abort()
        self.network.settle()
        assert not self.network.transports
        assert not self.reactor.getDelayedCalls()
        assert not [line for secure, line in self.server.heard if not secure and SECRET.encode() in line]
