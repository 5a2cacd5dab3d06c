"""What the logins of both protocols are tried with: a transport that remembers, and somebody to log in."""

from twisted.internet.testing import StringTransport

from mailproxy.destination.model import Password, Token

SECRET = "correct horse battery"
TOKEN = "ya29." + "t" * 900


class Transport(StringTransport):
    """Remembers what happened to it; TLS begins at once, and the handshake is done when the test says so."""

    def __init__(self):
        super().__init__()
        self.tls = None
        self.aborted = False

    def setTcpNoDelay(self, enabled):
        assert enabled

    def setTcpKeepAlive(self, enabled):
        assert enabled

    def startTLS(self, options):
        self.tls = options

    def getHandle(self):
        return None

    def abortConnection(self):
        self.aborted = True


def alice():
    return Password("alice", SECRET)


def bearer():
    return Token("alice", TOKEN, 1e9)
