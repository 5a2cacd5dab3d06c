"""
One worker, as the supervisor knows it: what it was asked, what it counts, how it ends.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.deadline import Deadline
from mailproxy.observe.text import printable
from mailproxy.workers.channel import Channel
from mailproxy.workers.counts import Counts, parse_counts
from mailproxy.workers.frames import Message
from mailproxy.workers.states import MAX_STATES, States, parse_states

ANSWER_SECONDS = 60.0
"""How long a worker has for anything that it is asked; a start takes about one second."""

SILENT_TURNS = 30
"""So often we look for a word of a worker in vain before it counts as hanging."""

_LOOK_SECONDS = 1.0

MAX_PROBLEMS = 10_000
_MAX_PROBLEM = 2000

Answer = list[str] | None
"""The problems that there were; None when the worker has ended before it answered."""

_log = Logger(namespace="mailproxy.workers")


class Mate(ProcessProtocol):
    """
    A worker.

    Args:
        clock: bounds its answers.
        number: its own; no other worker has or had it.
        seat: what it fills; another worker may have done so before.
        counted: called with what its listeners have counted.
        stated: called with how they are.
    """

    transport: Any

    def __init__(
        self,
        clock: IReactorTime,
        number: int,
        seat: int,
        counted: Callable[[int, Counts], object],
        stated: Callable[[int, States], object],
    ) -> None:
        self.number = number
        self.seat = seat
        self.channel = Channel(self._heard, self._lost, sockets=False)
        self.serves = False
        """Whether it has started and not ended; whoever starts it says so."""
        self.over: Deferred[str] = Deferred()
        """Fires when its process is gone, with how it ended."""
        self._clock = clock
        self._counted = counted
        self._stated = stated
        self._asked: deque[tuple[Deferred[Answer], Deadline]] = deque()
        self._silent = 0
        self._look = Deadline(clock)

    @property
    def pid(self) -> int | None:
        """Of its process; None when there is none."""
        return None if self.transport is None else self.transport.pid

    def ask(self, message: Message) -> Deferred[Answer]:
        """It has done that; how it went.  A worker that does not answer is killed."""
        answer: Deferred[Answer] = Deferred()
        if self.over.called:
            answer.callback(None)
            return answer
        deadline = Deadline(self._clock)
        deadline.set(ANSWER_SECONDS, partial(self.kill, "did not answer"))
        self._asked.append((answer, deadline))
        self.channel.say(message)
        return answer

    def tell(self, message: Message, opened: int | None = None) -> None:
        """It hears that, and has the open file, which stays open until it has answered a question behind this."""
        self.channel.say(message, opened)

    def kill(self, why: str) -> None:
        """It ends at once."""
        if not self.over.called and self.transport is not None:
            _log.error("worker {number} is killed: it {why}", number=self.number, why=why)
            with suppress(ProcessExitedAlready):  # its last lines may still come
                self.transport.signalProcess(signal.SIGKILL)

    def connectionMade(self) -> None:
        """Its process runs."""
        self._look.set(_LOOK_SECONDS, self._look_for_life)

    def processEnded(self, reason: Failure) -> None:
        """Its process is gone."""
        self.end(_how(reason))

    def end(self, how: str) -> None:
        """It is gone, or never was there."""
        self.serves = False
        self._look.clear()
        self.channel.close()
        while self._asked:
            self._answered(None)
        self.over.callback(how)

    def _heard(self, message: Message) -> None:
        self._silent = 0
        match message:
            case {"counts": raw}:
                self._counted(self.number, parse_counts(raw))
            case {"states": raw}:
                self._stated(self.number, parse_states(raw, MAX_STATES))
            case {"answer": raw} if self._asked:
                self._answered(_problems(raw))
            case _:
                raise ValueError("a worker says what makes no sense")

    def _answered(self, answer: Answer) -> None:
        waiting, deadline = self._asked.popleft()
        deadline.clear()
        waiting.callback(answer)

    def _lost(self) -> None:
        """It says nothing any more: it ends by itself, or hangs."""
        if not self.over.called:
            self._look.set(SILENT_TURNS * _LOOK_SECONDS, partial(self.kill, "was silent"))

    def _look_for_life(self) -> None:
        """
        It says something every second.  We count how often we have looked in vain, not the time: after a pause of our
        own its words may wait for us.
        """
        self._silent += 1
        if self._silent > SILENT_TURNS:
            self.kill("was silent")
        else:
            self._look.set(_LOOK_SECONDS, self._look_for_life)


def _problems(raw: object) -> list[str]:
    if not isinstance(raw, list) or len(raw) > MAX_PROBLEMS or not all(isinstance(each, str) for each in raw):
        raise ValueError("an answer is no list of texts")
    return [printable(each, _MAX_PROBLEM) for each in raw]


def _how(reason: Failure) -> str:
    """`signal SIGKILL`, or `status 1`."""
    if not isinstance(reason.value, ProcessTerminated):
        return "status 0"
    number = reason.value.signal
    if number is None:
        return f"status {reason.value.exitCode}"
    known = number in set(signal.Signals)
    return f"signal {signal.Signals(number).name if known else number}"
