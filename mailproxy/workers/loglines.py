"""
Lines of a worker's log, in ours.

Where the log is a file that is rotated, or the system's, only one process can write it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet.interfaces import IProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_LINE_OCTETS = 65_536
"""A longer line is cut into several."""

_LEVELS = frozenset(level.name for level in LogLevel.iterconstants())
_NAME = re.compile(r"[\w.-]{1,100}")


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
    """The line is in our log; one that is no line of a log is what an interpreter says at its end."""
    said = _parse(line)
    if said is None:
        Logger(namespace="mailproxy.workers").warn("{text}", text=line.decode("utf-8", "backslashreplace"))
        return
    text = said["text"] + "".join(f"\n\t{each}" for each in said.get("traceback", "").splitlines())
    level = LogLevel.levelWithName(said["level"])
    Logger(namespace=said["namespace"]).emit(level, "{text}", text=text, log_line=said)


def _parse(line: bytes) -> dict[str, Any] | None:
    """What a worker's log has in a line, see `observe.logs`; None if that is something else."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not isinstance(said.get("traceback", ""), str):
        return None
    known = isinstance(said.get("text"), str) and said.get("level") in _LEVELS
    return said if known and _NAME.fullmatch(str(said.get("namespace"))) else None
