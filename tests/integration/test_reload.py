"""
The real process takes up what has changed: its configuration and every file that it names, and breaks no session.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import define, field

from mailproxy.sandbox.pki import Authority
from tests.support import proxy as proxies
from tests.support.accounts import ACCOUNTS, ACME
from tests.support.cloud import Cloud, binding, new_plan
from tests.support.proxy import Proxy
from tests.support.scripted import serving
from tests.support.scripts import Household, Submission, plain
from tests.support.terminal import Terminal, bare_socket
from tests.support.waiting import listens, until

pytestmark = pytest.mark.integration

SHUTDOWN = b"421 4.3.2 Service shutting down"
SESSIONS = 500


@define
class House(Household):
    """With its mail server, and once it was started with its proxy."""

    submission: Submission = field(factory=Submission)
    stack: ExitStack = field(factory=ExitStack)
    proxy: Proxy | None = None

    def write(self) -> Path:
        """As before; a file that is mounted is not written by us."""
        return self.config if self.config.is_symlink() else Household.write(self)

    def start(self) -> Proxy:
        """The proxy runs."""
        self.proxy = self.stack.enter_context(proxies.running(self))
        return self.proxy

    def reload(self) -> str:
        """The configuration is written and loaded at a signal; what the log says of it."""
        self.write()
        return self.hup()

    def hup(self) -> str:
        """The proxy was told to load its configuration, and has; what the log says of it."""
        place = len(self.proxy.log)
        os.kill(self.proxy.pid, signal.SIGHUP)
        self.proxy.wait_for_log("is in use; listeners: |not loaded, the configuration before", place)
        return self.proxy.log_from(place)

    def terminal(self, name: str) -> Terminal:
        """A client at a listener."""
        return self.stack.enter_context(bare_socket(self.proxy.ports["acme", name]))

    def greeted(self, name: str) -> Terminal:
        """A client at a listener, greeted."""
        terminal = self.terminal(name)
        assert terminal.read_reply().startswith(b"220 ")
        return terminal

    def in_content(self, name: str) -> Terminal:
        """A client in the middle of a message."""
        terminal = self.greeted(name)
        for command, answer in (("EHLO x", b"250"), ("MAIL FROM:<a@b.test>", b"250"), ("RCPT TO:<c@d.test>", b"250")):
            assert terminal.ask(command).startswith(answer)
        assert terminal.ask("DATA").startswith(b"354")
        terminal.type("Subject: x\r\n\r\nfirst")
        return terminal


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two destinations on one mail server; the file is not looked at without a signal."""
    with ExitStack() as stack:
        house = House(tmp_path, "watch_seconds = 0", stack=stack)
        house.submission.open.set()
        upstream = stack.enter_context(serving(house.submission))
        for name in ("one", "two"):
            house.add(name, "smtp", upstream)
        yield house


def finish(terminal: Terminal) -> None:
    """The message is complete, and taken."""
    terminal.type("last")
    assert terminal.ask(".") == b"250 2.0.0 taken"


def test_the_same_configuration_disturbs_nobody(house: House) -> None:
    house.start()
    idle, sending = house.greeted("one"), house.in_content("two")
    assert "listeners: 2 as before, 0 changed, 0 new, 0 gone" in house.reload()
    assert idle.ask("NOOP").startswith(b"250 ")
    finish(sending)


def test_what_has_changed_is_for_those_who_come_later(house: House) -> None:
    house.start()
    idle, sending = house.greeted("one"), house.in_content("two")
    house.top += '\nserver_name = "new.test"'
    assert "listeners: 0 as before, 2 changed, 0 new, 0 gone" in house.reload()
    assert house.terminal("one").read_reply().startswith(b"220 new.test ")
    assert idle.ask("NOOP").startswith(b"250 ")
    assert not idle.ask("EHLO x").startswith(b"250 new.test")
    finish(sending)
    assert sending.ask("MAIL FROM:<a@b.test>").startswith(b"250 ")


def test_a_listener_that_is_gone_ends_in_good_order_and_a_new_one_is_there(house: House) -> None:
    house.start()
    idle, sending, other = house.greeted("one"), house.in_content("one"), house.in_content("two")
    gone = house.ports["acme", "one"]
    house.remove("one")
    house.add("three", "smtp", 1)
    assert "listeners: 1 as before, 0 changed, 1 new, 1 gone" in house.reload()
    assert idle.read_line() == SHUTDOWN
    until(lambda: not listens(gone), "the end of listening")
    with bare_socket(house.ports["acme", "three"]) as terminal:
        assert terminal.read_reply().startswith(b"220 ")
    finish(sending)
    assert sending.read_line() == SHUTDOWN
    finish(other)
    assert other.ask("NOOP").startswith(b"250 ")


def test_a_mistake_changes_nothing_and_is_told(house: House) -> None:
    house.start()
    idle, sending = house.greeted("one"), house.in_content("two")
    house.remove("one")
    house.top += '\nserver_name = "new.test"\nnonsense = 1\nwatch_second = 1'
    said = house.reload()
    path = house.config
    assert f"[mailproxy.process#error] not loaded, the configuration before stays in use: {path}: nonsense: " in said
    assert f"{path}: watch_second: unknown key; did you mean watch_seconds?" in said
    assert idle.ask("NOOP").startswith(b"250 ")
    finish(sending)
    assert not house.terminal("one").read_reply().startswith(b"220 new.test")


def test_a_port_that_is_taken_changes_nothing_and_is_told(house: House) -> None:
    house.start()
    with socket.create_server(("127.0.0.1", 0)) as other:
        house.add("three", "smtp", 1, listen=f"tcp:{other.getsockname()[1]}")
        house.top += '\nserver_name = "new.test"'
        assert "acme/three: cannot listen on tcp:" in house.reload()
    assert not house.terminal("one").read_reply().startswith(b"220 new.test")
    assert "1 new" in house.hup()
    assert house.terminal("one").read_reply().startswith(b"220 new.test")


