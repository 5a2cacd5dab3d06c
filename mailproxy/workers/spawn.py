"""
Workers as processes: a fresh interpreter, with nothing of ours open but its channel and its log.

`fork` alone would copy a reactor that runs, with everything that it has open.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mailproxy.workers.board import Board
from mailproxy.workers.channel import One
from mailproxy.workers.loglines import LogLines
from mailproxy.workers.mate import Mate
from mailproxy.workers.program import BOARD, CHANNEL, PIPE, STDOUT

Spawn = Callable[[Mate], None]
"""
Starts a worker's process.

Raises:
    OSError: there is none.
"""

_NOT_OURS_TO_GIVE = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
"""What the service manager has said to the supervisor alone."""


def spawner(reactor: Any, environ: Mapping[str, str], board: Board, *, log_through_us: bool) -> Spawn:
    """
    What starts workers.

    Args:
        reactor: the process's own.
        environ: of the process.
        board: that they share.
        log_through_us: whether their lines go into our log; else they write to our standard output by themselves.
    """
    environment = _environment(environ)
    goes_to = PIPE if log_through_us else STDOUT

    def spawn(mate: Mate) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, Path(os.devnull).open("rb") as nothing:
            ours.setblocking(False)
            opened: dict[int, Any] = {0: nothing.fileno(), CHANNEL: theirs.fileno(), BOARD: board.descriptor}
            reactor.spawnProcess(
                LogLines(mate) if log_through_us else mate,
                sys.executable,
                [sys.executable, "-P", "-m", "mailproxy.workers", str(mate.number), str(mate.seat), goes_to],
                env=environment,
                childFDs=opened | (_PIPES if log_through_us else _OURS),
            )
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, One(mate.channel))

    return spawn


_PIPES = {1: "r", 2: "r"}
_OURS = {1: 1, 2: 2}


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The code is found where ours is, whatever the current directory has become."""
    code = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [code, environ.get("PYTHONPATH")]))
    return {name: value for name, value in environ.items() if name not in _NOT_OURS_TO_GIVE} | {"PYTHONPATH": path}
