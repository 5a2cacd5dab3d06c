"""
HTTP clients whose connections really end, and that keep nothing between two requests.

Twisted's agent can only close a connection politely once an answer has begun, and over TLS that waits for the peer.
Here the connection itself is at hand: an answer that is too long, or too slow, ends with an abort, and a connection
that is still open some seconds after its answer is aborted, too.  Bodies are asked for as they are, without
compression, so that the limit on octets received is the limit on memory.
"""

from __future__ import annotations

from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from mailproxy.destination.model import ClientIdentity

MAX_RECEIVED_OCTETS = 512 * 1024
"""What a connection may bring at all: headers, framing and body."""

CLOSE_SECONDS = 5.0
"""How long a connection may stay open after its answer."""

Connect = Callable[[str, int], IStreamClientEndpoint]
"""The way to a host and port, before any TLS."""


class WebClients:
    """
    Makes a client for each question.

    Args:
        clock: bounds how long connections stay open.
        connect: the endpoint that leads to a host and port; it has its own time limit.
        policy: who is believed to be whom, and the certificate that we show.
    """

    def __init__(
        self, clock: IReactorTime, connect: Connect, policy: Callable[[ClientIdentity | None], IPolicyForHTTPS]
    ) -> None:
        self._clock = clock
        self._connect = connect
        self._policy = policy

    def client(self, identity: ClientIdentity | None) -> HTTPClient:
        """
        A client for one request.

        Raises:
            ValueError: the certificate cannot be used.
        """
        agent = OneShotAgent(self._clock, self._connect, self._policy(identity))
        no_cookies = IndexableCookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
        return HTTPClient(agent, cookiejar=no_cookies)


@implementer(IAgent)
class OneShotAgent:
    """Makes each request on a connection of its own."""

    def __init__(self, clock: IReactorTime, connect: Connect, policy: IPolicyForHTTPS) -> None:
        self._clock = clock
        self._connect = connect
        self._policy = policy

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """A response whose body's transport can be aborted."""
        headers = Headers() if headers is None else headers.copy()
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        line = _Line(self._clock, self._connect, self._policy)
        agent = Agent.usingEndpointFactory(self._clock, line)
        answer: Deferred[IResponse] = agent.request(method, uri, headers, bodyProducer)
        return answer.addCallbacks(line.answered, line.failed)


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Line:
    """The way to one service, and the connection once there is one."""

    def __init__(self, clock: IReactorTime, connect: Connect, policy: IPolicyForHTTPS) -> None:
        self._clock = clock
        self._connect = connect
        self._policy = policy
        self._connection: _Connection | None = None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """This line, which leads there from now on."""
        self._endpoint = self._connect(uri.host.decode("ascii"), uri.port)
        if uri.scheme == b"https":
            self._endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), self._endpoint)
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """A connection that can be ended."""
        connected: Deferred[IProtocol] = self._endpoint.connect(_Connections(self._clock, protocolFactory))
        return connected.addCallback(self._connected)

    def _connected(self, connection: IProtocol) -> IProtocol:
        assert isinstance(connection, _Connection)
        self._connection = connection
        return connection.inner

    def answered(self, response: IResponse) -> IResponse:
        """
        The response has begun.

        Raises:
            ValueError: its body is compressed.
        """
        coding = response.headers.getRawHeaders(b"Content-Encoding", [])
        if any(value.strip().lower() not in (b"", b"identity") for value in coding):
            self.abort()
            raise ValueError("its answer is compressed, which it was not asked for")
        return _Response(response, self)

    def failed(self, failure: Failure) -> Failure:
        """There is no response."""
        self.finish()
        return failure

    def finish(self) -> None:
        """The connection closes by itself, or else is aborted soon."""
        if self._connection is not None:
            self._connection.finish()

    def abort(self) -> None:
        """The connection is gone at once."""
        if self._connection is not None:
            self._connection.abort()


class _Connection(Protocol):
    """Counts what comes in for the protocol behind it, and can be aborted at any time."""

    def __init__(self, clock: IReactorTime, inner: IProtocol) -> None:
        self._clock = clock
        self.inner = inner
        self._received = 0
        self._closing: IDelayedCall | None = None
        self._lost = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.inner.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > MAX_RECEIVED_OCTETS:
            self.abort()
        else:
            self.inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self.inner.connectionLost(reason)

    def finish(self) -> None:
        """It is gone in a few seconds, unless it ends by itself."""
        if not self._lost and self._closing is None:
            self._closing = self._clock.callLater(CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        """It is gone at once."""
        if not self._lost:
            transport: Any = self.transport
            transport.abortConnection()


class _Connections(Factory):
    """Makes the one connection."""

    noisy = False

    def __init__(self, clock: IReactorTime, inner: IProtocolFactory) -> None:
        self._clock = clock
        self._inner: Any = inner

    def buildProtocol(self, addr: IAddress | None) -> _Connection | None:
        inner = self._inner.buildProtocol(addr)
        return None if inner is None else _Connection(self._clock, inner)


class _Response(proxyForInterface(IResponse)):  # type: ignore[misc]  # this base is made at run time
    """A response that hands the connection to whoever receives the body."""

    def __init__(self, original: IResponse, line: _Line) -> None:
        super().__init__(original)
        self._line = line

    def deliverBody(self, protocol: IProtocol) -> None:
        self.original.deliverBody(_Body(protocol, self._line))


class _Body(proxyForInterface(IProtocol)):  # type: ignore[misc]  # this base is made at run time
    """Passes a body on, and with it the means to end the connection."""

    def __init__(self, original: IProtocol, line: _Line) -> None:
        super().__init__(original)
        self._line = line

    def makeConnection(self, transport: object) -> None:  # noqa: ARG002 - it cannot abort, ours can
        self.original.makeConnection(_BodyTransport(self._line))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._line.finish()
        self.original.connectionLost(reason)


class _BodyTransport:
    """What the receiver of a body may do to its connection: end it."""

    def __init__(self, line: _Line) -> None:
        self.loseConnection = line.abort
        self.abortConnection = line.abort
