"""
Signals to the process.

Twisted's own handling stops the reactor, too, but then ends the process with the very signal, and swallows a second
one.  SIGHUP it leaves to the system, which ends the process.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Any

from twisted.logger import Logger

_log = Logger(namespace="mailproxy.process")

Install = Callable[[signal.Signals, Callable[[int, FrameType | None], Any]], object]


class Signals:
    """
    Calls what a signal asks for, in the reactor's turn and not in the middle of something.

    Args:
        reactor: whose turn it is; what comes before it runs waits until it does.
        stop: for the first SIGTERM or SIGINT.
        hurry: for every further one.
        reload: for SIGHUP.
        install: sets a handler.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        stop: Callable[[], object],
        hurry: Callable[[], object],
        reload: Callable[[], object],
        install: Install = signal.signal,
    ) -> None:
        self._reactor = reactor
        self._stop = stop
        self._hurry = hurry
        self._reload = reload
        self._install = install
        self._stopping = False

    def install(self) -> None:
        """
        The signals are ours.  The reactor takes them when it starts to run, so that this has to be said once more then.

        SIGINT stays ignored where it was when we were started, as the shell wants it for what runs in its background.
        """
        for number, deed in self._deeds().items():
            if number is not signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                self._install(number, partial(self._heard, deed))

    def _deeds(self) -> Mapping[signal.Signals, Callable[[], object]]:
        return {signal.SIGTERM: self._end, signal.SIGINT: self._end, signal.SIGHUP: self._reload}

    def _heard(self, deed: Callable[[], object], number: int, _: FrameType | None) -> None:
        self._reactor.callFromThread(self._answer, signal.Signals(number).name, deed)

    def _answer(self, name: str, deed: Callable[[], object]) -> None:
        _log.info("received {signal}", signal=name)
        deed()

    def _end(self) -> None:
        first, self._stopping = not self._stopping, True
        (self._stop if first else self._hurry)()
