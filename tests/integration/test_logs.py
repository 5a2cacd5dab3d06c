"""
The log of the real twistd: JSON for programs, text on a terminal, levels that change meanwhile, and nothing to fill it.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from tests.support.programs import Daemon
from tests.support.proxy import ENVIRONMENT, TWISTD
from tests.support.scripted import serving
from tests.support.scripts import Household, Submission
from tests.support.tools import CHECKOUT
from tests.support.waiting import listens, until

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 30.0
SCANS = 12
EVERY_LINE = {"time", "level", "event", "namespace", "text"}


@define
class Site:
    """A configuration with a listener, and the proxy once it runs."""

    house: Household
    port: int
    stack: ExitStack
    daemon: Daemon | None = None

    @property
    def log(self) -> Path:
        """Its log."""
        return self.house.folder / "proxy.log"

    def write(self, text: str, *, workers: int = 1) -> None:
        """The configuration has this table `[log]`."""
        self.house.top = f"workers = {workers}\nwatch_seconds = 0"
        config = self.house.write()
        whole = config.read_text()
        config.write_text(whole.replace('[log]\nformat = "text"\nfold_seconds = 0\n', f"[log]\n{text}\n"))

    def start(self, *options: str) -> None:
        """It runs, and will have ended with the test."""
        *twistd, name = TWISTD
        command = [*twistd, *options, name, "--config", str(self.house.config)]
        output = self.log if not options else self.house.folder / "output.log"
        self.daemon = Daemon.start(command, log=output, env=ENVIRONMENT, cwd=CHECKOUT)
        self.stack.callback(self.daemon.stop)
        self.daemon.wait_for(self.port)
        self.wait_for(lambda line: line["event"] == "ready")

    def lines(self) -> list[dict[str, Any]]:
        """Everything in the log; each line is an object."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def wait_for(self, wanted: Any) -> dict[str, Any]:
        """The first line that is wanted."""
        return until(lambda: next((line for line in self.lines() if wanted(line)), None), "a line of the log")

    def sends_mail(self) -> None:
        """A client has been served, or told that it cannot be."""
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as client,
            client.makefile("rb") as hear,
        ):
            hear.readline()
            for line in (b"HELO client.test", b"MAIL FROM:<a@b.test>", b"RCPT TO:<c@d.test>", b"DATA", b".", b"QUIT"):
                client.sendall(line + b"\r\n")
                if hear.readline().startswith(b"421 "):
                    break


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Nothing runs yet but its mail server."""
    with ExitStack() as stack:
        submission = Submission()
        submission.open.set()
        house = Household(tmp_path)
        port = house.add("mail", "smtp", stack.enter_context(serving(submission)))
        yield Site(house, port, stack)


def _is_end(line: Mapping[str, Any]) -> bool:
    return line["event"] == "ended"


@pytest.mark.parametrize(
    ("options", "workers"), [((), 1), ((), 2), (("--logfile", "{log}"), 1), (("--logfile", "{log}"), 2)]
)
def test_programs_get_one_object_in_each_line(site: Site, options: tuple[str, ...], workers: int) -> None:
    site.write("", workers=workers)
    site.start(*(each.format(log=site.log) for each in options))
    site.sends_mail()
    ended = site.wait_for(_is_end)
    message = site.wait_for(lambda line: line["event"] == "message")
    assert all(line.keys() >= EVERY_LINE for line in site.lines())
    assert (ended["outcome"], ended["destination"], ended["tenant"]) == ("quit", "mail", "acme")
    assert message["fields"] == {"code": 250, "octets": 0, "recipients": 1, "text": "2.0.0 taken"}
    assert message["session"] == ended["session"]
    assert message["client"].startswith("127.0.0.1:")


def test_people_get_text(site: Site) -> None:
    site.write("")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        command = [*TWISTD, "--config", str(site.house.config)]
        environment = os.environ | ENVIRONMENT
        process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment, cwd=CHECKOUT)
        os.close(theirs)
        try:
            seen = b""
            while b"ready; listeners: 1" not in seen:
                seen += terminal.read(65536)
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
    assert b"[mailproxy.process#info] ready; listeners: 1" in seen
    assert b"{" not in seen


def test_levels_change_with_a_reload(site: Site) -> None:
    site.write('level = "warn"\nlevels = { "mailproxy.process" = "info", "mailproxy.listeners" = "info" }')
    site.start()
    site.sends_mail()
    site.write("")
    os.kill(site.daemon.process.pid, signal.SIGHUP)  # type: ignore[union-attr]  # it was started
    site.wait_for(lambda line: line["event"] == "configuration_is_in_use")
    site.sends_mail()
    site.wait_for(_is_end)
    assert [line["event"] for line in site.lines() if line["namespace"] == "mailproxy.session"] == ["message", "ended"]


def test_the_form_changes_with_a_reload(site: Site) -> None:
    site.write("")
    site.start()
    site.write('format = "text"')
    os.kill(site.daemon.process.pid, signal.SIGHUP)  # type: ignore[union-attr]  # it was started
    site.wait_for(lambda line: line["event"] == "configuration_is_in_use")
    site.sends_mail()
    until(lambda: "[mailproxy.session#info] acme/mail: session 000001 from " in site.log.read_text(), "text")


def test_who_looks_whether_the_port_is_open_does_not_fill_the_log(site: Site) -> None:
    site.write("fold_seconds = 1")
    site.start()
    for _ in range(SCANS):
        with socket.create_connection(("127.0.0.1", site.port), PATIENCE_SECONDS) as client:
            client.recv(65536)
    site.wait_for(lambda line: _is_end(line) and line.get("count"))
    ends = [line for line in site.lines() if _is_end(line)]
    assert len(ends) <= 4
    assert sum(line.get("count", 1) for line in ends) == SCANS


def test_a_mail_server_that_is_down_is_told_of_once(site: Site) -> None:
    site.house.write_file(
        json.loads((site.house.folder / "destinations/mail.json").read_text()) | {"mail.smtp.port": "1"}
    )
    site.write("")
    site.start()
    for _ in range(SCANS):
        site.sends_mail()
    assert site.daemon is not None
    site.daemon.stop()
    failures = [line for line in site.lines() if line["event"] == "failed"]
    assert len(failures) <= 4, failures
    assert sum(line.get("count", 1) for line in failures) == SCANS
    assert not listens(site.port)
