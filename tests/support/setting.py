"""
What programs need that measure or harass the real proxy: the proxy with its listeners, and a folder for all of them.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from attrs import define, field, frozen

from mailproxy.sandbox.pki import Authority
from tests.support.ports import free_port
from tests.support.procfs import descriptors, resident
from tests.support.programs import Daemon
from tests.support.routes import Properties
from tests.support.tools import CHECKOUT

_TWISTD = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "mailproxy", "--config"]
_ENVIRONMENT = {"PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "default"}
_MEBIBYTE = 1 << 20
_BLUNDER_CHARACTERS = 3000


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

    @property
    def ended(self) -> bool:
        """Whether it is there no more."""
        return self.daemon.process.poll() is not None

    def descriptors(self) -> int:
        """How many it has open."""
        return len(descriptors(self.pid))

    def resident_mebibytes(self) -> float:
        """The memory that it holds."""
        return resident(self.pid) / _MEBIBYTE

    def blunder(self) -> str:
        """The first traceback in its log, which may be long."""
        with self.daemon.log.open(errors="replace") as lines:
            for line in lines:
                if "Traceback (most recent call last)" in line:
                    return line + lines.read(_BLUNDER_CHARACTERS)
        return ""

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

    def write_certificates(self, host: str, stem: str) -> None:
        """A mail server of this name can be believed, with `STEM.pem` and `STEM.key`; the proxy does so."""
        if not (self.folder / f"{stem}.pem").exists():
            self.authority.issue(host).write(self.folder, stem)
            self.authority.write(self.folder / "ca.pem")

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

    def start(self, *, wait: bool = True) -> Proxy:
        """The proxy listens, or will in a moment; it ends with the setting, if it has not before."""
        self.write()
        command = [*_TWISTD, self.config]
        daemon = Daemon.start(command, log=self.folder / "proxy.log", env=_ENVIRONMENT, cwd=CHECKOUT)
        self.stack.callback(_end, daemon)
        if wait:
            daemon.wait_for(*(each.port for each in self.listeners))
        return Proxy(daemon)


S = TypeVar("S", bound=Setting)


@contextmanager
def open_setting(kind: type[S] = Setting) -> Iterator[S]:
    """
    An empty one of its kind; all that it has started has ended afterwards.

    Everybody in it may open as many files as the system allows.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="mpload") as folder, ExitStack() as stack:
        yield kind(Path(folder), stack)


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
