"""
Lines of a worker's log, in ours.

Where the log is a file that is rotated, or the system's, only one process can write it.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.interfaces import IProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_LINE_OCTETS = 65_536
"""A longer line is cut into several."""

# 2026-11-21T14:00:17+0000 [mailproxy.session#info] acme/smtp: session 1-000001 from 127.0.0.1:49202: ended: quit
_LINE = re.compile(r"\S+ \[([\w.-]{1,100})#(debug|info|warn|error|critical)\] (.*)", re.DOTALL)


@implementer(IProcessProtocol)
class LogLines:
    """
    Stands before a worker's protocol, and takes what it writes.

    Args:
        inner: hears of everything else.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._rests = {1: b"", 2: b""}

    def makeConnection(self, process: Any) -> None:
        """Its process runs."""
        self._inner.makeConnection(process)

    def childDataReceived(self, descriptor: int, data: bytes) -> None:
        """It has written something."""
        *lines, rest = (self._rests[descriptor] + data).split(b"\n")
        for line in lines:
            _emit(line)
        while len(rest) > MAX_LINE_OCTETS:
            _emit(rest[:MAX_LINE_OCTETS])
            rest = rest[MAX_LINE_OCTETS:]
        self._rests[descriptor] = rest

    def childConnectionLost(self, descriptor: int) -> None:
        """It writes no more."""
        rest, self._rests[descriptor] = self._rests[descriptor], b""
        if rest:
            _emit(rest)

    def processExited(self, reason: Failure) -> None:
        """It writes no more, but what it has written may still come."""

    def processEnded(self, reason: Failure) -> None:
        """It is gone."""
        self._inner.processEnded(reason)


def _emit(line: bytes) -> None:
    """The line is in our log; one that does not look like a line of a log is what an interpreter says at its end."""
    text = line.decode("utf-8", "backslashreplace")
    found = _LINE.fullmatch(text)
    if found is None:
        Logger(namespace="mailproxy.workers").warn("{text}", text=text)
    else:
        Logger(namespace=found[1]).emit(LogLevel.levelWithName(found[2]), "{text}", text=found[3])
