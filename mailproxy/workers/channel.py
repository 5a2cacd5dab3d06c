"""
The line between the supervisor and one worker: messages both ways, and sockets to the worker.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IFileDescriptorReceiver, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.workers.frames import Frames, Message, format_frame

_log = Logger(namespace="mailproxy.workers")


@implementer(IFileDescriptorReceiver, IPushProducer)
class Channel(Protocol):
    """
    One end of it.

    A socket comes before the message that it belongs to, and maybe long before: the transport sends one with each octet
    that waits.

    Args:
        heard: called with each message; what it cannot make sense of is a `ValueError`, and ends the connection.
        lost: called once, when the connection has ended.
        sockets: whether the other side may send some.
    """

    transport: Any

    def __init__(self, heard: Callable[[Message], object], lost: Callable[[], object], *, sockets: bool) -> None:
        self._heard = heard
        self._lost = lost
        self._sockets = sockets
        self._frames = Frames()
        self._descriptors: deque[int] = deque()
        self.full = False
        """Whether the other side does not take what was said, so that nothing that can wait should be said."""

    def connectionMade(self) -> None:
        """We are told when the other side takes no more."""
        self.transport.registerProducer(self, True)

    def say(self, message: Message, opened: int | None = None) -> None:
        """
        The other side will hear the message, and have the open file.

        Args:
            message: to be heard; what is said after the end goes nowhere.
            opened: its descriptor, which has to stay open until the other side has answered.
        """
        if self.transport is None or not self.transport.connected:
            return
        if opened is not None:
            self.transport.sendFileDescriptor(opened)
        self.transport.write(format_frame(message))

    def take_socket(self) -> socket.socket:
        """
        The socket that belongs to the message.

        Raises:
            ValueError: none has come, maybe because there was no descriptor left for it.
        """
        if not self._descriptors:
            raise ValueError("a socket has not come")
        return socket.socket(fileno=self._descriptors.popleft())

    def close(self) -> None:
        """What was said is heard, and then the connection ends."""
        if self.transport is not None and self.transport.connected:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """A socket waits for its message."""
        self._descriptors.append(descriptor)
        if not self._sockets:
            self._give_up("a socket comes the wrong way")

    def dataReceived(self, data: bytes) -> None:
        """Every message that is complete is heard."""
        self._frames.feed(data)
        try:
            while (message := self._frames.next_message()) is not None:
                self._heard(message)
        except ValueError as error:
            self._give_up(str(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - the interface's signature
        """Nothing is said or heard any more."""
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._lost()

    def pauseProducing(self) -> None:
        """The other side takes no more at the moment."""
        self.full = True

    def resumeProducing(self) -> None:
        """It does again."""
        self.full = False

    def stopProducing(self) -> None:
        """The connection ends; `connectionLost` says so."""

    def _give_up(self, reason: str) -> None:
        _log.error("the connection between supervisor and worker ends: {reason}", reason=reason)
        self.transport.abortConnection()


class One(Factory):
    """Makes the protocol of one connection, which is there already."""

    noisy = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def buildProtocol(self, addr: object) -> Channel:  # noqa: ARG002 - the interface's signature
        """The channel."""
        return self._channel
