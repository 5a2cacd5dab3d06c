"""
Several real processes behind the same listeners: no client notices that they are several, nor when one of them dies.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from attrs import define, field

from tests.support import proxy as proxies
from tests.support.crowd import Crowd
from tests.support.owners import owners_of
from tests.support.ports import free_port
from tests.support.programs import Daemon
from tests.support.proxy import ENVIRONMENT, TWISTD, Proxy, attempt
from tests.support.scripted import serving
from tests.support.scripts import Household, Submission
from tests.support.terminal import Terminal, bare_socket
from tests.support.tools import CHECKOUT
from tests.support.waiting import listens, until

pytestmark = pytest.mark.integration

CLIENTS = 10
"""So many are spread over the workers at least."""

SHUTDOWN = b"421 4.3.2 Service shutting down"
BROKEN = """
import os, sys
if "mailproxy.workers" in sys.orig_argv:
    os._exit(3)
"""


@define
class House(Household):
    """With its mail server, and once it was started with its proxy."""

    submission: Submission = field(factory=Submission)
    stack: ExitStack = field(factory=ExitStack)
    leaving: ExitStack = field(factory=ExitStack)
    proxy: Proxy | None = None

    def start(self) -> Proxy:
        """The proxy runs, until it is stopped or killed."""
        self.proxy = proxies.start(self)
        self.stack.callback(self.proxy.daemon.process.kill)
        return self.proxy

    def stop(self) -> None:
        """All clients leave, and it ends in good order."""
        self.leaving.close()
        assert self.proxy.daemon.stop() == 0, self.proxy.log
        assert "Traceback" not in self.proxy.log, self.proxy.log
        assert "Unhandled" not in self.proxy.log, self.proxy.log
        assert self.workers == []

    def reload(self) -> str:
        """The configuration is written and loaded at a signal; what the log says of it."""
        self.write()
        place = len(self.proxy.log)
        os.kill(self.proxy.pid, signal.SIGHUP)
        self.proxy.wait_for_log("is in use; listeners: |not loaded, the configuration before", place)
        return self.proxy.log_from(place)

    @property
    def workers(self) -> list[int]:
        """The processes that serve, or have served and are not gone."""
        found = map(int, re.findall(r"worker \d+ serves: process (\d+)", self.proxy.log))
        return [pid for pid in found if _runs(pid)]

    def terminal(self, name: str) -> Terminal:
        """A client at a listener."""
        return self.leaving.enter_context(bare_socket(self.ports["acme", name]))

    def greeted(self, name: str) -> Terminal:
        """A client at a listener, greeted."""
        terminal = self.terminal(name)
        assert terminal.read_reply().startswith(b"220 ")
        return terminal

    def one_each(self, name: str) -> dict[int, Terminal]:
        """A client of each worker, greeted."""
        terminals = [self.greeted(name) for _ in range(CLIENTS)]
        found = dict(zip(self.owners(terminals), terminals, strict=True))
        for terminal in terminals:
            if terminal not in found.values():
                terminal.close()
        assert found.keys() == set(self.workers)
        return found

    def owners(self, terminals: Sequence[Terminal]) -> list[int]:
        """Which workers serve these clients."""
        return owners_of([terminal.connection for terminal in terminals], self.workers)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two destinations on one mail server, and two workers; the file is not looked at without a signal."""
    with ExitStack() as stack:
        house = House(tmp_path, "watch_seconds = 0\nworkers = 2", stack=stack)
        house.submission.open.set()
        upstream = stack.enter_context(serving(house.submission))
        for name in ("one", "two"):
            house.add(name, "smtp", upstream)
        yield house


def begin_content(terminal: Terminal) -> Terminal:
    """The client is in the middle of a message."""
    for command, answer in (("EHLO x", b"250"), ("MAIL FROM:<a@b.test>", b"250"), ("RCPT TO:<c@d.test>", b"250")):
        assert terminal.ask(command).startswith(answer)
    assert terminal.ask("DATA").startswith(b"354")
    terminal.type("Subject: x\r\n\r\nfirst")
    return terminal


def finish(terminal: Terminal) -> None:
    """The message is complete, and taken."""
    terminal.type("last")
    assert terminal.ask(".") == b"250 2.0.0 taken"


# Together


