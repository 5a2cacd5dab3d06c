"""
One worker, as the supervisor knows it: what it was asked, what it counts, how it ends.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.admin.values import Report
from mailproxy.deadline import Deadline
from mailproxy.flight.recording import Recording
from mailproxy.observe.text import printable
from mailproxy.recipes import Identity
from mailproxy.workers.channel import Channel
from mailproxy.workers.counts import Counts, parse_counts
from mailproxy.workers.doings import Doing
from mailproxy.workers.frames import Message
from mailproxy.workers.joined import MAX_REPORTED, Reports, parse_reports
from mailproxy.workers.shelf import Shelf
from mailproxy.workers.states import MAX_STATES, States, parse_states
from mailproxy.workers.values import parse_value

ANSWER_SECONDS = 60.0
"""How long a worker has for anything that it is asked; a start takes about one second."""

SILENT_TURNS = 30
"""So often we look for a word of a worker in vain before it counts as hanging."""

_LOOK_SECONDS = 1.0

MAX_PROBLEMS = 10_000
_MAX_PROBLEM = 2000

LOOK_SECONDS = 0.5
"""How long a worker has to tell what it knows; whoever probes us waits a second."""


class Look(Enum):
    """What a worker may be asked to tell."""

    DOING = "doing"
    """What it is doing as a whole."""
    FIGURES = "figures"
    """That, and what it has counted."""
    REPORTS = "reports"
    """That, and how every listener is doing, and what its last sessions were that ended badly."""


Answer = list[str] | None
"""The problems that there were; None when the worker has ended before it answered."""

_log = Logger(namespace="mailproxy.workers")


class Records(Protocol):
    """Where it is written down what workers tell, each by its number."""

    def report(self, worker: int, counts: Counts) -> None:
        """What its listeners have counted."""

    def note(self, worker: int, states: States) -> None:
        """How things are there."""

    def tell(self, worker: int, doing: Doing) -> None:
        """What it is doing as a whole."""

    def describe(self, worker: int, reports: Reports) -> None:
        """How its listeners are doing."""

    def shelve(self, worker: int, recordings: Sequence[Recording]) -> None:
        """What its last sessions were that ended badly, the last one first."""


class Mate(ProcessProtocol):
    """
    A worker.

    Args:
        clock: bounds its answers.
        number: its own; no other worker has or had it.
        seat: what it fills; another worker may have done so before.
        records: what it tells goes there.
    """

    transport: Any

    def __init__(self, clock: IReactorTime, number: int, seat: int, records: Records) -> None:
        self.number = number
        self.seat = seat
        self.channel = Channel(self._heard, self._lost, sockets=False)
        self.serves = False
        """Whether it has started and not ended; whoever starts it says so."""
        self.over: Deferred[str] = Deferred()
        """Fires when its process is gone, with how it ended."""
        self.answers = True
        """Whether it told what it knew, when it was last asked to."""
        self._clock = clock
        self._records = records
        self._asked: deque[tuple[Deferred[Answer], Deadline]] = deque()
        self._looking: dict[Look, list[Deferred[None]]] = {}
        """Who waits for what; nobody maybe, but it was asked and has not answered."""
        self._reports: dict[Identity, Report] = {}
        self._shelf = Shelf()
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

    def look(self, what: Look) -> Deferred[None]:
        """It has told that, or has ended, or has not told it in time."""
        done: Deferred[None] = Deferred()
        if self.over.called:
            done.callback(None)
            return done
        deadline = Deadline(self._clock)
        deadline.set(LOOK_SECONDS, partial(self._missed, what, done))
        done.addBoth(lambda _: deadline.clear())
        was_asked = what in self._looking
        self._looking.setdefault(what, []).append(done)
        if not was_asked:
            self.channel.say({"do": "look", "at": what.value})
        return done

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
        for what in list(self._looking):
            self._looked(what)
        self.over.callback(how)

    def _heard(self, message: Message) -> None:
        self._silent = 0
        match message:
            case {"doing": raw}:
                self._records.tell(self.number, parse_value(Doing, raw))
            case {"counts": raw}:
                self._records.report(self.number, parse_counts(raw))
            case {"states": raw}:
                self._records.note(self.number, parse_states(raw, MAX_STATES))
            case {"reports": raw}:
                self._describe(parse_reports(raw))
            case {"recording": raw}:
                self._shelf.put(raw)
            case {"shelf": raw}:
                self._records.shelve(self.number, self._shelf.keep(raw))
            case {"looked": raw}:
                self._looked(Look(raw))
                self.answers = True
            case {"answer": raw} if self._asked:
                self._answered(_problems(raw))
            case _:
                raise ValueError("a worker says what makes no sense")

    def _describe(self, reports: Reports) -> None:
        """The reports come in portions, and are all there when it has looked."""
        self._reports |= reports
        if len(self._reports) > MAX_REPORTED:
            raise ValueError("a worker tells of too many listeners")

    def _looked(self, what: Look) -> None:
        if what is Look.REPORTS:
            self._records.describe(self.number, self._reports)
            self._reports = {}
        for done in self._looking.pop(what, []):
            done.callback(None)

    def _missed(self, what: Look, done: Deferred[None]) -> None:
        """Whoever asks from now on does not ask it again, but waits for what was asked already."""
        self._looking[what].remove(done)
        self.answers = False
        done.callback(None)

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
