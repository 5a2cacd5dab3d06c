"""
The real twistd under a supervisor that does what systemd would: it holds the sockets, and starts it anew when it ends.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from attrs import define, field

from tests.chaos.records import Record
from tests.chaos.waiting import comes_true
from tests.support.statistics import read_statistics, that_do_not_add_up
from tests.support.tools import CHECKOUT

DRAIN_SECONDS = 12.0
FINAL_REPLY_SECONDS = 5.0
_END_SECONDS = DRAIN_SECONDS + FINAL_REPLY_SECONDS + 14.0
_UP_SECONDS = 30.0
_STOCK_SECONDS = 10.0
_PATH = f"{CHECKOUT}:{CHECKOUT / 'tests' / 'support' / 'inside'}"
_TWISTD = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "mailproxy", "--config"]


@define
class Incarnation:
    """One process of the proxy; `asked` is the signal that ended it."""

    process: asyncio.subprocess.Process
    log: Path
    asked: signal.Signals | None = None
    ended: asyncio.Event = field(factory=asyncio.Event)

    @property
    def report(self) -> Path:
        """Where it writes down what it has counted."""
        return self.log.with_suffix(".json")

    @property
    def text(self) -> str:
        """All that it has said so far."""
        return self.log.read_text(errors="replace")


@define
class Supervisor:
    """
    Runs the proxy with `config`; `sockets` are handed over by name, and stay open when it ends.
    """

    config: Path
    folder: Path
    record: Record
    sockets: dict[str, socket.socket] = field(factory=dict)
    incarnations: list[Incarnation] = field(factory=list)
    busy: asyncio.Lock = field(factory=asyncio.Lock)
    _stopping: bool = False
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1))
    _runner: asyncio.Task[None] | None = None

    def listen(self, name: str) -> int:
        """A socket with this name is open, on a port that is returned."""
        opened = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.sockets[name] = opened
        port: int = opened.getsockname()[1]
        return port

    async def start(self) -> None:
        """The proxy is up, and is kept so."""
        self._runner = asyncio.create_task(self._run())
        await self.up()

    async def stop(self) -> None:
        """The last incarnation has been ended with SIGTERM."""
        self._stopping = True
        await self.terminate()
        await self._runner

    async def terminate(self) -> None:
        """The incarnation that runs now has drained and ended."""
        now = self.incarnations[-1]
        await self._take_stock(now)
        self._send(now, signal.SIGTERM)
        try:
            async with asyncio.timeout(_END_SECONDS):
                await now.ended.wait()
        except TimeoutError:
            self.record.incidents.append(f"SIGTERM did not end {now.log.name} within {_END_SECONDS} s")
            self._send(now, signal.SIGKILL)

    def kill(self) -> None:
        """The incarnation that runs now is gone."""
        self._send(self.incarnations[-1], signal.SIGKILL)

    def reload(self) -> None:
        """It was asked to read its configuration again."""
        self._send(self.incarnations[-1], signal.SIGHUP)

    async def up(self) -> Incarnation:
        """The present incarnation, once all of its listeners are served."""
        if not await comes_true(self._is_up, _UP_SECONDS):
            raise AssertionError(f"the proxy is not up within {_UP_SECONDS} s:\n{self.incarnations[-1].text}")
        return self.incarnations[-1]

    async def _take_stock(self, now: Incarnation) -> None:
        """It was asked for its numbers, and they add up; one that is gone before it has answered, is not waited for."""
        if not self._is_up():
            return
        now.process.send_signal(signal.SIGUSR1)
        if await comes_true(lambda: now.report.exists() or now.ended.is_set(), _STOCK_SECONDS) and now.report.exists():
            numbers = read_statistics(json.loads(now.report.read_text())["stats"])
            for listener in that_do_not_add_up(numbers):
                self.record.incidents.append(f"{now.log.name}: the sessions of {listener} do not add up: {numbers}")
        elif not now.ended.is_set():
            self.record.incidents.append(f"{now.log.name} does not say what it has counted")

    def _is_up(self) -> bool:
        now = self.incarnations[-1] if self.incarnations else None
        if now is None or now.ended.is_set():
            return False
        return now.text.count(": listening on systemd:") >= len(self.sockets)

    async def _run(self) -> None:
        while not self._stopping:
            incarnation = await self._launch()
            status = await incarnation.process.wait()
            if incarnation.asked is None:
                self.record.incidents.append(f"{incarnation.log.name} ended by itself with status {status}")
                await asyncio.sleep(1)
            elif incarnation.asked is signal.SIGTERM and status != 0:
                self.record.incidents.append(f"{incarnation.log.name} ended with status {status} behind SIGTERM")
            incarnation.ended.set()

    async def _launch(self) -> Incarnation:
        log = self.folder / f"proxy-{next(self._numbers):03}.log"
        report = str(log.with_suffix(".json"))
        named = [f"{name}={opened.fileno()}" for name, opened in self.sockets.items()]
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.activate", *named, "--", *_TWISTD, str(self.config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[opened.fileno() for opened in self.sockets.values()],
                cwd=CHECKOUT,
                env={**_inherited(), "PYTHONPATH": _PATH, "PYTHONWARNINGS": "default", "MAILPROXY_TEST_INSIDE": report},
            )
        self.incarnations.append(Incarnation(process, log))
        return self.incarnations[-1]

    def _send(self, incarnation: Incarnation, number: signal.Signals) -> None:
        if incarnation.ended.is_set() or incarnation.process.returncode is not None:
            return
        if number is not signal.SIGHUP:
            incarnation.asked = number
        incarnation.process.send_signal(number)


def _inherited() -> Mapping[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
