"""
The admin endpoint of the real process in front of real mail servers: what it says is so.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.integration.conftest import Launch, NewSetup
from tests.support.accounts import ACME, GLOBEX
from tests.support.bed import MAIL_HOST, Bed
from tests.support.browser import running_browser
from tests.support.clients import SENDERS
from tests.support.letters import Letter
from tests.support.ports import free_port
from tests.support.programs import run
from tests.support.proxy import Proxy, running
from tests.support.routes import basic, oauth
from tests.support.setup import CLOUD, FILES, Setup
from tests.support.terminal import bare_socket
from tests.support.tools import Tools
from tests.support.waiting import listens, until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_empty_mailboxes")]

TOKEN = "integration-token-of-the-operator"
SECRETS = (ACME.password, GLOBEX.password, TOKEN)


@frozen
class House:
    """A running proxy with an endpoint that wants a token."""

    setup: Setup
    proxy: Proxy
    port: int
    tools: Tools

    def curl(self, path: str, *options: str, token: str = TOKEN) -> bytes:
        """What curl gets."""
        shown = ("-H", f"Authorization: Bearer {token}") if token else ()
        return run(["curl", "-sS", "--max-time", "20", *shown, *options, f"http://127.0.0.1:{self.port}{path}"])

    def code(self, path: str, *options: str, token: str = TOKEN) -> int:
        """The status of an answer."""
        return int(self.curl(path, *options, "-o", "/dev/null", "-w", "%{http_code}", token=token))

    def status(self) -> dict[str, Any]:
        """All of it; no secret is in it."""
        text = self.curl("/status").decode()
        assert not [secret for secret in SECRETS if secret in text]
        return dict(json.loads(text))

    def row(self, label: str) -> dict[str, Any]:
        """What is said of one listener."""
        (found,) = [row for row in self.status()["destinations"] if row["label"] == label]
        return dict(found)

    def replayed(self, folder: Path, session: str) -> str:
        """What becomes of a recorded session, as `mailproxy replay` tells it."""
        path = folder / "status.json"
        path.write_bytes(self.curl("/status"))
        return run([sys.executable, "-m", "mailproxy", "replay", str(path), "--session", session]).decode()

    def send(self, tenant: str, name: str) -> None:
        """A session of the tenant that sends a letter."""
        SENDERS["smtplib"](self.tools, self.proxy.ports[tenant, name], Letter(ACME.address))


@pytest.fixture(scope="module")
def house(bed: Bed, new_setup: NewSetup, launch: Launch, tools: Tools) -> House:
    """One tenant whose logins are good, with a password and with a token, and one whose password is wrong."""
    port = free_port()
    setup = new_setup(f'watch_seconds = 0\n[admin]\nendpoint = "tcp:{port}"\ntoken_file = "admin.token"\n')
    (setup.folder / "admin.token").write_text(f"{TOKEN}\n")
    submission = bed.postfix.ports["submission"]
    setup.add("acme", basic("good", "smtp", submission, ACME), FILES)
    setup.add("acme", oauth("token", "smtp", submission, ACME, setup.token_url), CLOUD)
    setup.add("acme", basic("unused", "pop3s", bed.dovecot.pop3s, ACME), FILES, kind="pop3")
    setup.add("globex", basic("wrong", "smtp", submission, GLOBEX, **{"mail.password": "wrong-pa55word"}), FILES)
    return House(setup, launch(setup), port, tools)


def test_probes_need_no_token_and_nothing_else_does_without(house: House) -> None:
    for path in ("/live", "/ready", "/startupz", "/"):
        assert house.code(path, token="") == 200
    for path in ("/status", "/stats", "/history", "/sap/status"):
        assert house.code(path, token="") == house.code(path, token="a-token-that-was-guessed") == 401
        assert house.code(path) == 200
    assert house.code("/status", "-X", "POST") == 405
    assert house.code("/status", "-d", "x=1") == 413
    assert house.code("/status", "-H", "Host: evil.example") == 421
    head = house.curl("/status", "--head").decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "Server:" not in head


def test_a_login_that_works_is_told_with_its_tls(house: House) -> None:
    assert house.row("acme/good")["state"] == "unused"
    house.send("acme", "good")
    row = until(lambda: house.row("acme/good") if house.row("acme/good")["sessions"] == 0 else None, "the end")
    assert (row["state"], row["last_error"], row["sessions_total"]) == ("ok", None, 1)
    assert (row["upstream"]["host"], row["upstream"]["address"]) == (MAIL_HOST, "127.0.0.1")
    assert row["upstream"]["tls"]["version"] == "TLSv1.3"
    expires = datetime.fromisoformat(row["upstream"]["tls"]["certificate_expires"]).timestamp()
    assert 29 < (expires - time.time()) / 86_400 <= 30
    assert row["credential"] == {"kind": "password", "expires": None}


def test_a_token_is_told_with_its_end(house: House) -> None:
    house.send("acme", "token")
    row = house.row("acme/token")
    assert (row["state"], row["credential"]["kind"]) == ("ok", "token")
    assert datetime.fromisoformat(row["credential"]["expires"]).timestamp() > time.time()


def test_a_password_that_is_wrong_is_told_with_its_remedy_and_nobody_else_is_touched(house: House) -> None:
    with bare_socket(house.proxy.ports["globex", "wrong"]) as terminal:
        terminal.read_reply()
        assert terminal.ask("EHLO client.test").startswith(b"421 4.7.0")
    row = until(lambda: house.row("globex/wrong") if house.row("globex/wrong")["last_error"] else None, "the failure")
    assert row["state"] == "failing"
    assert (row["last_error"]["outcome"], row["last_error"]["side"]) == ("upstream_refused_login", "destination")
    assert "535" in row["last_error"]["text"]
    assert row["last_error"]["remedy"]
    assert datetime.fromisoformat(row["held_off_until"]).timestamp() > time.time()
    said = house.status()
    assert said["ready"] is True
    assert said["failures"][0]["label"] == "globex/wrong"
    assert re.search(rf"session {said['failures'][0]['session']} from .*535", house.proxy.log)
    assert house.row("acme/unused")["state"] == "unused"
    assert json.loads(house.curl("/sap/status"))["Status"] == "ok"


def test_a_session_that_ended_badly_is_shown_and_comes_to_the_same_end_again(house: House, tmp_path: Path) -> None:
    with bare_socket(house.proxy.ports["acme", "good"]) as terminal:
        terminal.read_reply()
        for line in ("EHLO client.test", f"AUTH PLAIN {TOKEN}", "MAIL FROM:<a@client.test>", "DATA now", "STARTTLS"):
            terminal.ask(line)
        terminal.type(f"NOOP\n{TOKEN}".encode())
        assert terminal.read_reply().startswith(b"500 5.5.2 Bare <LF>")

    def recorded() -> list[dict[str, Any]]:
        return [each for each in house.status()["recordings"] if each["outcome"] == "bad_line"]

    (recording,) = until(recorded, "the recording")
    assert recording["listener"] == "acme/good"
    assert "client -> MAIL FROM:<a@client.test>" in recording["lines"]
    assert TOKEN not in json.dumps(recording)
    said = house.replayed(tmp_path, recording["session"])
    assert said.endswith("ended then: bad_line\nended now:  bad_line\n")
    assert [line.strip() for line in said.splitlines()[1:-2]] == recording["lines"]


def test_a_configuration_that_is_not_loaded_is_told_until_it_is_mended(house: House) -> None:
    path = house.setup.config
    sound = path.read_text()
    path.write_text(f"nonsense = 1\n{sound}")
    os.kill(house.proxy.pid, signal.SIGHUP)
    problems = until(lambda: house.status()["configuration"]["problems"], "the complaint")
    assert problems == [f"{path}: nonsense: unknown key"]
    assert house.code("/ready") == 200
    path.write_text(sound)
    os.kill(house.proxy.pid, signal.SIGHUP)
    until(lambda: house.status()["configuration"]["problems"] == [], "its end")


def test_the_page_shows_it(house: House) -> None:
    with running_browser() as browser:
        browser.open(f"http://127.0.0.1:{house.port}/")
        browser.wait("!document.querySelector('#locked').hidden", "the page to ask for the token")
        browser.complaints()
        browser.run("document.querySelector('#token').value = arguments[0]", TOKEN)
        browser.run("document.querySelector('#token-form button').click()")
        browser.wait("document.body.dataset.shown", "the page to open")
        shown = browser.run("return document.querySelector('main').innerText")
        assert browser.complaints() == []
    assert "1 of 4 destinations is failing" in shown
    assert "535" in shown
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.fixture
def start(bed: Bed, new_setup: NewSetup, tools: Tools) -> Iterator[Callable[[str], House]]:
    """Starts a proxy with an endpoint that is described in TOML; its port is in it as PORT."""
    started = []

    def start(table: str) -> House:
        port = free_port()
        setup = new_setup(table.replace("PORT", str(port)))
        setup.add("acme", basic("good", "smtp", bed.postfix.ports["submission"], ACME), FILES)
        context = running(setup)
        started.append(context)
        return House(setup, context.__enter__(), port, tools)

    yield start
    for context in started:
        context.__exit__(None, None, None)


def test_the_end_of_a_process_can_be_watched(start: Callable[[str], House]) -> None:
    house = start('[admin]\nendpoint = "tcp:PORT"\n')
    assert house.code("/startupz", token="") == 200
    with bare_socket(house.proxy.ports["acme", "good"]) as terminal:
        terminal.read_reply()
        assert terminal.ask("EHLO client.test").startswith(b"250")
        assert terminal.ask(f"MAIL FROM:<{ACME.address}>").startswith(b"250")
        os.kill(house.proxy.pid, signal.SIGTERM)
        house.proxy.wait_for_log("stopping; sessions: 1")
        until(lambda: not listens(house.proxy.ports["acme", "good"]), "the mail port's end")
        assert house.code("/ready") == 503
        assert "draining" in json.loads(house.curl("/ready"))["reasons"][0]
        assert (house.status()["state"], house.status()["sessions"]) == ("draining", 1)
        assert house.code("/live") == 200
        assert terminal.ask("QUIT").startswith(b"221")
    assert house.proxy.daemon.process.wait(20) == 0
    assert not listens(house.port)


def test_a_unix_socket_will_do(start: Callable[[str], House], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("u") / "admin"
    start(f'[admin]\nendpoint = "unix:{path}"\n')
    assert path.stat().st_mode & 0o777 == 0o660
    assert json.loads(run(["curl", "-sS", "--unix-socket", str(path), "http://localhost/ready"]))["ready"] is True


def test_who_drips_octets_in_keeps_no_probe_out(house: House) -> None:
    hostile = [socket.create_connection(("127.0.0.1", house.port)) for _ in range(100)]
    for each in hostile:
        with suppress(ConnectionError):
            each.send(b"GET /status HTTP/1.1\r\nX: ")
    assert house.code("/live", token="") == 200
    closed = [each for each in hostile if _is_over(each)]
    assert len(closed) >= 100 - 32
    for each in hostile:
        each.close()


def _is_over(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(100) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
