"""
Our own programs as processes: the sink, the link, the generators.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from attrs import define, frozen

from tests.bench.orders import Done, Order
from tests.support.ports import free_port
from tests.support.programs import Daemon
from tests.support.tools import CHECKOUT

LIMIT_SECONDS = 300.0
"""For any load but a soak, in which it is said all the time how far it has come."""


def ask(port: int, words: str = "") -> dict[str, Any]:
    """What a program of ours says at its control port."""
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as lines:
        connection.sendall(f"{words}\n".encode())
        answer: dict[str, Any] = json.loads(lines.readline())
        return answer


@frozen
class Sink:
    """The running sink."""

    smtp: int
    pop3: int
    control: int
    daemon: Daemon

    @classmethod
    def start(cls, folder: Path) -> Sink:
        """It listens."""
        ports = [free_port() for _ in range(3)]
        command = [sys.executable, "-m", "tests.bench.sink", folder, *map(str, ports)]
        daemon = Daemon.start(command, log=folder / "sink.log", cwd=CHECKOUT)
        daemon.wait_for(*ports)
        return cls(*ports, daemon)

    def report(self, first: int = 1, count: int = 0) -> dict[str, Any]:
        """What it has taken so far, and which of so many numbers are missing."""
        return ask(self.control, f"{first} {count}")

    def port(self, protocol: str) -> int:
        """Where it speaks this."""
        return self.smtp if protocol == "smtp" else self.pop3


@frozen
class Link:
    """A running relay with a delay."""

    port: int
    control: int
    daemon: Daemon

    @classmethod
    def start(cls, folder: Path, target: int, delay_seconds: float) -> Link:
        """It leads to a port that somebody listens on."""
        port, control = free_port(), free_port()
        command = [sys.executable, "-m", "tests.bench.relay", *map(str, (port, target, control, delay_seconds))]
        daemon = Daemon.start(command, log=folder / "relay.log", cwd=CHECKOUT)
        daemon.wait_for(port, control)
        return cls(port, control, daemon)

    def report(self) -> dict[str, Any]:
        """What has gone over it so far."""
        return ask(self.control)


@define
class Generator:
    """A running generator."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, order: Order) -> Generator:
        """It has begun."""
        command = [sys.executable, "-m", "tests.bench.generator", order.to_json()]
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=CHECKOUT))

    def words(self) -> Iterator[dict[str, Any]]:
        """What it says, to its end."""
        for line in self._output:
            yield json.loads(line)

    def wait_for(self, what: str, meanwhile: Callable[[], None] | None = None) -> dict[str, Any]:
        """It has said this; what to do `meanwhile` was done again and again."""
        while meanwhile and not self._speaks(0):
            meanwhile()
        assert self._speaks(LIMIT_SECONDS), f"the generator is not {what} within {LIMIT_SECONDS:g} s"
        for words in self.words():
            if words["what"] == what:
                return words
        raise AssertionError(f"the generator ended before it was {what}")

    def _speaks(self, seconds: float) -> bool:
        return bool(select.select([self._output], [], [], seconds)[0])

    @property
    def _output(self) -> IO[str]:
        assert self.process.stdout
        return self.process.stdout

    def wait(self, meanwhile: Callable[[], None] | None = None) -> Done:
        """It has ended by itself."""
        words = self.wait_for("done", meanwhile)
        return Done.from_words({name: value for name, value in words.items() if name != "what"})

    def end(self) -> Done:
        """It was told to end."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.stdin = None
        return self.wait()


@contextmanager
def under_way(order: Order) -> Iterator[Generator]:
    """A load has begun; whatever happens, it is over afterwards."""
    generator = Generator.start(order)
    try:
        yield generator
    finally:
        if generator.process.poll() is None:
            generator.process.kill()
        generator.process.communicate()
