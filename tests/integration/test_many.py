"""
Sessions come and go; nothing of them stays.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.conftest import Launch, NewSetup
from tests.support.accounts import ACCOUNTS, ACME
from tests.support.bed import Bed
from tests.support.letters import Letter
from tests.support.procfs import descriptors
from tests.support.proxy import Proxy
from tests.support.routes import BASIC, OAUTH, Route, properties_of
from tests.support.setup import CLOUD, FILES
from tests.support.terminal import bare_socket
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_empty_mailboxes")]

SMTP_SESSIONS, POP3_SESSIONS = 1000, 200
CONNECTIONS = (".SessionProtocol", ".SMTPUpstream", ".POP3Upstream", ".Resting")
ROUTES = {
    "smtp": (Route("smtps", BASIC, FILES), Route("smtp", OAUTH, CLOUD)),
    "pop3": (Route("pop3s", OAUTH, FILES), Route("pop3", BASIC, CLOUD)),
}


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the proxy writes what it holds."""
    return tmp_path_factory.mktemp("inside") / "report.json"


@pytest.fixture(scope="module")
def proxy(bed: Bed, new_setup: NewSetup, launch: Launch, inside: Path) -> Proxy:
    """A proxy that can be asked what it holds."""
    setup = new_setup("[pool]\nidle_seconds = 0.5\n")
    for route in (*ROUTES["smtp"], *ROUTES["pop3"]):
        for account in ACCOUNTS:
            setup.add(account.tenant, properties_of(route, bed, account, setup.token_url), route.service)
    return launch(setup, inside)


def _look_inside(proxy: Proxy, report: Path) -> dict[str, object]:
    """Timers and objects that the proxy holds."""
    report.unlink(missing_ok=True)
    os.kill(proxy.pid, signal.SIGUSR1)
    until(report.exists, "the proxy's own report")
    return json.loads(report.read_text())


def _send(port: int, number: int) -> None:
    """One SMTP session; they end in different ways."""
    with bare_socket(port) as terminal:
        assert terminal.read_reply().startswith(b"220 ")
        assert terminal.ask("MAIL FROM:<a@b.test>").startswith(b"250 ")
        if number % 5 == 1:
            return
        assert terminal.ask("RCPT TO:<nobody@elsewhere.test>").startswith(b"250 ")
        if number % 5 == 2:
            terminal.ask("RSET")
        if number % 5 == 3:
            assert terminal.ask("DATA").startswith(b"354 ")
            terminal.type("half a message")
            return
        if number % 5 == 4:
            assert terminal.ask("DATA").startswith(b"354 ")
            assert terminal.ask("Subject: x\r\n\r\nwhole\r\n.").startswith(b"250 ")
        assert terminal.ask("QUIT").startswith(b"221 ")


def _collect(port: int, number: int) -> None:
    """One POP3 session; they end in different ways."""
    with bare_socket(port) as terminal:
        assert terminal.read_line().startswith(b"+OK")
        assert terminal.ask("retr 1").startswith(b"+OK")
        if number % 4 == 1:
            return
        terminal.read_body()
        if number % 4 == 2:
            terminal.connection.shutdown(socket.SHUT_RDWR)
            return
        assert terminal.ask("quit").startswith(b"+OK")


def _run(proxy: Proxy, protocol: str, count: int) -> None:
    """
    So many sessions, one after another, at the four listeners in turn.

    With Postfix most of each is waiting: what it writes behind its TLS handshake is held back for 40 ms, until our
    side's delayed acknowledgement (Nagle's algorithm).
    """
    session = {"smtp": _send, "pop3": _collect}[protocol]
    ports = [proxy.ports[account.tenant, route.name] for account in ACCOUNTS for route in ROUTES[protocol]]
    for number in range(count):
        session(ports[number % len(ports)], number)


@pytest.mark.parametrize(("protocol", "count"), [("smtp", SMTP_SESSIONS), ("pop3", POP3_SESSIONS)])
def test_sessions_leave_nothing_behind(bed: Bed, proxy: Proxy, inside: Path, protocol: str, count: int) -> None:
    for account in ACCOUNTS:
        bed.mailbox(account).put(Letter(account.address).octets)
    _run(proxy, protocol, 20)  # caches are filled, tokens fetched, modules loaded
    before = _settled(proxy, inside)
    place = len(proxy.log)
    _run(proxy, protocol, count)
    after = _settled(proxy, inside)
    assert not after - before
    assert proxy.log_from(place).count(" ended: ") == count


def _settled(proxy: Proxy, inside: Path) -> Counter[str]:
    """
    What the proxy holds when no connection of a session is left, each with how often.

    It may be less than before: connections to services are kept for a while, too.
    """

    def look() -> dict[str, object] | None:
        report = _look_inside(proxy, inside)
        return None if any(name.endswith(CONNECTIONS) for name in report["alive"]) else report

    report = until(look, "every session to end", seconds=20)
    held = Counter({f"object {name}": count for name, count in report["alive"].items()})
    held["timer"] = report["timers"]
    return held + Counter(f"descriptor {name}" for name in descriptors(proxy.pid))


def test_a_client_that_only_looks_causes_no_login(bed: Bed, proxy: Proxy) -> None:
    place = len(bed.postfix.log)
    with bare_socket(proxy.ports[ACME.tenant, ROUTES["smtp"][0].name]) as terminal:
        assert terminal.read_reply().startswith(b"220 ")
        assert terminal.ask("QUIT").startswith(b"221 ")
    assert "connect from" not in bed.postfix.log[place:]
