"""
What every load program needs: a proxy with its listeners, and sinks as mail servers.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from attrs import define, frozen

from tests.support import setting
from tests.support.accounts import Account
from tests.support.bed import MAIL_HOST
from tests.support.ports import free_port
from tests.support.programs import Daemon
from tests.support.routes import Properties, basic
from tests.support.tools import CHECKOUT


@frozen
class Sink:
    """A running sink."""

    smtp: int
    pop3: int
    control: int
    daemon: Daemon

    @classmethod
    def start(cls, folder: Path, name: str) -> Sink:
        """It listens."""
        ports = [free_port() for _ in range(3)]
        command = [sys.executable, "-m", "tests.load.sink", folder, *map(str, ports)]
        daemon = Daemon.start(command, log=folder / f"{name}.log", cwd=CHECKOUT)
        daemon.wait_for(*ports)
        return cls(*ports, daemon)

    def report(self) -> dict[str, Any]:
        """What it has taken so far."""
        with socket.create_connection(("127.0.0.1", self.control)) as connection, connection.makefile("rb") as lines:
            report: dict[str, Any] = json.loads(lines.readline())
            return report

    def destination(self, account: Account, name: str, kind: str) -> Properties:
        """A destination that leads here; `kind` is smtps or pop3s."""
        return basic(name, kind, self.smtp if kind == "smtps" else self.pop3, account)


@define
class Setting(setting.Setting):
    """A configuration in the making, with sinks."""

    def sink(self, name: str = "sink", *, niceness: int = 0) -> Sink:
        """One more mail server, which ends with the setting; it leaves the processor to who is less nice."""
        self.write_certificates(MAIL_HOST, "sink")
        sink = Sink.start(self.folder, name)
        os.setpriority(os.PRIO_PROCESS, sink.daemon.process.pid, niceness)
        self.stack.callback(sink.daemon.stop)
        return sink


def open_setting() -> AbstractContextManager[Setting]:
    """An empty one; all that it has started has ended afterwards."""
    return setting.open_setting(Setting)