def test_sessions_are_spread_over_the_workers_and_their_numbers_say_so(house: House) -> None:
    house.start()
    terminals = [house.greeted(("one", "two")[number % 2]) for number in range(60)]
    served = Counter(house.owners(terminals))
    assert len(served) == 2
    assert min(served.values()) >= 20, served
    for terminal in terminals:
        assert terminal.ask("QUIT").startswith(b"221 ")
    until(lambda: house.proxy.log.count(" ended: quit") == 60, "the end of all sessions")
    sessions = re.findall(r"session (\d+-[0-9a-f]{6}) from", house.proxy.log)
    assert len(set(sessions)) == len(sessions) == 60
    assert {number.partition("-")[0] for number in sessions} == {"1", "2"}
    house.stop()
    assert "all workers have ended; sessions served: 60, lost with a worker: 0" in house.proxy.log


def test_a_unix_socket_is_served_by_all_and_taken_away_at_the_end(house: House, tmp_path: Path) -> None:
    path = tmp_path / "mail"
    house.add("local", "smtp", 1, listen=f"unix:{path}:mode=600")
    house.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for _ in range(10):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            assert client.recv(100).startswith(b"220 ")
    house.stop()
    assert not path.exists()


def test_with_one_worker_there_is_one_process_and_none_that_watches(house: House) -> None:
    house.top = "watch_seconds = 0\nworkers = 1"
    house.start()
    assert Path(f"/proc/{house.proxy.pid}/task/{house.proxy.pid}/children").read_text() == ""
    assert "worker" not in house.proxy.log
    house.stop()


# The end


def test_at_a_stop_every_worker_lets_its_sessions_finish(house: House) -> None:
    house.start()
    sending = [begin_content(terminal) for terminal in house.one_each("one").values()]
    idle = house.one_each("two").values()
    os.kill(house.proxy.pid, signal.SIGTERM)
    for terminal in idle:
        assert terminal.read_line() == SHUTDOWN
        terminal.close()
    until(lambda: not listens(house.proxy.ports["acme", "one"]), "the end of listening")
    for terminal in sending:
        finish(terminal)
        assert terminal.read_line() == SHUTDOWN
        terminal.close()
    assert house.proxy.daemon.process.wait(10) == 0
    house.stop()
    assert house.submission.messages == [b"Subject: x\n\nfirst\nlast"] * 2
    assert house.proxy.log.count("has ended: status 0; sessions lost: 0") == 2


def test_the_deadline_holds_for_all(house: House) -> None:
    house.top += "\ntimeouts.drain_seconds = 1"
    house.start()
    sending = [begin_content(terminal) for terminal in house.one_each("one").values()]
    os.kill(house.proxy.pid, signal.SIGTERM)
    for terminal in sending:
        assert terminal.read_line() in {SHUTDOWN, b""}
        terminal.close()
    assert house.proxy.daemon.process.wait(10) == 0
    house.stop()
    assert house.submission.messages == []


def test_a_second_signal_ends_them_at_once(house: House) -> None:
    house.start()
    sending = [begin_content(terminal) for terminal in house.one_each("one").values()]
    os.kill(house.proxy.pid, signal.SIGTERM)
    house.proxy.wait_for_log("received SIGTERM")
    began = time.monotonic()
    os.kill(house.proxy.pid, signal.SIGTERM)
    assert house.proxy.daemon.process.wait(10) == 0
    assert time.monotonic() - began < 3
    house.stop()
    assert len(sending) == 2
    assert house.submission.messages == []


def test_clients_are_let_in_by_workers_while_balancers_learn_of_the_stop(house: House) -> None:
    house.top += "\ntimeouts.drain_delay_seconds = 1"
    house.start()
    os.kill(house.proxy.pid, signal.SIGTERM)
    house.proxy.wait_for_log("stopping; sessions: 0")
    late = house.greeted("one")
    assert late.read_line() == SHUTDOWN
    late.close()
    assert house.proxy.daemon.process.wait(10) == 0
    house.stop()


def test_signals_to_the_whole_group_are_the_supervisors(house: House) -> None:
    house.start()
    sending = [begin_content(terminal) for terminal in house.one_each("one").values()]
    for worker in house.workers:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(worker, number)
    for terminal in sending:
        finish(terminal)
        assert terminal.ask("QUIT").startswith(b"221 ")
    house.stop()


