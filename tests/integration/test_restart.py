"""
A restart behind sockets that somebody else holds, as systemd does: nobody is refused, whenever they come.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.crowd import Crowd
from tests.support.ports import free_port
from tests.support.programs import Daemon
from tests.support.proxy import ENVIRONMENT, TWISTD
from tests.support.scripts import Household
from tests.support.tools import CHECKOUT
from tests.support.waiting import until

pytestmark = pytest.mark.integration

RESTARTS = 3
PATIENCE_SECONDS = 30.0


@pytest.fixture(params=["INET", "UNIX"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that outlives every proxy."""
    with socket.socket(getattr(socket, f"AF_{request.param}")) as opened:
        opened.bind(("127.0.0.1", 0) if request.param == "INET" else str(tmp_path / "mail"))
        opened.listen(1024)
        yield opened


@pytest.fixture(params=[1, 2])
def household(request: pytest.FixtureRequest, tmp_path: Path, listening: socket.socket) -> Household:
    """A configuration with that socket, for one process or several."""
    household = Household(tmp_path, f"watch_seconds = 0\nworkers = {request.param}")
    domain = listening.family.name.removeprefix("AF_")
    household.add("smtp", "smtp", free_port(), listen=f"systemd:{domain}:name=smtp")
    household.write()
    return household


@pytest.fixture
def start(household: Household, listening: socket.socket) -> Iterator[Callable[[], Daemon]]:
    """Starts another proxy that serves the socket."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def start() -> Daemon:
            log = household.folder / f"proxy-{next(numbers)}.log"
            activate = [sys.executable, "-m", "tests.chaos.activate", f"smtp={listening.fileno()}", "--"]
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [*activate, *TWISTD, "--config", str(household.config)],
                    pass_fds=[listening.fileno()],
                    stdout=output,
                    stderr=output,
                    cwd=CHECKOUT,
                    env={**os.environ, **ENVIRONMENT},
                )
            stack.enter_context(process)
            stack.callback(process.kill)
            daemon = Daemon(process, log)
            until(lambda: "ready; listeners: " in daemon.text, "the start", seconds=30)
            return daemon

        yield start


def test_nobody_is_refused(listening: socket.socket, start: Callable[[], Daemon]) -> None:
    crowd = Crowd(listening.family, listening.getsockname())
    daemon = start()
    crowd.begin()
    try:
        for _ in range(RESTARTS):
            so_far = crowd.answers.total()
            until(lambda so_far=so_far: crowd.answers.total() > so_far + 50, "more clients")
            assert daemon.stop() == 0
            assert "Traceback" not in daemon.text, daemon.text
            daemon = start()
    finally:
        crowd.end()
    assert daemon.stop() == 0
    assert crowd.answers.keys() <= {"220 ", "421 "}, crowd.answers
    assert crowd.answers["220 "] > RESTARTS * 50


@pytest.mark.parametrize("listening", ["INET"], indirect=True)
def test_a_listener_that_was_gone_comes_back_at_the_same_socket(
    household: Household, listening: socket.socket, start: Callable[[], Daemon]
) -> None:
    household.add("other", "smtp", free_port())
    household.write()
    daemon = start()
    with_it = household.config.read_text()

    def reload(words: str) -> None:
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: f"is in use; listeners: {words}" in daemon.text, words)

    household.remove("smtp")
    household.write()
    reload("1 as before, 0 changed, 0 new, 1 gone")
    with socket.create_connection(listening.getsockname()) as client:
        household.config.write_text(with_it)
        reload("1 as before, 0 changed, 1 new, 0 gone")
        client.settimeout(PATIENCE_SECONDS)
        assert client.recv(100).startswith(b"220 ")
    assert daemon.stop() == 0
