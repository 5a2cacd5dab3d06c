"""
The program around a worker: its log, its reactor, its descriptor.
"""

from __future__ import annotations

import os
import sys
from socket import AF_UNIX
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from mailproxy.observe.sessions import numbers
from mailproxy.workers.board import Board
from mailproxy.workers.channel import One
from mailproxy.workers.worker import Worker

CHANNEL = 3
"""The descriptor of the channel."""

BOARD = 4
"""That of the board."""


def main() -> int:
    """The worker has run to its end; the exit status."""
    _begin_log()
    number, seat = map(int, sys.argv[1:])
    numbers.worker = f"{number}-"
    from twisted.internet import reactor  # noqa: PLC0415 - importing it chooses it

    return _run(reactor, seat)


def _run(reactor: Any, seat: int) -> int:
    worker = Worker(reactor, Board(BOARD), seat)
    os.set_blocking(CHANNEL, False)
    reactor.adoptStreamConnection(CHANNEL, AF_UNIX, One(worker.channel))
    os.close(CHANNEL)
    reactor.run(installSignalHandlers=False)
    return worker.status


def _begin_log() -> None:
    """Lines as those of twistd; what listeners say is said by the supervisor, once for all workers."""
    predicate = LogLevelFilterPredicate()
    predicate.setLogLevelForNamespace("mailproxy.listeners", LogLevel.warn)
    predicate.setLogLevelForNamespace("", LogLevel.info)
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(textFileLogObserver(sys.stdout), [predicate])])