def test_without_their_supervisor_workers_end_in_good_order(house: House) -> None:
    house.start()
    sending = [begin_content(terminal) for terminal in house.one_each("one").values()]
    idle = house.one_each("two").values()
    os.kill(house.proxy.pid, signal.SIGKILL)
    for terminal in idle:
        assert terminal.read_line() == SHUTDOWN
        terminal.close()
    until(lambda: not listens(house.proxy.ports["acme", "one"]), "the end of listening")
    for terminal in sending:
        finish(terminal)
        assert terminal.read_line() == SHUTDOWN
        terminal.close()
    until(lambda: house.workers == [], "the end of the workers")
    assert "the supervisor is gone" in house.proxy.log
    assert "Traceback" not in house.proxy.log


# The death of a worker


def test_when_a_worker_dies_nobody_else_notices_and_nobody_is_refused(house: House) -> None:
    house.start()
    each = house.one_each("one")
    victim, survivor = each
    begin_content(each[survivor])
    crowd = Crowd(socket.AF_INET, ("127.0.0.1", house.proxy.ports["acme", "two"]))
    crowd.begin()
    try:
        until(lambda: crowd.answers.total() > 50, "clients")
        os.kill(victim, signal.SIGKILL)
        house.proxy.wait_for_log("worker 1 has ended: signal SIGKILL|worker 2 has ended: signal SIGKILL")
        house.proxy.wait_for_log("worker 3 serves")
        so_far = crowd.answers.total()
        until(lambda: crowd.answers.total() > so_far + 50, "more clients")
    finally:
        crowd.end()
    lost = crowd.answers.total() - crowd.answers["220 "]
    assert lost <= crowd.size, crowd.answers  # whom the worker had let in already
    assert not any("refused" in answer for answer in crowd.answers), crowd.answers
    finish(each[survivor])
    assert each[survivor].ask("QUIT").startswith(b"221 ")
    with suppress(ConnectionResetError):
        assert each[victim].read_line() == b""
    house.one_each("one")
    house.stop()
    assert house.proxy.log.count(" serves: process ") == 3


def test_when_all_workers_die_clients_wait_for_the_next_ones(house: House) -> None:
    house.start()
    for worker in house.workers:
        os.kill(worker, signal.SIGKILL)
    until(lambda: house.workers == [], "the end of the workers")
    house.greeted("one").close()
    house.proxy.wait_for_log("worker 4 serves")
    house.stop()


