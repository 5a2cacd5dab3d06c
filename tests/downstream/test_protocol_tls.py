"""A listener behind TLS: the session begins with the handshake's end, and its last words arrive."""

from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from mailproxy.downstream.protocol import HANDSHAKE_SECONDS
from mailproxy.sandbox.pki import Authority
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from tests.downstream.bench import FLOOD, MOST_HELD, pipe
from tests.support.transports import HIGH_MARK


@cache
def server_context():
    issued = Authority.create().issue("proxy.test")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(x509.load_pem_x509_certificate(issued.certificate_pem))
    context.use_privatekey(load_pem_private_key(issued.key_pem, None))
    return context


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class Creator:
    def __init__(self, context):
        self._context = context

    def serverConnectionForTLS(self, tls):
        return SSL.Connection(self._context, None)

    clientConnectionForTLS = serverConnectionForTLS


def smtp():
    return SMTPSession(SMTPPolicy("proxy.test"))


class TLSClient(Protocol):
    def __init__(self, words=b""):
        self.words = words
        self.received = b""
        self.reason = None

    def connectionMade(self):
        self.transport.write(self.words)

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.reason = reason


def wrapped(bench, factory, context, *, is_client):
    """The protocol of a new connection that this factory is to have, behind TLS."""
    return TLSMemoryBIOFactory(Creator(context), is_client, factory, clock=bench.clock).buildProtocol(None)


def listening(bench):
    return wrapped(bench, bench.factory, server_context(), is_client=False)


def connect(bench, client):
    factory = Factory.forProtocol(lambda: client)
    ours = wrapped(bench, factory, SSL.Context(SSL.TLS_CLIENT_METHOD), is_client=True)
    bench.network.join(ours, listening(bench), as_tcp=True)
    bench.run()
    return client


def test_a_client_behind_tls_is_greeted_after_the_handshake(benches):
    bench = benches(smtp)
    client = connect(bench, TLSClient(b"NOOP\r\n"))
    assert client.received == b"220 proxy.test ESMTP mailproxy\r\n250 2.0.0 OK\r\n"
    client.transport.abortConnection()
    bench.run()
    assert bench.outcomes() == {"downstream_lost": 1}


def test_a_client_that_never_shakes_hands_is_cut_off(benches):
    bench = benches(smtp)
    peer = bench.network.plug(listening(bench), as_tcp=True)
    bench.run(HANDSHAKE_SECONDS - 1)
    assert not peer.over
    assert peer.hear() == b""
    bench.run(2)
    assert peer.over
    assert bench.outcomes() == {"downstream_lost": 1}


def test_a_client_that_speaks_plainly_on_a_tls_port_is_cut_off_quietly(benches):
    bench = benches(smtp)
    peer = bench.network.plug(listening(bench), as_tcp=True)
    peer.say(b"EHLO there\r\n")
    bench.run()
    assert peer.over
    assert bench.outcomes() == {"downstream_lost": 1}
    assert not bench.tracebacks()


@pytest.mark.parametrize("word", [b"QUIT\r\n", b"GET / HTTP/1.1\r\n"])
def test_the_last_words_arrive_behind_tls_with_a_proper_goodbye(benches, word):
    bench = benches(smtp)
    client = connect(bench, TLSClient(word))
    assert client.received.splitlines()[-1][:3] in (b"221", b"421")
    assert client.reason is not None
    assert client.reason.check(ConnectionDone)
    assert bench.clock.seconds() == 0


def test_a_client_behind_tls_that_goes_on_sending_still_gets_the_last_words(benches):
    bench = benches(smtp)
    client = connect(bench, TLSClient(b"GET / HTTP/1.1\r\n" + b"x" * 500_000))
    bench.run()
    assert b"421 4.7.0 This is a mail server\r\n" in client.received
    assert client.reason is not None


def test_a_slow_server_slows_a_client_behind_tls(benches):
    bench = benches(pipe())
    client = connect(bench, TLSClient())
    server, stream = bench.let_in()
    client.transport.write(FLOOD)
    heard = b""
    while len(heard) < len(FLOOD):
        bench.run()
        assert len(stream.transport.buffer) <= HIGH_MARK + 2 * bench.network.read_octets
        heard += server.receive(10000)
    assert heard == FLOOD


def test_a_slow_client_behind_tls_slows_the_server(benches):
    bench = benches(pipe())
    client = connect(bench, TLSClient())
    server, stream = bench.let_in()
    client.transport.pauseProducing()
    sent = 0
    while more := server.send(FLOOD[sent:]):
        sent += more
        bench.run()
    assert sent < MOST_HELD + 2 * HIGH_MARK
    assert not stream.transport.reading
    client.transport.resumeProducing()
    bench.run()
    assert client.received == FLOOD[:sent]
    assert stream.transport.reading


def test_stopping_in_the_middle_of_a_handshake(benches):
    bench = benches(pipe())
    peer = bench.network.plug(listening(bench), as_tcp=True)
    bench.factory.stop()
    bench.run()
    assert peer.over
    assert not bench.openings
    assert bench.outcomes() == {"shutdown": 1}
