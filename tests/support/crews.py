"""
Workers without a process: what they are told, and what they say.
"""

from __future__ import annotations

from collections import Counter

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailproxy.destination.model import MailProtocol
from mailproxy.observe.counters import Counters
from mailproxy.recipes import Identity
from mailproxy.workers.counts import format_counts
from mailproxy.workers.frames import Frames, format_frame


def counts(who, sessions, active, **outcomes):
    """What a worker tells of one listener."""
    destination, tenant, service, protocol = who
    identity = Identity(destination, tenant, service, MailProtocol(protocol))
    return format_counts({identity: Counters(sessions, active, Counter(outcomes))})


class Reactor(Clock):
    """A clock that runs what it has to run first at once."""

    def callWhenRunning(self, function):
        function()


class Transport:
    """The channel's: keeps what was said, and which files were given."""

    def __init__(self, process):
        self.connected = True
        self.files = []
        self.said = []
        self._frames = Frames()
        self._process = process

    def registerProducer(self, producer, streaming):
        assert streaming

    def unregisterProducer(self):
        pass

    def write(self, data):
        self._frames.feed(data)
        while (message := self._frames.next_message()) is not None:
            self.said.append(message)
            self._process.hear(message)

    def sendFileDescriptor(self, number):
        self.files.append(number)

    def loseConnection(self):
        self.connected = False

    abortConnection = loseConnection


class Process:
    """
    A worker's process, and the worker in it: it answers with `answers`, by what it was asked, or with no problems.

    None is no answer; a function is called instead.  It knows nothing when somebody looks.
    """

    def __init__(self, mate, pid, answers):
        self.mate = mate
        self.pid = pid
        self.answers = answers
        self.signals = []
        self.alive = True
        self.channel = Transport(self)
        mate.makeConnection(self)
        mate.channel.makeConnection(self.channel)

    @property
    def asked(self):
        return [message["do"] for message in self.channel.said if message["do"] != "socket"]

    def hear(self, message):
        what = message["do"]
        if what in {"socket", "hurry"}:
            return
        answer = self.answers.get(what, None if what == "drain" else [])
        if callable(answer):
            answer(self)
        elif answer is not None and what == "look":
            self.say({"looked": message["at"]})
        elif answer is not None:
            self.say({"answer": answer})

    def say(self, message):
        self.mate.channel.dataReceived(format_frame(message))

    def signalProcess(self, number):
        self.signals.append(number)
        self.end(signal=number)

    def end(self, *, status=0, signal=None):
        if self.alive:
            self.alive = False
            self.channel.connected = False
            self.mate.channel.connectionLost()
            done = not status and signal is None
            self.mate.processEnded(Failure(ProcessDone(0) if done else ProcessTerminated(status, signal)))


class Spawner:
    """Starts such processes; `broken` is an error to raise instead."""

    def __init__(self, **answers):
        self.answers = answers
        self.processes = []
        self.broken = None

    def __call__(self, mate):
        if self.broken is not None:
            raise self.broken
        self.processes.append(Process(mate, 4000 + len(self.processes), self.answers))

    @property
    def alive(self):
        return [process for process in self.processes if process.alive]
