"""HTTP clients that keep nothing, and whose connections really end."""

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.test.iosim import FakeTransport, connect
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from mailproxy.destination.clients import CLOSE_SECONDS, MAX_RECEIVED_OCTETS, WebClients
from mailproxy.destination.http import Question, Web
from mailproxy.destination.model import ClientIdentity
from mailproxy.destination.url import parse_url
from mailproxy.errors import DestinationUnavailable
from tests.destination.coroutines import start

IDENTITY = ClientIdentity(b"certificate", b"key")
URL = parse_url("uri", "http://localhost:8080/x")


class Server(Protocol):
    """Says what it is told, and never closes by itself."""

    def __init__(self):
        self.received = b""

    def dataReceived(self, data):
        self.received += data


@implementer(IPolicyForHTTPS)
class Policy:
    def creatorForNetloc(self, hostname, port):
        raise AssertionError("nothing here is https")


class Net:
    """Connects each client to a server of its own, in memory."""

    def __init__(self):
        self.reactor = MemoryReactorClock()
        self.identities = []
        self.web = Web(WebClients(self.reactor, self.endpoint, self.policy), self.reactor)

    def endpoint(self, host, port):
        return TCP4ClientEndpoint(self.reactor, host, port)

    def policy(self, identity):
        self.identities.append(identity)
        return Policy()

    def ask(self, **more):
        self.asked = start(self.web.ask(Question("the service", URL, **more)))
        host, port, factory, _, _ = self.reactor.tcpClients[-1]
        assert (host, port) == ("localhost", 8080)
        self.server, client = Server(), factory.buildProtocol(None)
        self.client_side = FakeTransport(client, isServer=False)
        server_side = FakeTransport(self.server, isServer=True)
        self.pump = connect(self.server, server_side, client, self.client_side)
        return self.asked

    def say(self, *chunks):
        for chunk in chunks:
            self.server.transport.write(chunk)
            self.pump.flush()

    @property
    def connected(self):
        return not (self.client_side.disconnected or self.client_side.disconnecting)


@pytest.fixture
def net():
    net = Net()
    yield net
    assert not net.reactor.getDelayedCalls(), "a timer was left behind"


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_a_request_asks_for_a_plain_body_and_a_connection_of_its_own(net):
    asked = net.ask(form=(("a", "b c"),), identity=IDENTITY)
    head, _, body = net.server.received.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /x HTTP/1.1"
    assert {b"Accept-Encoding: identity", b"Connection: close", b"Host: localhost:8080"} <= set(lines)
    assert (body, net.identities) == (b"a=b+c", [IDENTITY])
    net.say(OK)
    assert asked.value.json_object() == {}
    net.server.transport.loseConnection()
    net.pump.flush()


def test_cookies_are_not_kept(net):
    for _ in range(2):
        net.ask()
        assert b"cookie" not in net.server.received.lower()
        net.say(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=sentinel; Path=/\r\nContent-Length: 0\r\n\r\n")
        net.server.transport.loseConnection()
        net.pump.flush()


def test_a_connection_that_stays_open_after_its_answer_is_aborted(net):
    asked = net.ask()
    net.client_side.loseConnection = lambda: None  # as over TLS, where the peer's consent is waited for
    net.say(OK)
    assert asked.value.status == 200
    assert net.connected
    net.reactor.advance(CLOSE_SECONDS)
    assert not net.connected
    net.pump.flush()


def test_an_answer_that_is_too_long_aborts_the_connection(net):
    asked = net.ask()
    net.client_side.loseConnection = lambda: None
    net.say(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", *[b"x" * 65536] * 5)
    assert "more than 262144 octets" in str(asked.error)
    assert not net.connected
    net.pump.flush()


def test_headers_without_end_abort_the_connection(net):
    asked = net.ask()
    chunk = b"X-Header: " + b"x" * 8000 + b"\r\n"
    net.say(b"HTTP/1.1 200 OK\r\n", *[chunk] * (MAX_RECEIVED_OCTETS // len(chunk) + 2))
    assert str(asked.error) == "the service at localhost closed the connection before its answer was complete"
    assert not net.connected
    net.pump.flush()


def test_a_body_that_does_not_end_is_aborted_at_the_deadline(net):
    asked = net.ask(timeout=3.0)
    net.client_side.loseConnection = lambda: None
    net.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
    net.reactor.advance(3)
    assert "within 3 seconds" in str(asked.error)
    assert not net.connected
    net.pump.flush()


def test_silence_is_aborted_at_the_deadline(net):
    asked = net.ask(timeout=3.0)
    net.reactor.advance(3)
    assert "within 3 seconds" in str(asked.error)
    assert not net.connected
    net.pump.flush()


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"identity, gzip"])
def test_a_compressed_body_is_refused(net, coding):
    asked = net.ask()
    net.say(b"HTTP/1.1 200 OK\r\nContent-Encoding: " + coding + b"\r\nContent-Length: 9\r\n\r\n")
    assert "its answer is compressed" in str(asked.error)
    assert not net.connected
    net.pump.flush()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"220 mail.example.com ESMTP\r\n", "answered with something that is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "answered with something that is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "answered with something that is no HTTP"),
    ],
)
def test_what_is_no_http_is_no_answer(net, said, words, logged_failures):
    asked = net.ask()
    net.say(said)
    net.server.transport.loseConnection()
    net.pump.flush()
    assert str(asked.error) == f"the service at localhost {words}"
    assert not logged_failures
    net.reactor.advance(CLOSE_SECONDS)


def test_a_connection_lost_in_a_body_is_no_answer(net):
    asked = net.ask()
    net.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
    net.server.transport.loseConnection()
    net.pump.flush()
    assert isinstance(asked.error, DestinationUnavailable)


def test_nothing_is_logged_about_requests(net, events):
    net.ask()
    net.say(OK)
    net.server.transport.loseConnection()
    net.pump.flush()
    assert events == []
