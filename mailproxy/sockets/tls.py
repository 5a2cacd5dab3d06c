"""
TLS by OpenSSL on the socket itself.

Theory of operation
-------------------

Twisted's layer has OpenSSL work in memory, and copies every octet into it and out of it again.  Here OpenSSL reads and
writes the socket.  What a protocol sees is what Twisted shows it: `startTLS`, producers, `handshakeCompleted`, and the
reasons of `connectionLost`; one suite of tests is run against both.

    PLAIN    octets are what they are; so it stays where TLS is Twisted's
    WAITING  TLS was asked for, and octets written before it are still leaving; nothing is read
    SHAKING  the handshake is going on; what is written is kept
    OPEN     octets go through TLS
    CLOSING  we have said goodbye, and listen until the peer does
    CLOSED   the peer has said goodbye; what was written before that is still leaving

    PLAIN --startTLS--> WAITING -> SHAKING -> OPEN --loseConnection, all sent--> CLOSING -> CLOSED
                                              OPEN --goodbye of the peer--> CLOSED

OpenSSL wants whole records.  It is asked for a record's worth of octets at a time, and reads nothing beyond that
record.  So nothing stays behind in it that the reactor does not know of, and a pause takes effect at once.

It may have to read in order to write, and the other way around (RFC 8446 §4.6.3, RFC 5246 §7.4.1.1): then the
direction that it waits for is watched whatever else is wanted, and what it was asked is asked again.  What it could
not write it has sealed already, and must be given again, unchanged: it stays at the head of the buffer.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum, auto
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from mailproxy.sockets.eager import Eager
from mailproxy.sockets.portions import Portions

RECORD_OCTETS = 16_384
"""The most that one record holds (RFC 8446 §5.1)."""

SHORT_OCTETS = 1_024
"""A record shorter than that is the last one for now, most of the time: the reactor says so when it was not."""


class Stage(Enum):
    """How far TLS is; see above."""

    PLAIN = auto()
    WAITING = auto()
    SHAKING = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class SocketTLS(Portions, Eager):
    """
    A mixin before `tcp.Client` or `tcp.Server`.
    """

    _stage = Stage.PLAIN
    _tls: SSL.Connection | None = None
    _plaintext = b""
    """What was written before TLS, and is not sent yet."""
    _paused = False
    _refused: BaseException | None = None
    _failed: BaseException | None = None
    """What was wrong with the very first step of the handshake."""
    _write_wants_read = False
    _read_wants_write = False
    _parting = False
    """The peer's goodbye is not waited for."""

    # The handshake

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:  # noqa: FBT001, FBT002 - the interface's
        """
        TLS begins behind what was written; what is written from now on goes through it.

        Args:
            contextFactory: has `on_socket(socket, judge)`, which gives a connection in its role; any other that Twisted
                knows gets Twisted's layer.
            normal: only of interest to Twisted's layer.

        Raises:
            RuntimeError: there is no connection any more, or TLS on it already.
        """
        on_socket = getattr(contextFactory, "on_socket", None)
        if on_socket is None:
            super().startTLS(contextFactory, normal)
            return
        if not self.connected or self._tls is not None or self.TLS:
            raise RuntimeError("TLS can begin once, while there is a connection")
        self._tls = on_socket(self.socket, self)
        directlyProvides(self, ISSLTransport)
        self._plaintext = b"".join([self.dataBuffer[self.offset :], *self._tempDataBuffer])
        self.dataBuffer, self.offset, self._tempDataBuffer, self._tempDataLen = b"", 0, [], 0
        if self._plaintext:
            self._stage = Stage.WAITING
            self.stopReading()
        else:
            self._stage = Stage.SHAKING
            self._failed = None if self._aborting else self._shake()
            if self._failed is not None:
                self.startWriting()  # the reactor hears of it: nothing is lost while somebody calls us

    def failVerification(self, reason: Failure) -> None:
        """The peer was refused: OpenSSL tells it so, and the protocol hears the reason when the connection is lost."""
        self._refused = reason.value

    def _send_plaintext(self) -> BaseException | None:
        sent = super().writeSomeData(self._plaintext)
        if not isinstance(sent, int):
            return sent
        self._plaintext = self._plaintext[sent:]
        if self._plaintext:
            return None
        self._stage = Stage.SHAKING
        self.stopWriting()
        self._read_on()
        return self._shake()

    def _shake(self) -> BaseException | None:
        assert self._tls is not None
        if self._failed is not None:
            return self._failed
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return None
        except SSL.WantWriteError:
            self._read_when_writable()
            return None
        except SSL.Error as error:
            return self._broken(error)
        if self._refused is not None:  # whatever OpenSSL made of it
            return self._refused
        self._stage = Stage.OPEN
        return self._opened()

    def _opened(self) -> BaseException | None:
        """The protocol hears of it first: what it writes now and what was kept leave together."""
        if IHandshakeListener.providedBy(self.protocol):
            self.protocol.handshakeCompleted()
        if not self._aborting and (self._must_wait() or self.disconnecting or self.producerPaused):
            why: BaseException | None = self.doWrite()
            if why is not None:
                return why
            if self._unsent():
                self.startWriting()
        return None

    # Reading

    def doRead(self) -> Any:
        """The socket has something for us."""
        stage = self._stage
        if stage is Stage.PLAIN:
            return super().doRead()
        if stage is Stage.OPEN or stage is Stage.CLOSING:
            return self._receive()
        if stage is Stage.SHAKING:
            return self._shake()
        return CONNECTION_LOST if stage is Stage.CLOSED else None

    def _receive(self) -> BaseException | None:
        if self._write_wants_read:
            self._write_wants_read = False
            self.startWriting()
            if self._paused:
                self.stopReading()
                return None
        chunks, error = self._records()
        if chunks:
            self.protocol.dataReceived(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if error is None or self._aborting:
            return None
        return self._hear_goodbye() if isinstance(error, SSL.ZeroReturnError) else self._broken(error)

    def _records(self) -> tuple[list[bytes], SSL.Error | None]:
        """What has arrived, and what came behind it: an error, or the peer's goodbye."""
        assert self._tls is not None
        chunks: list[bytes] = []
        most = self.bufferSize // RECORD_OCTETS
        try:
            while len(chunks) < most:
                chunks.append(self._tls.recv(RECORD_OCTETS))
                if len(chunks[-1]) < SHORT_OCTETS:
                    return chunks, None
            self._filled()
        except SSL.WantReadError:
            pass
        except SSL.WantWriteError:
            self._read_when_writable()
        except SSL.Error as error:
            return chunks, error.with_traceback(None)
        return chunks, None

    def _read_when_writable(self) -> None:
        self._read_wants_write = True
        self.stopReading()  # there may be something to read all the time
        self.startWriting()

    def _read_on(self) -> None:
        if not self._paused:
            self.startReading()

    def pauseProducing(self) -> None:
        """Nothing more is delivered."""
        self._paused = True
        self._pause_begins()
        if not self._write_wants_read:
            self.stopReading()

    def resumeProducing(self) -> None:
        """Octets are delivered again; also while we wait for the goodbye of the peer."""
        self._paused = False
        self._pause_ends()
        if self._tls is None:
            super().resumeProducing()
        elif self._read_wants_write:
            self.startWriting()
        elif self._stage not in (Stage.WAITING, Stage.CLOSED) and not self._aborting:
            self.startReading()

    # Writing

    def write(self, data: bytes) -> None:
        """Octets are sent, or kept until the handshake is done; behind `loseConnection` only a producer may write."""
        stage = self._stage
        if stage is Stage.PLAIN:
            super().write(data)
        elif self.disconnecting and self.producer is None:
            pass
        elif stage is Stage.OPEN:
            super().write(data)
        elif not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        elif data and self.connected and stage in (Stage.WAITING, Stage.SHAKING):
            self._keep(data)

    def doWrite(self) -> Any:
        """The socket takes octets."""
        if self._stage is Stage.WAITING:
            return self._send_plaintext()
        if self._read_wants_write and (self._stage is Stage.SHAKING or not self._paused):
            self._read_wants_write = False
            self._read_on()
            return self.doRead()
        if self._stage is Stage.SHAKING:
            self.stopWriting()
            return self._failed
        return super().doWrite()

    def writeSomeData(self, data: bytes) -> int | BaseException:  # type: ignore[override]  # FileDescriptor's own type
        """As many octets as OpenSSL can get rid of now; how many, or what is wrong."""
        tls = self._tls
        if tls is None:
            return super().writeSomeData(data)
        view = memoryview(data)[: self.SEND_LIMIT]
        sent = 0
        try:
            while sent < len(view):
                sent += tls.send(view[sent:])
        except SSL.WantWriteError:
            pass
        except SSL.WantReadError:
            if self._stage is Stage.CLOSED:
                return CONNECTION_LOST  # for something that will not come
            self._write_wants_read = True
            self.stopWriting()
            self.startReading()
        except SSL.Error as error:
            return self._reason(error)
        return sent

    # Ends

    def loseConnection(self) -> None:
        """
        What was written is sent, then we say goodbye and wait for the peer's; how long is somebody else's to say.

        A handshake for which nobody has written anything is given up.
        """
        if self._tls is None:
            super().loseConnection()
        elif self.connected and not self.disconnecting and not self._aborting:
            if self._stage in (Stage.WAITING, Stage.SHAKING) and not self._unsent():
                self.abortConnection()
            self.disconnecting = True
            if self._stage is Stage.OPEN and not self._must_wait() and self._postLoseConnection() is not None:
                self.startWriting()  # the reactor finds the same, and ends the connection

    def part(self) -> None:
        """As `loseConnection`, and the peer's goodbye is not waited for."""
        self._parting = True
        if self._stage is Stage.CLOSING:
            self.startWriting()
        else:
            self.loseConnection()

    def loseWriteConnection(self) -> None:
        """TLS knows no half of a connection that is closed: as `loseConnection`."""
        if self._tls is not None:
            self.loseConnection()
        elif self.connected:
            super().loseWriteConnection()

    def _postLoseConnection(self) -> BaseException | None:
        """All is sent, and nobody wants to send more, or a producer still may; it may be asked for again."""
        if self._tls is None:
            result: BaseException | None = super()._postLoseConnection()
            return result
        if self._stage is Stage.CLOSING:
            return CONNECTION_DONE if self._parting else None
        return self._say_goodbye() if self.producer is None else None

    def _say_goodbye(self) -> BaseException | None:
        assert self._tls is not None
        heard = self._stage is Stage.CLOSED
        try:
            heard = self._tls.shutdown() or heard
        except SSL.WantWriteError:
            self.startWriting()
            return None
        except SSL.Error as error:
            return CONNECTION_DONE if heard else self._reason(error)
        self._stage = Stage.CLOSED if heard else Stage.CLOSING
        return CONNECTION_DONE if heard or self._parting else None

    def _hear_goodbye(self) -> BaseException | None:
        """The peer sends no more; what was written before we knew is for it all the same."""
        self._stage = Stage.CLOSED
        self.disconnecting = True
        self.stopReading()
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        return None if self._unsent() or self._aborting else self._say_goodbye()

    def _broken(self, error: SSL.Error) -> BaseException:
        """
        Why TLS is over.  What the peer goes on saying is thrown away: unread, it would make the system answer with a
        reset, which overtakes the alert that says what is wrong.
        """
        with suppress(OSError):
            self.socket.recv(self.bufferSize)
        return self._reason(error)

    def _reason(self, error: SSL.Error) -> BaseException:
        """What the protocol is told.  Without its traceback, which leads back to whoever holds it, us among them."""
        if self._refused is not None:
            return self._refused
        return CONNECTION_LOST if _is_loss(error) else error.with_traceback(None)

    def readConnectionLost(self, reason: Failure) -> None:
        """Nothing more will come: for TLS the end, and an orderly one only behind a goodbye."""
        if self._tls is None:
            super().readConnectionLost(reason)
        else:
            self.connectionLost(Failure(CONNECTION_DONE if self._stage is Stage.CLOSED else CONNECTION_LOST))

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone."""
        tls, self._tls = self._tls, None
        if tls is not None:
            # OpenSSL would take a session that nobody said goodbye to for one that must not be resumed.
            tls.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
            self._refused = None
        super().connectionLost(reason)

    # ISSLTransport

    def getHandle(self) -> Any:
        """OpenSSL's connection, or the socket; not to be used once the connection is lost."""
        return super().getHandle() if self._tls is None else self._tls

    def getPeerCertificate(self) -> Any:
        """What the peer has shown, or None."""
        return None if self._tls is None else self._tls.get_peer_certificate()


def _is_loss(error: SSL.Error) -> bool:
    """Whether it is the connection that was lost, and TLS only noticed it; OpenSSL has several words for that."""
    queue = error.args[0] if error.args else ()
    return isinstance(error, SSL.SysCallError) or not queue or str(queue[-1][-1]).startswith("unexpected eof")
