"""
A layer that stands for TLS: no secret of it is safe, but what is inside and what outside can be told apart.

A record is its kind, its length, and octets that are turned around so that no plaintext shows.  The client says
hello with the name it wants, the server shows a certificate that is a name and whether anybody should believe it, the
client says that it has finished.  Above it is Twisted's own TLS protocol, which takes this for OpenSSL.
"""

from __future__ import annotations

from attrs import define, field
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.errors import ConfigError
from mailproxy.tls import CertificateRejected

BROKEN = "broken"
"""In the name of a file that holds no certificate."""

HANDSHAKE, DATA, ALERT = 0x16, 0x17, 0x15
MOST_OCTETS = 8192
TURNED = bytes(octet ^ 0xA5 for octet in range(256))

FINISHED = b"finished"
CLOSE = b"close"

OUR_NAME = "proxy.test"
"""Whose certificate the proxy shows to mail clients."""


class NotTLS(Exception):
    """Octets that are no record."""


def record(kind, octets):
    """The octets as records."""
    pieces = [octets[start : start + MOST_OCTETS] for start in range(0, len(octets), MOST_OCTETS)]
    return b"".join(bytes((kind,)) + len(each).to_bytes(2) + each.translate(TURNED) for each in pieces)


@define(eq=False)
class Records:
    """Takes records apart."""

    _octets: bytearray = field(factory=bytearray)

    def feed(self, octets):
        self._octets += octets

    def next_record(self):
        """Kind and octets, or None; raises NotTLS."""
        if not self._octets:
            return None
        if self._octets[0] not in (HANDSHAKE, DATA, ALERT):
            raise NotTLS
        if len(self._octets) < 3:
            return None
        size = int.from_bytes(self._octets[1:3])
        if len(self._octets) < 3 + size:
            return None
        kind, octets = self._octets[0], bytes(self._octets[3 : 3 + size]).translate(TURNED)
        del self._octets[: 3 + size]
        return kind, octets


@define(eq=False)
class Certificate:
    """Whose it is, and whether an authority says so that is believed."""

    name: str
    trusted: bool = True

    def format(self):
        return f"{self.name} {self.trusted:d}".encode()


@define(eq=False)
class Connection:
    """The proxy's side: what Twisted expects of OpenSSL's `Connection`, whichever side begins."""

    tls: object
    _records: Records = field(factory=Records)
    _out: bytearray = field(factory=bytearray)
    _plain: bytearray = field(factory=bytearray)
    _state: str = "new"
    _ended: bool = False
    _closed_here: bool = False
    _closed_there: bool = False

    @property
    def _tap(self):
        return self.tls.transport.tap

    def do_handshake(self):
        raise NotImplementedError

    def set_app_data(self, data):
        """Nobody asks for it."""

    def get_protocol_version_name(self):
        return "marker"

    def get_cipher_name(self):
        return "none"

    def get_peer_certificate(self):
        """Clients show none."""

    def _next(self, kind):
        try:
            found = self._records.next_record()
        except NotTLS:
            raise SSL.Error([("SSL routines", "", "wrong version number")]) from None
        if found is None:
            if self._ended:
                raise SSL.SysCallError(-1, "Unexpected EOF")
            raise SSL.WantReadError
        if found[0] != kind:
            raise SSL.Error([("SSL routines", "", "unexpected message")])
        return found[1]

    def bio_read(self, size):
        if not self._out:
            raise SSL.WantReadError
        octets = bytes(self._out[:size])
        del self._out[:size]
        return octets

    def bio_write(self, octets):
        self._records.feed(octets)
        return len(octets)

    def bio_shutdown(self):
        self._ended = True

    def recv(self, size):
        if not self._plain:
            self._plain += self._next_data()
        octets = bytes(self._plain[:size])
        del self._plain[:size]
        return octets

    def _next_data(self):
        if self._closed_there:
            raise SSL.ZeroReturnError
        try:
            found = self._records.next_record()
        except NotTLS:
            raise SSL.Error([("SSL routines", "", "record layer failure")]) from None
        if found is None:
            if self._ended:
                raise SSL.SysCallError(-1, "Unexpected EOF")
            raise SSL.WantReadError
        if found[0] == ALERT:
            self._closed_there = True
            raise SSL.ZeroReturnError
        if found[0] != DATA:
            raise SSL.Error([("SSL routines", "", "unexpected message")])
        self._tap.heard_inside(found[1])
        return found[1]

    def send(self, octets):
        if self._state != "up":
            raise SSL.WantReadError
        self._tap.said_encrypted(octets)
        self._out += record(DATA, octets)
        return len(octets)

    def shutdown(self):
        if self._state != "up":
            raise SSL.Error([("SSL routines", "", "shutdown while in init")])
        if not self._closed_here:
            self._closed_here = True
            self._out += record(ALERT, CLOSE)
        return self._closed_there


