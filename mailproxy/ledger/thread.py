"""
A thread of the ledger's own, which waits for the disk.

Not one of the reactor's: those may all be waiting for name services, and a disk that hangs must not hold up the end.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_Job = tuple[Callable[[], None], "Deferred[None]"]


class OwnThread:
    """
    Does one thing after the other.

    Args:
        reactor: in whose thread the Deferreds fire.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None

    def __call__(self, job: Callable[[], None]) -> Deferred[None]:
        """Fires when it is done, or fails as it did."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="ledger", daemon=True)
            self._thread.start()
        done: Deferred[None] = Deferred()
        self._jobs.put((job, done))
        return done

    def stop(self) -> None:
        """It ends behind what it has to do."""
        if self._thread is not None:
            self._jobs.put(None)

    def _work(self) -> None:
        while (order := self._jobs.get()) is not None:
            job, done = order
            try:
                job()
            except Exception:  # noqa: BLE001 - whoever waits hears of it, whatever it was
                self._reactor.callFromThread(done.errback, Failure())
            else:
                self._reactor.callFromThread(done.callback, None)
