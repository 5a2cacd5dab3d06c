"""
Many sessions in one thread, at little cost: each is a generator that says what it waits for.

A session yields READ or WRITE and goes on when its socket is ready, or a float and goes on that many seconds later.  It
closes its socket itself.  What it begins with is known before it runs: a session does not take a turn for nothing.
"""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable, Generator

from attrs import define

READ, WRITE = select.EPOLLIN, select.EPOLLOUT

_ASLEEP = 0
_LONGEST_WAIT_SECONDS = 0.5
_MOST_EVENTS = 512

Steps = Generator[int | float, None, None]
Ended = Callable[[Exception | None], None]


class Broken(Exception):
    """The other side did not do what it should; the session is over."""


@define(eq=False)
class _Task:
    fileno: int
    steps: Steps
    interest: int
    ended: Ended


class Loop:
    """Runs sessions until none is left, or until `stop`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._tasks: dict[int, _Task] = {}
        self._alarms: list[tuple[float, int, _Task]] = []
        self._numbers = itertools.count()
        self._stopped = False

    def __len__(self) -> int:
        """How many sessions there are."""
        return len(self._tasks)

    def start(self, fileno: int, steps: Steps, first: int, ended: Ended) -> None:
        """The session begins as soon as its socket is ready for `first`; `ended` is told why it is over."""
        self._tasks[fileno] = _Task(fileno, steps, first, ended)
        self._epoll.register(fileno, first)

    def stop(self) -> None:
        """`run` returns soon; what is under way stays where it is."""
        self._stopped = True

    def run(self, until: float = float("inf")) -> None:
        """All sessions are over, or it was stopped, or the monotonic clock says `until`."""
        while self._tasks and not self._stopped and time.monotonic() < until:
            for fileno, _ in self._epoll.poll(self._patience(), _MOST_EVENTS):
                self._step(self._tasks[fileno])
            if self._alarms:
                self._wake()

    def _patience(self) -> float:
        if not self._alarms:
            return _LONGEST_WAIT_SECONDS
        return min(_LONGEST_WAIT_SECONDS, max(0.0, self._alarms[0][0] - time.monotonic()))

    def _wake(self) -> None:
        now = time.monotonic()
        while self._alarms and self._alarms[0][0] <= now:
            self._step(heapq.heappop(self._alarms)[2])

    def _step(self, task: _Task) -> None:
        try:
            wish = next(task.steps)
        except StopIteration:
            self._end(task, None)
        except (OSError, Broken) as failure:
            self._end(task, failure)
        else:
            if wish is not task.interest:
                self._wait(task, wish)

    def _end(self, task: _Task, failure: Exception | None) -> None:
        """The kernel has forgotten the socket when it was closed."""
        del self._tasks[task.fileno]
        task.ended(failure)

    def _wait(self, task: _Task, wish: float) -> None:
        """Who sleeps is out of the kernel's sight: it would report a hang-up again and again."""
        if isinstance(wish, float):
            heapq.heappush(self._alarms, (time.monotonic() + wish, next(self._numbers), task))
            if task.interest != _ASLEEP:
                self._epoll.unregister(task.fileno)
            task.interest = _ASLEEP
            return
        (self._epoll.modify if task.interest != _ASLEEP else self._epoll.register)(task.fileno, wish)
        task.interest = wish
