"""
HTTP, with a bound on everything: one question for each connection, a few connections, and no time to waste.

That there is no second question on a connection costs a browser nothing worth mentioning, and leaves nothing to be
kept between two of them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from mailproxy.admin.answers import Answer
from mailproxy.admin.desk import HEADERS, Asked, Desk
from mailproxy.deadline import Deadline

MAX_CONNECTIONS = 32
"""One more, and the oldest one ends: who drips octets in does not keep a probe out."""

CONNECTION_SECONDS = 10.0
"""From the first octet of the question to the last one of the answer."""

MAX_LINE_OCTETS = 4096
MAX_HEADERS = 64
MAX_HEADER_OCTETS = 16_384
"""Request line and header lines, all in all."""

_log = Logger(namespace="mailproxy.admin")


class Question(Request):
    """One request; its body is nothing that we want."""

    channel: Channel

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """It is complete, and is answered."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        answered = Deferred.fromCoroutine(self.channel.desk.answer(self._asked()))
        answered.addErrback(_failed).addCallback(self.give)

    def give(self, answer: Answer) -> None:
        """The answer is on its way, if there still is somebody who waits for it."""
        if self._disconnected:
            return
        self.setResponseCode(answer.code)
        for name, value in {**HEADERS, **answer.headers}.items():
            self.setHeader(name, value)
        self.setHeader("Content-Type", answer.kind)
        self.setHeader("Content-Length", str(len(answer.body)))
        self.setHeader("Connection", "close")
        self.write(answer.body)
        self.finish()

    def _asked(self) -> Asked:
        headers = {
            name.decode("latin-1").lower(): ", ".join(value.decode("latin-1") for value in values)
            for name, values in self.requestHeaders.getAllRawHeaders()
        }
        return Asked(self.method.decode("latin-1"), self.path.decode("latin-1"), headers)


def _failed(failure: Failure) -> Answer:
    """Whatever it was: the client hears of it, and the log says what."""
    _log.failure("internal error while an operator was answered", failure)
    return Answer(500, "text/plain; charset=utf-8", b"An internal error; the log says more.\n")


class Channel(HTTPChannel):
    """One connection."""

    requestFactory = Question
    transport: Any
    MAX_LENGTH = MAX_LINE_OCTETS
    maxHeaders = MAX_HEADERS
    totalHeadersSize = MAX_HEADER_OCTETS
    timeOut = None

    def __init__(self, desk: Desk, clock: IReactorTime, gone: Any) -> None:
        super().__init__()
        self.desk = desk
        self._gone = gone
        self._over = False
        self._deadline = Deadline(clock)

    def connectionMade(self) -> None:
        """The time runs."""
        self._deadline.set(CONNECTION_SECONDS, self.abort)
        super().connectionMade()

    def lineReceived(self, line: bytes) -> None:
        """A line of the question; what comes behind the answer is not looked at."""
        if not self._over:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002 - Twisted's
        """It is refused as any other that breaks the rules."""
        self._respondToBadRequestAndDisconnect()

    def rawDataReceived(self, data: bytes) -> None:
        """What is no line is not wanted."""

    def allHeadersReceived(self) -> None:
        """The head is complete; whoever sends a body is told that it is not wanted."""
        if self.length == 0:
            super().allHeadersReceived()
            return
        self.persistent = 0
        question = self.requests[-1]
        question.clientproto = b"HTTP/1.1"
        question.give(Answer(413, "text/plain; charset=utf-8", b"No body is wanted.\n"))

    def checkPersistence(self, request: Request, version: bytes) -> bool:  # noqa: ARG002 - Twisted's
        """There is one question for each connection."""
        return False

    def loseConnection(self) -> None:
        """What was said is delivered, and then the connection ends."""
        self._over = True
        super().loseConnection()

    def abort(self) -> None:
        """It ends now."""
        self._over = True
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended."""
        self._deadline.clear()
        super().connectionLost(reason)
        self._gone(self)


class Door(ServerFactory):
    """
    Lets clients in.

    Args:
        desk: answers.
        clock: bounds the time.
    """

    noisy = False

    def __init__(self, desk: Desk, clock: IReactorTime) -> None:
        self._desk = desk
        self._clock = clock
        self._channels: dict[Channel, None] = {}

    def buildProtocol(self, addr: Any) -> Protocol:  # noqa: ARG002 - Twisted's
        """The connection of a client; the oldest one gives way where there are too many."""
        if len(self._channels) >= MAX_CONNECTIONS:
            oldest = next(iter(self._channels))
            del self._channels[oldest]
            oldest.abort()
        channel = Channel(self._desk, self._clock, self._gone)
        self._channels[channel] = None
        return channel

    def abort(self) -> None:
        """Every connection ends now."""
        for channel in list(self._channels):
            channel.abort()

    def _gone(self, channel: Channel) -> None:
        self._channels.pop(channel, None)
