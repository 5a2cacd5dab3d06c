"""
The end of the real process: nobody is cut off who is in the middle of something, and it comes by its deadline.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from attrs import frozen

from tests.support import proxy as proxies
from tests.support.ports import free_port
from tests.support.programs import Daemon
from tests.support.proxy import ENVIRONMENT, TWISTD, Proxy
from tests.support.scripted import serving
from tests.support.scripts import Household, Maildrop, Submission
from tests.support.terminal import Terminal, bare_socket
from tests.support.tools import CHECKOUT
from tests.support.waiting import listens, until

pytestmark = pytest.mark.integration

SHUTDOWN = b"421 4.3.2 Service shutting down"


@frozen
class House:
    """A proxy in front of scripted mail servers."""

    proxy: Proxy
    submission: Submission
    maildrop: Maildrop
    stack: ExitStack

    def terminal(self, name: str = "smtp") -> Terminal:
        """A client at a listener, greeted."""
        terminal = self.stack.enter_context(bare_socket(self.proxy.ports["acme", name]))
        assert terminal.read_reply().startswith((b"220 ", b"+OK"))
        return terminal

    def in_content(self) -> Terminal:
        """A client in the middle of a message."""
        terminal = self.terminal()
        for command, answer in (("EHLO x", b"250"), ("MAIL FROM:<a@b.test>", b"250"), ("RCPT TO:<c@d.test>", b"250")):
            assert terminal.ask(command).startswith(answer)
        assert terminal.ask("DATA").startswith(b"354")
        terminal.type("Subject: x\r\n\r\nfirst")
        return terminal

    def send(self, number: signal.Signals) -> None:
        """The process gets a signal, and has heard it."""
        heard = self.proxy.log.count(f"received {number.name}")
        os.kill(self.proxy.pid, number)
        until(lambda: self.proxy.log.count(f"received {number.name}") > heard, number.name)

    def assert_ended(self, *, within: float) -> None:
        """It ends by itself, with status 0, and said nothing of a mistake."""
        assert self.proxy.daemon.process.wait(within) == 0, self.proxy.log
        assert "Traceback" not in self.proxy.log, self.proxy.log
        assert "Unhandled" not in self.proxy.log, self.proxy.log


@pytest.fixture(autouse=True)
def _interrupts() -> Iterator[None]:
    """A test run in the background of a script ignores SIGINT, and what it starts would, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Starts a proxy; `top` are keys of its configuration."""
    with ExitStack() as stack:

        def start(top: str = "") -> House:
            submission, maildrop = Submission(), Maildrop()
            submission.open.set()
            household = Household(tmp_path, top)
            household.add("smtp", "smtp", stack.enter_context(serving(submission)))
            household.add("pop3", "pop3", stack.enter_context(serving(maildrop)))
            proxy = proxies.start(household)
            stack.callback(proxy.daemon.process.kill)
            return House(proxy, submission, maildrop, stack)

        yield start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_idle_is_told_and_closed(start: Callable[..., House], number: signal.Signals) -> None:
    house = start()
    smtp, pop3, used = house.terminal(), house.terminal("pop3"), house.terminal()
    assert used.ask("EHLO x").startswith(b"250")
    assert pop3.ask("DELE 1").startswith(b"+OK")
    house.send(number)
    for terminal, words in ((smtp, SHUTDOWN), (used, SHUTDOWN), (pop3, b"-ERR [SYS/TEMP] ")):
        assert terminal.read_line().startswith(words)
        assert terminal.read_all() == b""
        terminal.close()
    house.assert_ended(within=10)
    assert house.maildrop.goodbyes == 0
    assert house.proxy.log.count(" ended: shutdown") == 3


def test_what_is_in_the_middle_of_something_is_finished(start: Callable[..., House]) -> None:
    house = start()
    house.submission.open.clear()
    sending, waiting, idle = house.in_content(), house.in_content(), house.terminal()
    waiting.type("last\r\n.")
    assert house.submission.waiting.wait(20)
    house.send(signal.SIGTERM)
    assert idle.read_line() == SHUTDOWN
    until(lambda: not listens(house.proxy.ports["acme", "smtp"]), "the end of listening")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", house.proxy.ports["acme", "smtp"]))
    house.submission.open.set()
    assert waiting.read_line() == b"250 2.0.0 taken"
    sending.type("last")
    assert sending.ask(".") == b"250 2.0.0 taken"
    for terminal in (waiting, sending):
        assert terminal.read_line() == SHUTDOWN
        assert terminal.read_all() == b""
        terminal.close()
    idle.close()
    house.assert_ended(within=10)
    assert house.submission.messages == [b"Subject: x\n\nfirst\nlast"] * 2
    assert house.submission.goodbyes == 2


def test_at_the_deadline_a_message_is_cut_off(start: Callable[..., House]) -> None:
    house = start("timeouts.drain_seconds = 1")
    sending = house.in_content()
    house.send(signal.SIGTERM)
    began = time.monotonic()
    assert sending.read_line() in {SHUTDOWN, b""}
    assert 0.9 < time.monotonic() - began < 5
    sending.close()
    house.assert_ended(within=10)
    assert house.submission.messages == []
    house.proxy.wait_for_log("sessions left after 1 s: 1; they end now, but for those that wait")


def test_a_reply_to_a_message_has_a_deadline_of_its_own(start: Callable[..., House]) -> None:
    house = start("timeouts.drain_seconds = 0.5\ntimeouts.drain_final_reply_seconds = 1")
    house.submission.open.clear()
    waiting = house.in_content()
    waiting.type("last\r\n.")
    assert house.submission.waiting.wait(20)
    house.send(signal.SIGTERM)
    assert waiting.read_line() == b"451 4.4.2 Delivery status unknown"
    waiting.close()
    house.assert_ended(within=10)
    house.submission.open.set()
    assert "delivery unknown" in house.proxy.log


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(start: Callable[..., House], second: signal.Signals) -> None:
    house = start()
    sending = house.in_content()
    house.send(signal.SIGTERM)
    os.kill(house.proxy.pid, second)
    house.assert_ended(within=3)
    with suppress(ConnectionResetError):  # which may come behind the words, or in their place
        assert sending.read_all() in {SHUTDOWN + b"\r\n", b""}
    assert house.submission.messages == []


def test_clients_are_let_in_for_a_while_where_that_is_wanted(start: Callable[..., House]) -> None:
    house = start("timeouts.drain_delay_seconds = 1")
    house.send(signal.SIGTERM)
    late = house.terminal()
    assert late.read_line() == SHUTDOWN
    late.close()
    house.assert_ended(within=10)


def test_a_daemon_takes_its_pid_file_along(tmp_path: Path) -> None:
    household = Household(tmp_path)
    port = household.add("smtp", "smtp", free_port())
    twistd, *_ = TWISTD
    pid, log = tmp_path / "it.pid", tmp_path / "it.log"
    command = [twistd, f"--pidfile={pid}", f"--logfile={log}", "mailproxy", "--config", str(household.write())]
    subprocess.run(command, env={**os.environ, **ENVIRONMENT}, cwd=CHECKOUT, timeout=30, check=True)
    number = int(pid.read_text())
    until(lambda: "ready; listeners: 1" in log.read_text(), "the start")
    with bare_socket(port) as terminal:
        assert terminal.read_reply().startswith(b"220 ")
        os.kill(number, signal.SIGTERM)
        assert terminal.read_line() == SHUTDOWN
    until(lambda: not pid.exists(), "the end")
    assert "Traceback" not in log.read_text()


def test_the_service_manager_hears_of_it(tmp_path: Path) -> None:
    household = Household(tmp_path)
    household.add("smtp", "smtp", free_port())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)

        def word() -> str:
            return manager.recv(4096).decode().partition("\n")[0]

        environment = {**ENVIRONMENT, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        command = [*TWISTD, "--config", household.write()]
        daemon = Daemon.start(command, log=tmp_path / "proxy.log", env=environment, cwd=CHECKOUT)
        try:
            assert word() == "READY=1"
            assert all(listens(port) for port in household.ports.values())
            daemon.process.send_signal(signal.SIGHUP)
            assert [word(), word()] == ["RELOADING=1", "READY=1"]
        finally:
            status = daemon.stop()
        assert (word(), status) == ("STOPPING=1", 0)
