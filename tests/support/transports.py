"""
Connections in memory that behave like sockets: every buffer is bounded, a full one really pauses, and closing takes
its turns.

Theory of operation.  A connection has two ends, `Socket`s, which are what a kernel has: bounded pipes both ways, an end
of the stream, a reset.  A protocol sits on an end through a `MemoryTransport`, which does what Twisted's transports do;
a test, or a script, holds the other end by hand or puts another protocol on it.

Nothing moves by itself.  What could happen next is a list of `Step`s: a transport may read or write some octets, a
delayed call may be due.  `Network.settle` takes one step after another until there is none; which one of several comes
first is for `choose` to say, so that a seeded random number generator can try the orders of events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

from attrs import define, field, frozen
from twisted.internet import _newtls
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport, ITLSTransport
from twisted.internet.task import Clock
from twisted.protocols import tls
from twisted.python.failure import Failure
from zope.interface import implementer

PIPE_OCTETS = 32 * 1024
"""What the kernels of both sides hold of one direction."""

HIGH_MARK = 64 * 1024
"""A write buffer of more octets than that is full, as in Twisted."""

READ_OCTETS = 64 * 1024
WRITE_OCTETS = 128 * 1024
"""The most that one read, and one write, moves."""

MOST_STEPS = 200_000
"""Nothing that a test does takes more of them; beyond is a loop without end."""


@define(eq=False)
class Pipe:
    """Octets on their way in one direction."""

    capacity: int
    data: bytearray = field(factory=bytearray)
    ended: bool = False
    """Behind the data nothing more will come."""
    reset: bool = False
    """The data is lost, and nothing more will come."""
    abandoned: bool = False
    """Nobody will read it any more."""

    @property
    def room(self) -> int:
        """How many octets it would take now."""
        return self.capacity - len(self.data)

    def break_off(self) -> None:
        """What is on its way is lost."""
        self.data.clear()
        self.reset = True


@define(eq=False)
class Socket:
    """
    One end of a connection, as a kernel knows it.

    A read, or a write, of an end that was reset raises `ConnectionResetError`.
    """

    incoming: Pipe
    outgoing: Pipe

    @property
    def readable(self) -> bool:
        """Whether a read would have something to say."""
        return bool(self.incoming.data) or self.incoming.ended or self.incoming.reset

    @property
    def writable(self) -> bool:
        """Whether a write would take octets, or has something to say."""
        return self.incoming.reset or self.outgoing.room > 0

    def receive(self, limit: int = READ_OCTETS) -> bytes:
        """Octets that have come; none says that there will be no more, or (see `readable`) that there are none yet."""
        if self.incoming.reset:
            raise ConnectionResetError
        octets = bytes(self.incoming.data[:limit])
        del self.incoming.data[:limit]
        return octets

    def send(self, octets: bytes) -> int:
        """As many of the octets as there was room for are on their way; how many that were."""
        if self.incoming.reset:
            raise ConnectionResetError
        if self.outgoing.abandoned:  # the answer of the other kernel to what nobody will read
            self.incoming.break_off()
            return len(octets)
        taken = octets[: self.outgoing.room]
        self.outgoing.data += taken
        return len(taken)

    def shutdown(self) -> None:
        """We will send no more, but read on."""
        self.outgoing.ended = True

    def close(self) -> None:
        """Nobody is here any more.  Octets that nobody read make a reset of it, which takes our last words along."""
        self.incoming.abandoned = True
        if self.incoming.data:
            self.outgoing.break_off()
        else:
            self.outgoing.ended = True

    def abort(self) -> None:
        """The connection is reset from here."""
        self.incoming.abandoned = True
        self.outgoing.break_off()

    # What tests say most

    def say(self, octets: bytes) -> None:
        """All the octets are on their way."""
        assert self.send(octets) == len(octets), "the pipe is full"

    def hear(self) -> bytes:
        """All the octets that have come."""
        return self.receive(len(self.incoming.data))

    @property
    def over(self) -> bool:
        """Whether everything was heard, and the other end says no more."""
        return self.incoming.reset or (self.incoming.ended and not self.incoming.data)


def socket_pair(capacity: int = PIPE_OCTETS) -> tuple[Socket, Socket]:
    """Two ends of a connection."""
    there, back = Pipe(capacity), Pipe(capacity)
    return Socket(there, back), Socket(back, there)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """
    What a protocol writes to and reads from, on one end of a connection.

    As over TLS, `loseConnection` is not carried out while a producer is registered; `as_tcp` is as lenient as TCP,
    where only a paused producer is in the way.  A write behind `loseConnection` is dropped.
    """

    bufferSize = READ_OCTETS

    def __init__(
        self, clock: Clock, socket: Socket, *, high_mark: int, host: Any, peer: Any, as_tcp: bool = False
    ) -> None:
        self.protocol: Any = None
        self.connected = True
        self.disconnecting = False
        self.reading = True
        self.buffer = bytearray()
        self.producer: Any = None
        self.no_delay = self.keep_alive = False
        self._clock = clock
        self._socket = socket
        self._high_mark = high_mark
        self._host = host
        self._peer = peer
        self._as_tcp = as_tcp
        self._producer_paused = False
        self._aborting = False
        self._ending = False
        self._ended = False

    # The protocol's side

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if not self.connected or self._aborting or self._ended or (self.disconnecting and self.producer is None):
            return
        self.buffer += data
        if self.producer is not None and len(self.buffer) > self._high_mark:
            self._producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: FBT001 - Twisted's
        assert streaming, "only push producers are of use here"
        if self.producer is not None:
            raise RuntimeError("there is a producer already")
        if self.connected:
            self.producer = producer
        else:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        self.producer = None
        self._producer_paused = False

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        if self.connected and not self.disconnecting and not self._aborting:
            self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def loseConnection(self) -> None:
        if not self.connected or self.disconnecting:
            return
        if self._ended:
            self._lost(ConnectionDone())
        else:
            self.reading = False
            self.disconnecting = True

    def loseWriteConnection(self) -> None:
        self._ending = True

    def abortConnection(self) -> None:
        if self.connected and not self._aborting:
            self._aborting = True
            self.reading = False
            self.buffer.clear()
            self._clock.callLater(0, self._lost, ConnectionAborted())

    def getHost(self) -> Any:
        return self._host

    def getPeer(self) -> Any:
        return self._peer

    def getTcpNoDelay(self) -> bool:
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001 - Twisted's
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        return self.keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: FBT001 - Twisted's
        self.keep_alive = enabled

    # The reactor's side

    @property
    def may_read(self) -> bool:
        """Whether there is something to be read, and somebody who wants it."""
        return self.connected and self.reading and not self._aborting and self._socket.readable

    @property
    def may_write(self) -> bool:
        """Whether octets can go, or something waits for that they are gone."""
        if not self.connected or self._aborting:
            return False
        return self._socket.writable if self.buffer else self._producer_paused or self._may_close or self._may_end

    @property
    def _may_close(self) -> bool:
        in_the_way = self._producer_paused if self._as_tcp else self.producer is not None
        return self.disconnecting and not in_the_way

    @property
    def _may_end(self) -> bool:
        return self._ending and not self._ended

    def do_read(self, limit: int) -> None:
        """Some octets are handed to the protocol, or the end of them."""
        try:
            octets = self._socket.receive(min(limit, self.bufferSize))
        except ConnectionResetError:
            self._lost(ConnectionLost())
            return
        if octets:
            self.protocol.dataReceived(octets)
            return
        self.reading = False
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self._lost(ConnectionDone())

    def do_write(self, limit: int) -> None:
        """Some octets are on their way; when all are, who waited for that hears of it."""
        try:
            del self.buffer[: self._socket.send(bytes(self.buffer[:limit]))]
        except ConnectionResetError:
            self._lost(ConnectionLost())
            return
        if self.buffer:
            return
        if self._producer_paused:
            self._producer_paused = False
            self.producer.resumeProducing()
        elif self._may_close:
            self._lost(ConnectionDone())
        elif self._may_end:
            self._ended = True
            self._socket.shutdown()
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()

    def _lost(self, reason: Exception) -> None:
        if not self.connected:
            return
        self.connected = self.reading = False
        self.buffer.clear()
        producer, self.producer = self.producer, None
        self._producer_paused = False
        if producer is not None:
            producer.stopProducing()
        if isinstance(reason, ConnectionAborted):
            self._socket.abort()
        else:
            self._socket.close()
        protocol, self.protocol = self.protocol, None
        protocol.connectionLost(Failure(reason))


@implementer(ITLSTransport)
class UpgradableTransport(MemoryTransport):
    """
    The same with Twisted's own TLS on top, once it was started.

    `begins` says who made the connection, and so is the client of TLS.
    """

    streamingProducer = True
    TLS = False

    def __init__(self, clock: Clock, socket: Socket, *, begins: bool, **more: Any) -> None:
        super().__init__(clock, socket, **more)
        self._tlsClientDefault = begins

    def startTLS(self, options: Any, normal: bool = True) -> None:  # noqa: FBT001, FBT002 - Twisted's
        self._as_tcp = True  # TLS closes what is below it with a producer registered
        with mock.patch.object(tls, "_get_default_clock", return_value=self._clock):
            _newtls.startTLS(self, options, normal, MemoryTransport)

    def getHandle(self) -> Any:
        return self.protocol.getHandle() if self.TLS else self._socket

    def write(self, data: bytes) -> None:
        if self.TLS:
            if self.connected:
                self.protocol.write(data)
        else:
            super().write(data)

    def loseConnection(self) -> None:
        if self.TLS:
            if self.connected and not self.disconnecting:
                self.protocol.loseConnection()
        else:
            super().loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: FBT001 - Twisted's
        if self.TLS:
            self.protocol.registerProducer(producer, streaming)
        else:
            super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self.TLS:
            self.protocol.unregisterProducer()
        else:
            super().unregisterProducer()


@frozen
class Step:
    """Something that can happen next."""

    name: str
    take: Callable[[], None]


def the_first(steps: list[Step]) -> Step:
    """The order of things that nobody cares about."""
    return steps[0]


class Network:
    """
    All the connections of a test, and its clock.

    Args:
        clock: another one than its own.
        choose: which of several possible steps comes next.
        pipe_octets: what is on its way in one direction, at most.
        high_mark: of the write buffers.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        choose: Callable[[list[Step]], Step] = the_first,
        pipe_octets: int = PIPE_OCTETS,
        high_mark: int = HIGH_MARK,
    ) -> None:
        self.clock = clock or Clock()
        self.read_octets = READ_OCTETS
        self.write_octets = WRITE_OCTETS
        self._choose = choose
        self._pipe_octets = pipe_octets
        self._high_mark = high_mark
        self._transports: list[MemoryTransport] = []
        self._ports = 40000

    @property
    def transports(self) -> list[MemoryTransport]:
        """Those that are connected."""
        self._transports = [transport for transport in self._transports if transport.connected]
        return self._transports

    def plug(self, protocol: Any, *, as_tcp: bool = False, begins: bool = False) -> Socket:
        """The protocol is connected; the other end is the caller's.  `begins` says who made the connection."""
        near, far = socket_pair(self._pipe_octets)
        self._attach(protocol, near, as_tcp=as_tcp, begins=begins)
        return far

    def join(self, one: Any, other: Any, *, as_tcp: bool = False) -> None:
        """Two protocols are connected with each other; the first one has begun."""
        near, far = socket_pair(self._pipe_octets)
        self._attach(one, near, as_tcp=as_tcp, begins=True)
        self._attach(other, far, as_tcp=as_tcp)

    def steps(self) -> list[Step]:
        """What can happen next."""
        steps = []
        for number, transport in enumerate(self.transports):
            if transport.may_write:
                steps.append(Step(f"{number} writes", lambda t=transport: t.do_write(self.write_octets)))
            if transport.may_read:
                steps.append(Step(f"{number} reads", lambda t=transport: t.do_read(self.read_octets)))
        if any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            steps.append(Step("the clock", lambda: self.clock.advance(0)))
        return steps

    def settle(self) -> None:
        """Everything has happened that can happen without time going by."""
        for _ in range(MOST_STEPS):
            steps = self.steps()
            if not steps:
                return
            self._choose(steps).take()
        raise AssertionError("there is no end of it")

    def advance(self, seconds: float) -> None:
        """Time has gone by, and what it led to has happened."""
        self.settle()
        end = self.clock.seconds() + seconds
        for _ in range(MOST_STEPS):
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            self.clock.advance(max(0.0, min(due, end) - self.clock.seconds()))
            self.settle()
            if due > end or self.clock.seconds() >= end:
                return
        raise AssertionError("there is no end of it")

    def _attach(self, protocol: Any, socket: Socket, *, as_tcp: bool, begins: bool = False) -> None:
        self._ports += 1
        transport = UpgradableTransport(
            self.clock,
            socket,
            begins=begins,
            high_mark=self._high_mark,
            host=IPv4Address("TCP", "127.0.0.1", 2525),
            peer=IPv4Address("TCP", "127.0.0.1", self._ports),
            as_tcp=as_tcp,
        )
        transport.protocol = protocol
        self._transports.append(transport)
        protocol.makeConnection(transport)
