"""
What every load program needs: a proxy with its listeners, sinks as mail servers, and a folder for them.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from mailproxy.sandbox.pki import Authority
from tests.support.accounts import Account
from tests.support.bed import MAIL_HOST
from tests.support.ports import free_port
from tests.support.procfs import descriptors, resident
from tests.support.programs import Daemon
from tests.support.routes import Properties, basic
from tests.support.tools import CHECKOUT

_TWISTD = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "mailproxy", "--config"]
_ENVIRONMENT = {"PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "default"}
_MEBIBYTE = 1 << 20
_BLUNDER_CHARACTERS = 3000


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


@frozen
class Listener:
    """A listener of the proxy: whose, for what, and with which table of `listener_tls`."""

    tenant: str
    name: str
    protocol: str
    port: int
    tls: str = ""


@frozen
class Proxy:
    """The running proxy."""

    daemon: Daemon

    @property
    def pid(self) -> int:
        """Its number."""
        return self.daemon.process.pid

    def descriptors(self) -> int:
        """How many it has open."""
        return len(descriptors(self.pid))

    def resident_mebibytes(self) -> float:
        """The memory that it holds."""
        return resident(self.pid) / _MEBIBYTE

    def cpu_seconds(self) -> float:
        """The time of the processor that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def blunder(self) -> str:
        """The first traceback in its log."""
        _, found, rest = self.daemon.text.partition("Traceback (most recent call last)")
        return found + rest[:_BLUNDER_CHARACTERS]

    def reload(self) -> None:
        """It was asked to read its configuration again."""
        os.kill(self.pid, signal.SIGHUP)


@define
class Setting:
    """
    A configuration in the making: `head` stands first, `listeners` are listened on.
    """

    folder: Path
    stack: ExitStack
    head: str = ""
    listeners: list[Listener] = field(factory=list)
    authority: Authority = field(factory=Authority.create)

    @property
    def config(self) -> Path:
        """The file."""
        return self.folder / "mailproxy.toml"

    def sink(self, name: str = "sink", *, niceness: int = 0) -> Sink:
        """One more mail server, which ends with the setting; it leaves the processor to who is less nice."""
        if not (self.folder / "sink.pem").exists():
            self.authority.issue(MAIL_HOST).write(self.folder, "sink")
            self.authority.write(self.folder / "ca.pem")
        sink = Sink.start(self.folder, name)
        os.setpriority(os.PRIO_PROCESS, sink.daemon.process.pid, niceness)
        self.stack.callback(sink.daemon.stop)
        return sink

    def listen(self, tenant: str, properties: Properties, *, tls: str = "") -> int:
        """The tenant has this destination, and a port for it."""
        name = properties["Name"]
        path = self.folder / "destinations" / tenant / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(properties))
        protocol = properties["mail.transport.protocol"].removesuffix("s")
        self.listeners.append(Listener(tenant, name, protocol, free_port(), tls))
        return self.listeners[-1].port

    def write(self) -> None:
        """The configuration is in its file, replaced in one step."""
        parts = [self.head, _SERVICES.format(ca_file=self.folder / "ca.pem")]
        for each in self.listeners:
            listen = f'{{ {each.tenant} = "tcp:{each.port}:interface=127.0.0.1:backlog=4096" }}'
            parts += [
                "[[destinations]]",
                f'name = "{each.name}"',
                f'protocol = "{each.protocol}"',
                f"listen = {listen}",
            ]
            parts += [f'tls = "{each.tls}"'] if each.tls else []
        fresh = self.config.with_suffix(".new")
        fresh.write_text("\n".join([*parts, ""]))
        fresh.rename(self.config)

    def start(self) -> Proxy:
        """The proxy listens; it ends with the setting, if it has not before."""
        self.write()
        command = [*_TWISTD, self.config]
        daemon = Daemon.start(command, log=self.folder / "proxy.log", env=_ENVIRONMENT, cwd=CHECKOUT)
        self.stack.callback(_end, daemon)
        daemon.wait_for(*(each.port for each in self.listeners))
        return Proxy(daemon)


@contextmanager
def open_setting() -> Iterator[Setting]:
    """
    An empty one; all that it has started has ended afterwards.

    Everybody in it may open as many files as the system allows.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="mpload") as folder, ExitStack() as stack:
        yield Setting(Path(folder), stack)


def _end(daemon: Daemon) -> None:
    if daemon.process.poll() is None:
        daemon.process.kill()
        daemon.process.wait()


_SERVICES = """\
[trust]
ca_files = ["{ca_file}"]
platform = false

[destination_services.files]
directory = "destinations"
"""
