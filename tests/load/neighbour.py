"""
The other tenant: it sends small mails all the time and notes how long each took.

It is a process of its own, `python -m tests.load.neighbour PORT`, so that what the nuisances cost their own process is
not taken for what they cost the proxy.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path

from attrs import define, field

from tests.chaos.conversation import Late, Lost
from tests.load.clients import Mail, send
from tests.support.programs import Daemon
from tests.support.tools import CHECKOUT

_WORKERS = 2
_PAUSE_SECONDS = 0.02


@define
class Neighbour:
    """
    Sends to a port until stopped.  Each mail counts for the phase in which it was begun.
    """

    daemon: Daemon
    _phases: list[tuple[float, str]] = field(factory=list)

    @classmethod
    def start(cls, port: int, folder: Path) -> Neighbour:
        """It sends."""
        command = [sys.executable, "-m", "tests.load.neighbour", str(port)]
        return cls(Daemon.start(command, log=folder / "neighbour.log", cwd=CHECKOUT))

    def phase(self, name: str) -> None:
        """From now on it is this one."""
        self._phases.append((time.monotonic(), name))

    def stop(self) -> None:
        """It has stopped between two mails."""
        self.daemon.stop()

    def took(self, phase: str) -> list[float]:
        """The seconds of each mail in this phase."""
        taken = defaultdict(list)
        for note in self._notes("took"):
            names = [name for began, name in self._phases if began <= note["began"]]
            if names:
                taken[names[-1]].append(note["took"])
        return taken[phase]

    def sent(self) -> dict[str, str]:
        """SHA-256 by marker of every mail that was acknowledged."""
        return {note["marker"]: note["digest"] for note in self._notes("took")}

    def failures(self) -> list[str]:
        """What became of the others."""
        return [note["failure"] for note in self._notes("failure")]

    def _notes(self, kind: str) -> list[dict]:
        """The last line may not be whole yet."""
        lines = self.daemon.text.split("\n")[:-1]
        return [note for note in map(json.loads, lines) if kind in note]


async def _work(worker: int, port: int, stopping: asyncio.Event) -> None:
    for number in range(1_000_000):
        if stopping.is_set():
            return
        began, mail = time.monotonic(), Mail(marker=f"neighbour-{worker}-{number}")
        note = {"began": began, "marker": mail.marker, "digest": mail.digest}
        try:
            note["took"] = await send(port, mail)
        except (AssertionError, Lost, Late, OSError) as failure:
            note["failure"] = repr(failure)
        sys.stdout.write(f"{json.dumps(note)}\n")
        sys.stdout.flush()
        await asyncio.sleep(_PAUSE_SECONDS)


async def main(port: int) -> None:
    """It sends until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await asyncio.gather(*(_work(worker, port, stopping) for worker in range(_WORKERS)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