def test_workers_that_never_start_end_it_all(house: House, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    environment = ENVIRONMENT | {"PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{tmp_path}"}
    daemon = Daemon.start([*TWISTD, "--config", house.write()], log=tmp_path / "log", env=environment, cwd=CHECKOUT)
    house.stack.callback(daemon.process.kill)
    assert daemon.process.wait(40) == 1
    assert daemon.text.count("has ended: status 3; sessions lost: 0; another one starts in") >= 4
    assert "workers do not start: 5 attempts failed" in daemon.text
    assert "Traceback" not in daemon.text


# Another configuration


def test_a_listener_comes_and_another_one_goes(house: House) -> None:
    house.start()
    sending = [begin_content(terminal) for terminal in house.one_each("one").values()]
    idle, others = house.one_each("one").values(), house.one_each("two").values()
    gone = house.ports["acme", "one"]
    house.remove("one")
    house.add("three", "smtp", 1)
    assert "listeners: 1 as before, 0 changed, 1 new, 1 gone" in house.reload()
    for terminal in idle:
        assert terminal.read_line() == SHUTDOWN
    until(lambda: not listens(gone), "the end of listening")
    assert len(house.one_each("three")) == 2
    for terminal in sending:
        finish(terminal)
        assert terminal.read_line() == SHUTDOWN
    for terminal in others:
        assert terminal.ask("NOOP").startswith(b"250 ")
    house.stop()


def test_what_has_changed_is_in_use_in_every_worker_also_in_one_that_starts_later(house: House) -> None:
    house.start()
    before = house.one_each("one")
    house.top += '\nserver_name = "new.test"'
    assert "listeners: 0 as before, 2 changed, 0 new, 0 gone" in house.reload()
    house.config.write_text("nonsense")
    victim = house.workers[0]
    os.kill(victim, signal.SIGKILL)
    house.proxy.wait_for_log("worker 3 serves")
    terminals = [house.terminal("one") for _ in range(CLIENTS)]
    for terminal in terminals:
        assert terminal.read_reply().startswith(b"220 new.test ")
    assert set(house.owners(terminals)) == set(house.workers)
    (survivor,) = [terminal for worker, terminal in before.items() if worker != victim]
    assert not survivor.ask("EHLO x").startswith(b"250 new.test")
    house.stop()


def test_a_mistake_changes_nothing_anywhere(house: House) -> None:
    house.start()
    sound = house.top
    with socket.create_server(("127.0.0.1", 0)) as other:
        house.add("three", "smtp", 1, listen=f"tcp:{other.getsockname()[1]}")
        house.top += '\nserver_name = "new.test"'
        assert "acme/three: cannot listen on tcp:" in house.reload()
    house.top += "\nnonsense = 1"
    assert f"not loaded, the configuration before stays in use: {house.config}: nonsense: " in house.reload()
    house.top = f"{sound}\n".replace("workers = 2", "workers = 3")
    assert "workers: 2 are running, and a change needs a restart" in house.reload()
    for _ in range(20):
        terminal = house.terminal("one")
        assert not terminal.read_reply().startswith(b"220 new.test")
        terminal.close()
    house.top = f'{sound}\nserver_name = "new.test"'
    assert "0 as before, 2 changed, 1 new" in house.reload()
    house.stop()


def test_an_endpoint_can_take_the_place_of_another(house: House) -> None:
    port = free_port()
    house.add("three", "smtp", 1, listen=f"tcp:{port}")
    house.start()
    house.add("three", "smtp", 1, listen=f"tcp:{port}:interface=0.0.0.0")
    assert "2 as before, 0 changed, 1 new, 1 gone" in house.reload()
    for _ in range(20):
        with bare_socket(port) as terminal:
            assert terminal.read_reply().startswith(b"220 ")
    house.stop()


def test_an_endpoint_that_cannot_take_the_place_leaves_it_as_it_was(house: House) -> None:
    port = free_port()
    house.add("three", "smtp", 1, listen=f"tcp:{port}")
    house.start()
    sound = house.config.read_text()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.2", port))
        other.listen()
        house.add("three", "smtp", 1, listen=f"tcp:{port}:interface=0.0.0.0")
        assert "acme/three: cannot listen on tcp:" in house.reload()
        for _ in range(20):
            with bare_socket(port) as terminal:
                assert terminal.read_reply().startswith(b"220 ")
    house.config.write_text(sound)
    house.stop()


# The beginning


def test_a_mistake_is_found_before_any_worker_starts(house: House) -> None:
    house.top += "\nnonsense = 1"
    done = attempt(house.write())
    assert done.returncode == 1
    assert b"nonsense: unknown key" in done.stdout
    assert b"worker" not in done.stdout


def test_a_port_that_is_taken_is_found_before_any_worker_starts(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        house.add("three", "smtp", 1, listen=f"tcp:{other.getsockname()[1]}")
        done = attempt(house.write())
    assert done.returncode == 1
    assert b"acme/three: cannot listen on tcp:" in done.stdout
    assert b"worker" not in done.stdout


def test_the_service_manager_hears_from_the_supervisor_alone(house: House, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {**ENVIRONMENT, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        daemon = Daemon.start([*TWISTD, "--config", house.write()], log=tmp_path / "log", env=environment, cwd=CHECKOUT)

        def word() -> str:
            return manager.recv(4096).decode().partition("\n")[0]

        try:
            assert word() == "READY=1"
            assert daemon.text.count(" serves: process ") == 2
            daemon.process.send_signal(signal.SIGHUP)
            assert [word(), word()] == ["RELOADING=1", "READY=1"]
        finally:
            status = daemon.stop()
        assert (word(), status) == ("STOPPING=1", 0)
        manager.settimeout(0)
        with pytest.raises(BlockingIOError):
            word()


def test_a_log_of_twistds_own_has_the_lines_of_all_workers(house: House, tmp_path: Path) -> None:
    twistd, *_ = TWISTD
    log = tmp_path / "twistd.log"
    command = [twistd, "-n", "--pidfile=", f"--logfile={log}", "mailproxy", "--config", str(house.write())]
    daemon = Daemon.start(command, log=tmp_path / "output", env=ENVIRONMENT, cwd=CHECKOUT)
    house.stack.callback(daemon.process.kill)
    house.proxy = Proxy(Daemon(daemon.process, log), dict(house.ports))
    until(lambda: log.exists() and "ready; listeners: 2" in house.proxy.log, "the start")
    for terminal in house.one_each("one").values():
        terminal.ask("QUIT")
    house.stop()
    for worker in "12":
        assert re.search(
            rf"\[mailproxy.session#info\] acme/one: session {worker}-\w+ from .* ended: quit\n", log.read_text()
        )
    assert daemon.text == ""
