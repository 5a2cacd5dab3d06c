"""A conversation with one of the sandbox's mail servers, without a network."""

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import alsoProvides

from mailproxy.sandbox.conversation import Provider
from mailproxy.sandbox.mailboxes import Mailboxes
from mailproxy.sandbox.tokens import TokenBook

USER = "robot@acme.example"
PASSWORD = "secret"


class Handle:
    def get_protocol_version_name(self):
        return "TLSv1.3"


class Wire(StringTransport):
    """A transport that remembers, and that can claim to be TLS."""

    aborted = False
    tls = None

    def __init__(self, *, encrypted):
        super().__init__()
        if encrypted:
            alsoProvides(self, ISSLTransport)

    def getHandle(self):
        return Handle()

    def startTLS(self, options):
        self.tls = options
        alsoProvides(self, ISSLTransport)

    def abortConnection(self):
        self.aborted = True


class Talk:
    """A conversation with one server protocol."""

    def __init__(self, kind, *, encrypted=True, capacity=1_000_000):
        self.clock = Clock()
        self.mailboxes = Mailboxes(TokenBook(self.clock.seconds), capacity=capacity)
        self.mailboxes.add_account(USER, PASSWORD)
        self.wire = Wire(encrypted=encrypted)
        self.server = kind(Provider(self.mailboxes, "tls options", self.clock))
        self.server.makeConnection(self.wire)
        self.greeting = self.take()

    def take(self):
        said = self.wire.value().decode()
        self.wire.clear()
        return said

    def raw(self, octets):
        self.server.dataReceived(octets)
        return self.take()

    def ask(self, *lines):
        """What the last of these lines was answered with."""
        answer = ""
        for line in lines:
            answer = self.raw(line + b"\r\n")
        return answer

    @property
    def closed(self):
        return self.wire.disconnecting

    @property
    def mail(self):
        """What lies in the user's mailbox."""
        return [message.octets for message in self.mailboxes.mailbox(USER).messages]