@define(eq=False)
class ClientConnection(Connection):
    """The proxy wants to know who is there."""

    host: str = field(kw_only=True)
    check_name: bool = field(kw_only=True)

    def set_connect_state(self):
        """It is a client's from the beginning."""

    def do_handshake(self):
        if self._state == "new":
            self._state = "hello"
            self._out += record(HANDSHAKE, self.host.encode())
        if self._state == "hello":
            self._judge(self._next(HANDSHAKE))
            self._out += record(HANDSHAKE, FINISHED)
            self._state = "up"

    def _judge(self, shown):
        name, _, trusted = shown.decode("latin-1").partition(" ")
        if trusted != "1" or (self.check_name and name != self.host):
            self.tls.failVerification(Failure(CertificateRejected("certificate is not believed")))
            raise SSL.Error([("SSL routines", "", "certificate verify failed")])


@define(eq=False)
class ServerConnection(Connection):
    """The proxy shows who it is."""

    def set_accept_state(self):
        """It is a server's from the beginning."""

    def do_handshake(self):
        if self._state == "new":
            self._next(HANDSHAKE)
            self._state = "hello"
            self._out += record(HANDSHAKE, Certificate(OUR_NAME).format())
        if self._state == "hello":
            if self._next(HANDSHAKE) != FINISHED:
                raise SSL.Error([("SSL routines", "", "digest check failed")])
            self._state = "up"
            self._tap.secured()


@implementer(IOpenSSLClientConnectionCreator)
@define(eq=False)
class Options:
    """Makes connections to one host."""

    host: str
    check_name: bool

    def clientConnectionForTLS(self, tlsProtocol):
        return ClientConnection(tlsProtocol, host=self.host, check_name=self.check_name)


class MarkerTLS:
    """In the place of `mailproxy.tls.ClientTLS`."""

    def __init__(self, trust):
        del trust

    def options(self, host, settings, identity=None, resumption=None):
        del identity, resumption
        return Options(host, settings.check_name)

    def trust(self):
        return "whoever says so"


@implementer(IOpenSSLServerConnectionCreator)
class MarkerServerTLS:
    """In the place of `mailproxy.tls.ListenerTLS`; files of a certain name cannot be used."""

    def __init__(self, settings, where, seconds):
        del seconds
        if any(BROKEN in files.certificate.name for files in settings.certificates):
            raise ConfigError([f"{where}certificates[0].certificate: cannot be used"])

    expires_at = 4_000_000_000.0

    def serverConnectionForTLS(self, tlsProtocol):
        return ServerConnection(tlsProtocol)


@define(eq=False)
class ServerSide:
    """A server that is an actor: `feed` takes what came, and hands out plaintext."""

    certificate: Certificate
    _records: Records = field(factory=Records)
    up: bool = False
    hello: str | None = None
    closed: bool = False

    @property
    def believed(self):
        """Whether the proxy may have anything to say to it."""
        return self.certificate.trusted and self.certificate.name == self.hello

    def begin(self):
        """What is said first: nothing."""
        return b""

    def feed(self, octets):
        """Plaintext that came, and octets to send back; raises NotTLS."""
        self._records.feed(octets)
        plain, back = b"", b""
        while (found := self._records.next_record()) is not None:
            kind, inside = found
            if kind == HANDSHAKE and self.hello is None:
                self.hello = inside.decode()
                back += record(HANDSHAKE, self.certificate.format())
            elif kind == HANDSHAKE:
                self.up = True
            elif kind == ALERT:
                self.closed = True
            else:
                plain += inside
        return plain, back


@define(eq=False)
class ClientSide:
    """
    A client that is an actor.

    `finishes` is False for one that does not like the certificate it is shown, and says so.
    """

    finishes: bool = True
    _records: Records = field(factory=Records)
    up: bool = False
    closed: bool = False
    believed = True

    def begin(self):
        """What is said first: hello."""
        return record(HANDSHAKE, OUR_NAME.encode())

    def feed(self, octets):
        """Plaintext that came, and octets to send back; raises NotTLS."""
        self._records.feed(octets)
        plain, back = b"", b""
        while (found := self._records.next_record()) is not None:
            kind, inside = found
            if kind == HANDSHAKE and self.finishes:
                self.up = True
                back += record(HANDSHAKE, FINISHED)
            elif kind == HANDSHAKE:
                back += record(ALERT, b"bad certificate")
            elif kind == ALERT:
                self.closed = True
            else:
                plain += inside
        return plain, back


class ImmediateClock:
    """Twisted gathers small writes under TLS until the reactor's next turn; here each goes at once."""

    def callLater(self, delay, callable):  # noqa: A002 - Twisted's name
        assert delay == 0
        callable()
