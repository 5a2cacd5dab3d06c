"""A login over a real socket: which transport it is on, and which TLS sessions it resumes."""

import time
from functools import partial

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from zope.interface import implementer

from mailproxy.destination.model import Destination, Login, MailProtocol, TLSMode, TLSSettings
from mailproxy.sockets import OURS, TWISTED, Client
from mailproxy.upstream import witness
from mailproxy.upstream.connector import Connector
from mailproxy.upstream.holdoff import HoldOffSettings
from mailproxy.upstream.smtp import SMTPUpstream
from tests.upstream.hostile import CLIENT_TLS, ServerTLS

HOST = "127.0.0.1"


class Logins:
    """The same login each time."""

    def __init__(self, login):
        self._login = login

    async def login(self):
        return self._login


@implementer(IHandshakeListener)
class MailServer(Protocol):
    """Offers STARTTLS, or has TLS from the first octet."""

    tls = ServerTLS(HOST)

    def connectionMade(self):
        self.factory.came.append(self)
        if self.factory.mode is TLSMode.IMPLICIT:
            self.transport.startTLS(self.tls)
        else:
            self.transport.write(b"220 mail.test\r\n")

    def handshakeCompleted(self):
        if self.factory.mode is TLSMode.IMPLICIT:
            self.transport.write(b"220 mail.test\r\n")

    def dataReceived(self, data):
        if data == b"STARTTLS\r\n":
            self.transport.write(b"220 go ahead\r\n")
            self.transport.startTLS(self.tls)
        else:
            self.transport.write(b"250-mail.test\r\n250 STARTTLS\r\n" if data.startswith(b"EHLO") else b"221 bye\r\n")

    def connectionLost(self, reason):
        self.factory.came.remove(self)


class Site:
    """A mail server, and connectors to it."""

    def __init__(self, mode):
        self.factory = Factory.forProtocol(MailServer)
        self.factory.mode, self.factory.came, self.factory.noisy = mode, [], False

    async def open(self):
        self.port = await TCP4ServerEndpoint(reactor, 0, interface=HOST).listen(self.factory)
        return self

    def connector(self, sockets):
        settings = TLSSettings(self.factory.mode)
        destination = Destination("d", MailProtocol.SMTP, HOST, self.port.getHost().port, settings, login=False)
        make = partial(SMTPUpstream, reactor, ehlo_name="me.test", own_name="us.test", allow_plaintext_auth=False)
        return Connector(
            reactor,
            "the way",
            Logins(Login(destination, None)),
            CLIENT_TLS,
            lambda login, options: make(login, tls=options),
            is_ours=lambda *_: False,
            login_seconds=10.0,
            connect_seconds=10.0,
            random=lambda: 0.0,
            max_pending_logins=100,
            hold_off=HoldOffSettings(),
            connecting=sockets.connecting,
        )

    async def close(self):
        while self.factory.came:
            await deferLater(reactor, 0)
        await self.port.stopListening()


async def _handshake(connector):
    """Whether the mail server had to show its certificate, and the transport."""
    stream = await connector.open()
    transport = stream.transport
    handle = transport.getHandle()
    assert isinstance(handle, SSL.Connection)
    assert stream.secured
    kind = "full" if handle.check.passed else "resumed"
    stream.release(10.0)
    return kind, type(transport)


@pytest.mark.parametrize("mode", [TLSMode.IMPLICIT, TLSMode.REQUIRED])
@pytest.mark.parametrize("sockets", [OURS, TWISTED], ids=["ours", "twisted"])
@pytest_twisted.ensureDeferred
async def test_a_login_resumes_what_the_one_before_has_left(mode, sockets):
    site = await Site(mode).open()
    one, other = site.connector(sockets), site.connector(sockets)
    met = [await _handshake(connector) for connector in (one, one, other, other, one)]
    await site.close()
    if sockets is OURS:
        assert [kind for kind, _ in met] == ["full", "resumed", "full", "resumed", "resumed"]
    else:
        assert [kind for kind, _ in met][::2] == ["full", "full", met[4][0]]
    assert {transport is Client for _, transport in met} == {sockets is OURS}


@pytest.mark.parametrize("sockets", [OURS, TWISTED], ids=["ours", "twisted"])
@pytest_twisted.ensureDeferred
async def test_an_operator_sees_what_a_connection_is_secured_with(sockets, monkeypatch):
    monkeypatch.setattr(witness, "LOOK_SECONDS", 0.0)
    site = await Site(TLSMode.REQUIRED).open()
    connector = site.connector(sockets)
    for _ in range(2):  # the second one shows no certificate
        await _handshake(connector)
        peer = connector.witness.condition.peer
        assert (peer.host, peer.port, peer.address) == (HOST, site.port.getHost().port, HOST)
        assert (peer.tls.version, peer.tls.cipher.startswith("TLS_")) == ("TLSv1.3", True)
        assert 29 < (peer.tls.certificate_expires - time.time()) / 86_400 <= 30
    await site.close()


@pytest_twisted.ensureDeferred
async def test_a_login_that_comes_to_nothing_leaves_nothing():
    class Refusing(MailServer):
        def dataReceived(self, data):
            self.transport.write(b"554 no\r\n")

    site = Site(TLSMode.IMPLICIT)
    site.factory.protocol = Refusing
    await site.open()
    connector = site.connector(OURS)
    with pytest.raises(Exception, match="refused EHLO"):
        await connector.open()
    site.factory.protocol = MailServer
    assert (await _handshake(connector))[0] == "full"
    await site.close()
