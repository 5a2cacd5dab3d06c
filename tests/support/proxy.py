"""
The real thing: `twistd mailproxy` as a process.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from tests.support.programs import Daemon
from tests.support.setup import Setup
from tests.support.tools import CHECKOUT
from tests.support.waiting import until

TWISTD = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "mailproxy"]
ENVIRONMENT = {"PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "default"}


@frozen
class Proxy:
    """
    The running proxy; `ports` are its listeners, by tenant and destination.
    """

    daemon: Daemon
    ports: Mapping[tuple[str, str], int]

    @property
    def log(self) -> str:
        """All that it has said so far."""
        return self.daemon.text

    @property
    def pid(self) -> int:
        """Its number, for /proc."""
        return self.daemon.process.pid

    def log_from(self, place: int) -> str:
        """What it has said since `len(log)` was `place`."""
        return self.log[place:]

    def wait_for_log(self, pattern: str, place: int = 0) -> str:
        """The first line behind `place` that matches."""
        found = until(
            lambda: re.search(rf"^.*{pattern}.*$", self.log_from(place), re.MULTILINE), f"{pattern!r} in the log"
        )
        return found[0]


def start(setup: Setup, inside: Path | None = None) -> Proxy:
    """Every listener of the setup is open, and signals are heard; on SIGUSR1 it reports to the file `inside`."""
    config = setup.write()
    command = [*TWISTD, "--config", config]
    environment = ENVIRONMENT if inside is None else _looked_into(inside)
    daemon = Daemon.start(command, log=setup.folder / "proxy.log", env=environment, cwd=CHECKOUT)
    try:
        daemon.wait_for(*setup.ports.values())
        proxy = Proxy(daemon, dict(setup.ports))
        proxy.wait_for_log("ready; listeners: ")
    except AssertionError:
        daemon.stop()
        raise
    return proxy


@contextmanager
def running(setup: Setup, inside: Path | None = None) -> Iterator[Proxy]:
    """The proxy, which ends when asked to, without a traceback in its log."""
    proxy = start(setup, inside)
    try:
        yield proxy
    finally:
        status = proxy.daemon.stop()
    assert status == 0, f"ended with {status}:\n{proxy.log}"
    assert "Traceback" not in proxy.log, proxy.log
    assert "Unhandled" not in proxy.log, proxy.log


def attempt(config: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    """A start that is expected to end by itself."""
    return subprocess.run(
        [*TWISTD, "--config", str(config), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={**ENVIRONMENT, "PATH": "/usr/bin:/bin"},
        cwd=CHECKOUT,
        timeout=30,
        check=False,
    )


def _looked_into(report: Path) -> dict[str, str]:
    path = f"{CHECKOUT}:{CHECKOUT / 'tests' / 'support' / 'inside'}"
    return ENVIRONMENT | {"PYTHONPATH": path, "MAILPROXY_TEST_INSIDE": str(report)}
