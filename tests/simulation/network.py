"""
Connections whose octets take their time, in pieces of any size, through bounded buffers.

Both ends of a connection are `Wire`s.  The proxy's end carries a `SimulatedTransport`, which a protocol of Twisted's
sits on; the other end is an actor's.  Whenever something about an end changes, its owner is touched, and acts some
time later.
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet import _newtls
from twisted.internet.interfaces import ITLSTransport
from zope.interface import implementer

from tests.support.transports import MemoryTransport, Pipe, Socket


def _nobody():
    """Whom an end concerns that nobody holds yet."""


@define(eq=False)
class Wire(Socket):
    """An end of a connection; every change tells the other end."""

    touch: object = _nobody
    other: object = field(default=None, init=False)

    def receive(self, limit):
        octets = super().receive(limit)
        self.other.touch()
        return octets

    def send(self, octets):
        sent = super().send(octets)
        self.other.touch()
        return sent

    def shutdown(self):
        super().shutdown()
        self.other.touch()

    def close(self):
        super().close()
        self.other.touch()

    def abort(self):
        super().abort()
        self.other.touch()


def wires(capacity):
    """Two ends of a connection."""
    there, back = Pipe(capacity), Pipe(capacity)
    near, far = Wire(there, back), Wire(back, there)
    near.other, far.other = far, near
    return near, far


@define(eq=False)
class Pace:
    """How fast one connection is, and how much of it moves at a time."""

    random: object
    latency: float
    piece: int

    def delay(self):
        return self.latency * (0.5 + self.random.random())

    def limit(self):
        return self.random.randint(1, self.piece)

    def octets_within(self, seconds):
        """How many octets move in so many seconds, on average."""
        return self.piece / 2 * seconds / self.latency


@implementer(ITLSTransport)
class SimulatedTransport(MemoryTransport):
    """
    The proxy's side of a connection.

    Args:
        begins: whether the proxy has made the connection, and so is the client of TLS.
        tap: is told of every octet that the proxy writes and reads; see `taps.py`.
        closed: called once with the transport when the connection is over.
    """

    streamingProducer = True
    TLS = False

    def __init__(self, reactor, wire, *, begins, pace, tap, closed, high_mark, host, peer):
        super().__init__(reactor, wire, high_mark=high_mark, host=host, peer=peer, as_tcp=True)
        self._tlsClientDefault = begins
        self._reactor = reactor
        self._pace = pace
        self.tap = tap
        self._closed = closed
        self._touched = False
        self.most_buffered = 0
        wire.touch = self.touch

    def touch(self):
        """Something may be possible that was not."""
        if not self._touched and (self.may_write or self.may_read):
            self._touched = True
            self._reactor.later(self._pace.delay(), self._act)

    def _act(self):
        self._touched = False
        writes, reads = self.may_write, self.may_read
        if writes and not (reads and self._pace.random.random() < 0.5):
            self.do_write(self._pace.limit() * 4)
        elif reads:
            self.do_read(self._pace.limit())
        self.touch()

    def do_read(self, limit):
        if self._socket.incoming.data:
            self.tap.heard(bytes(self._socket.incoming.data[:limit]))
        super().do_read(limit)

    def _lost(self, reason):
        if self.connected:
            super()._lost(reason)
            self.tap.closed()
            self._closed(self)

    # Twisted's side of STARTTLS, as its own transports have it

    def startTLS(self, options, normal=True):  # noqa: FBT002 - Twisted's
        _newtls.startTLS(self, options, normal, _Bypass)

    def getHandle(self):
        return None

    def write(self, data):
        if self.TLS:
            if self.connected:
                self.protocol.write(data)
        else:
            self.write_raw(data)

    def write_raw(self, data):
        if self.connected and not self._aborting and not (self.disconnecting and self.producer is None):
            self.tap.said(data)
        super().write(data)
        self.most_buffered = max(self.most_buffered, len(self.buffer))
        self.touch()

    def loseConnection(self):
        if self.TLS:
            if self.connected and not self.disconnecting:
                self.protocol.loseConnection()
        else:
            self.lose_raw()

    def lose_raw(self):
        super().loseConnection()
        self.touch()

    def registerProducer(self, producer, streaming):
        if self.TLS:
            self.protocol.registerProducer(producer, streaming)
        else:
            super().registerProducer(producer, streaming)

    def unregisterProducer(self):
        if self.TLS:
            self.protocol.unregisterProducer()
        else:
            self.unregister_raw()

    def unregister_raw(self):
        super().unregisterProducer()
        self.touch()

    def register_raw(self, producer, streaming):
        super().registerProducer(producer, streaming)

    def resumeProducing(self):
        super().resumeProducing()
        self.touch()

    def loseWriteConnection(self):
        super().loseWriteConnection()
        self.touch()


class _Bypass:
    """What TLS on top of a transport calls to reach below itself."""

    @staticmethod
    def write(transport, data):
        transport.write_raw(data)

    @staticmethod
    def loseConnection(transport):
        transport.lose_raw()

    @staticmethod
    def registerProducer(transport, producer, streaming):
        transport.register_raw(producer, streaming)

    @staticmethod
    def unregisterProducer(transport):
        transport.unregister_raw()