def test_kubernetes_exchanges_a_folder_and_no_signal_is_needed(house: House, tmp_path: Path) -> None:
    """A mounted ConfigMap: the file is a link into `..data`, which is a link to a folder, and only that one moves."""
    house.top = "watch_seconds = 0.1"
    _mount(tmp_path, "..2026_1", house.write().read_text())
    house.config.unlink()
    house.config.symlink_to("..data/mailproxy.toml")
    house.start()
    idle = house.greeted("one")
    place = len(house.proxy.log)
    _mount(tmp_path, "..2026_2", f'server_name = "new.test"\n{(tmp_path / "..data/mailproxy.toml").read_text()}')
    house.proxy.wait_for_log("listeners: 0 as before, 2 changed, 0 new, 0 gone", place)
    assert house.terminal("one").read_reply().startswith(b"220 new.test")
    assert idle.ask("NOOP").startswith(b"250 ")
    (tmp_path / "..data").unlink()
    house.proxy.wait_for_log("cannot be read, the one before stays in use", place)
    assert house.terminal("one").read_reply().startswith(b"220 new.test")


def _mount(folder: Path, version: str, text: str) -> None:
    (folder / version).mkdir()
    (folder / version / "mailproxy.toml").write_text(text)
    (folder / "..tmp").symlink_to(version)
    (folder / "..tmp").rename(folder / "..data")


def test_five_hundred_sessions_outlive_a_reload(house: House) -> None:
    house.top = "watch_seconds = 0\nlimits.max_sessions = 1000"
    house.start()
    idle = [house.greeted(("one", "two")[number % 2]) for number in range(SESSIONS - 10)]
    sending = [house.in_content(("one", "two")[number % 2]) for number in range(10)]
    house.top += '\nserver_name = "new.test"\nsmtp.max_recipients = 7'
    assert "listeners: 0 as before, 2 changed, 0 new, 0 gone" in house.reload()
    assert "listeners: 2 as before, 0 changed, 0 new, 0 gone" in house.reload()
    assert house.terminal("one").read_reply().startswith(b"220 new.test")
    for terminal in sending:
        finish(terminal)
    for terminal in (*idle, *sending):
        assert terminal.ask("NOOP").startswith(b"250 ")
    assert house.submission.messages == [b"Subject: x\n\nfirst\nlast"] * 10
    assert " ended: " not in house.proxy.log


# What needs no reload


def test_another_certificate_is_shown_to_those_who_come_later(house: House, tmp_path: Path) -> None:
    authority = Authority.create()
    ca_file = authority.write(tmp_path / "ca.pem")
    authority.issue("first.localhost").write(tmp_path, "own")
    house.tables = """
[listener_tls.own]
mode = "implicit"
certificates = [{ certificate = "own.pem", key = "own.key" }]
"""
    house.add("secure", "smtp", 1, more='tls = "own"')
    house.start()
    context = ssl.create_default_context(cafile=str(ca_file))
    context.check_hostname = False

    def shown() -> str:
        connection = socket.create_connection(("127.0.0.1", house.ports["acme", "secure"]), timeout=20)
        with context.wrap_socket(connection, server_hostname="any.localhost") as secured:
            assert secured.recv(100).startswith(b"220 ")
            return str(secured.getpeercert()["subjectAltName"])

    assert "first.localhost" in shown()
    authority.issue("second.localhost").write(tmp_path, "own")
    until(lambda: "second.localhost" in shown(), "the other certificate")


def test_a_destinations_file_is_read_anew(house: House) -> None:
    house.start()
    before = house.in_content("one")
    other = Submission()
    other.open.set()
    with serving(other) as port:
        house.write_file(plain("one", "smtp", port))
        after = house.in_content("one")
        finish(after)
        finish(before)
        after.close()
        before.close()
        until(lambda: other.goodbyes or other.messages, "the message")
    assert (len(house.submission.messages), len(other.messages)) == (1, 1)


def test_a_rotated_service_key_is_used(house: House, tmp_path: Path) -> None:
    authority = Authority.create()
    ca_file = authority.write(tmp_path / "ca.pem")
    cloud_folder = tmp_path / "cloud"
    cloud_folder.mkdir()
    plan = new_plan(cloud_folder, b"0" * 32, ACCOUNTS)
    with serving(house.submission) as upstream:
        plan.destinations.append((ACME.tenant, plain("cloudy", "smtp", upstream)))
        cloud = Cloud.start(plan, authority)
        house.stack.callback(cloud.daemon.stop)
        key = tmp_path / "binding.json"
        wrong = binding(plan.port) | {"clientid": "sb-before"}
        key.write_text(json.dumps(wrong))
        house.top += f'\ntrust.ca_files = ["{ca_file}"]\ntimeouts.token_seconds = 5'
        house.tables = '[destination_services.cloud]\nbinding = "binding.json"\n'
        port = house.add("cloudy", "smtp", upstream, service="cloud")
        house.start()
        with bare_socket(port) as terminal:
            terminal.read_reply()
            assert terminal.ask("MAIL FROM:<a@b.test>").startswith(b"451 4.7.0 ")
        (tmp_path / "new.json").write_text(json.dumps(binding(plan.port)))
        (tmp_path / "new.json").rename(key)
        with bare_socket(port) as terminal:
            terminal.read_reply()
            assert terminal.ask("MAIL FROM:<a@b.test>").startswith(b"250 ")
            terminal.ask("QUIT")
    assert f"service key {key} has changed" in house.proxy.log
