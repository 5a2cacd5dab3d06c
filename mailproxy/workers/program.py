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
)

from mailproxy.observe.logs import LogWriter
from mailproxy.observe.sessions import numbers
from mailproxy.workers.board import Board
from mailproxy.workers.channel import One
from mailproxy.workers.worker import Worker

CHANNEL = 3
"""The descriptor of the channel."""

BOARD = 4
"""That of the board."""

PIPE, STDOUT = "pipe", "stdout"
"""Where the log goes: to the supervisor, which tells it, or to where the supervisor's own goes."""


def main() -> int:
    """The worker has run to its end; the exit status."""
    number, seat = map(int, sys.argv[1:3])
    _begin_log(through_pipe=sys.argv[3] == PIPE)
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


def _begin_log(*, through_pipe: bool) -> None:
    """
    Lines as those of the supervisor, or such as it reads; what listeners say is said by it, once for all workers.
    """
    writer = LogWriter(sys.stdout, form="json" if through_pipe else None)
    predicate = LogLevelFilterPredicate(LogLevel.debug)  # the writer knows what else is told
    predicate.setLogLevelForNamespace("mailproxy.listeners", LogLevel.warn)
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(writer, [predicate])])
