"""
Each number of the statistics is raised by what it is for, through the real proxy, and the others do not move.

They are read where operators read them: at `/stats` and `/metrics` of the admin endpoint.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from prometheus_client.parser import text_string_to_metric_families

from mailproxy.observe.stats import STATISTICS
from mailproxy.sandbox.pki import Authority
from tests.support.proxy import Proxy, running
from tests.support.scripted import Script, Visit, serving
from tests.support.scripts import Household, Maildrop, Submission, plain
from tests.support.statistics import Desk, read_statistics, report_of, that_do_not_add_up
from tests.support.waiting import until

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 30.0
TABLES = """
[admin]
endpoint = "tcp:0"

[trust]
ca_files = ["ca.pem"]
platform = false

[listener_tls.inside]
mode = "offered"
certificates = [{ certificate = "here.pem", key = "here.key" }]
"""
TLS = 'pool = false\ntls = "inside"'
NAMES = {
    protocol: {"sessions", *(name for name in names.values() if name != "sessions_upstream_421")}
    for protocol, names in STATISTICS.items()
}
"""What the cases below raise, each on its own."""


@define
class Late:
    """A mail server that greets when it is told to; `visited` is set when somebody waits for that."""

    visited: threading.Event = field(factory=threading.Event)
    greets: threading.Event = field(factory=threading.Event)

    def __call__(self, visit: Visit) -> None:
        """The script of one connection."""
        self.visited.set()
        assert self.greets.wait(PATIENCE_SECONDS)


def talkative_smtp(visit: Visit) -> None:
    """A mail server that says more than it is asked."""
    visit.log_in_smtp()
    visit.read_line()
    visit.send(b"250 ok\r\n250 and more\r\n")
    visit.read_line()


def talkative_pop3(visit: Visit) -> None:
    """The same of POP3."""
    visit.log_in_pop3()
    while visit.read_line() != b"NOOP":
        visit.send_capabilities()
    visit.send(b"+OK\r\n+OK and more\r\n")
    visit.read_line()


def goes_away(visit: Visit) -> None:
    """A mail server that says goodbye while its client thinks."""
    visit.log_in_smtp()
    visit.read_line()
    visit.send(b"250 ok\r\n421 4.3.2 shutting down\r\n")


def refuses_starttls(visit: Visit) -> None:
    """A mail server that offers what it does not have."""
    visit.send(b"220 scripted ESMTP\r\n")
    visit.read_line()
    visit.send(b"250-scripted\r\n250 STARTTLS\r\n")
    visit.read_line()
    visit.send(b"454 4.7.0 TLS not available\r\n")
    visit.read_line()


def denies(visit: Visit) -> None:
    """A mail server that lets nobody in."""
    visit.send(b"220 scripted ESMTP\r\n")
    visit.read_line()
    visit.send(b"250-scripted\r\n250 AUTH PLAIN\r\n")
    visit.read_line()
    visit.send(b"535 5.7.8 no\r\n")
    visit.read_line()


def denies_pop3(visit: Visit) -> None:
    """The same of POP3."""
    visit.send(b"+OK scripted\r\n")
    visit.read_line()
    visit.send_capabilities()
    visit.read_line()
    visit.send(b"+OK\r\n")
    visit.read_line()
    visit.send(b"-ERR [AUTH] no\r\n")
    visit.read_line()


def refuses_stls(visit: Visit) -> None:
    """The same of POP3."""
    visit.send(b"+OK scripted\r\n")
    visit.read_line()
    visit.send(b"+OK\r\nSTLS\r\nUSER\r\n.\r\n")
    visit.read_line()
    visit.send(b"-ERR not now\r\n")
    visit.read_line()


@define
class Place:
    """A proxy in front of mail servers of all kinds."""

    proxy: Proxy
    read: Callable[[], dict[str, int]]
    late: dict[str, Late] = field(factory=dict)

    def numbers(self, protocol: str, name: str) -> dict[str, int]:
        """Those of a listener, by their names in it."""
        root = f"{protocol}.{name}-acme."
        found = self.read()
        return {key.removeprefix(root): number for key, number in found.items() if key.startswith(root)}

    @contextmanager
    def client(self, name: str) -> Iterator[Client]:
        """A client, greeted if it is at once."""
        client = Client(socket.create_connection(("127.0.0.1", self.proxy.ports["acme", name]), PATIENCE_SECONDS))
        try:
            yield client
        finally:
            client.connection.close()

    def raised(self, protocol: str, name: str, visit: Any) -> dict[str, int]:
        """What has changed behind a visit, once its session is over."""
        before = self.numbers(protocol, name)
        with self.client(name) as client:
            visit(client, self)
        now = until(lambda: self._when_over(protocol, name, before["sessions"]), "the end of the session")
        return {key: now[key] - before[key] for key in NAMES[protocol] if now[key] != before[key]}

    def _when_over(self, protocol: str, name: str, before: int) -> dict[str, int] | None:
        now = self.numbers(protocol, name)
        return now if now["sessions"] == before + 1 and not now["sessions_active"] else None


@define
class Client:
    """A client by hand."""

    connection: socket.socket

    def hear(self, end: bytes = b"\r\n") -> bytes:
        """All octets up to a reply that ends so."""
        heard = b""
        while not heard.endswith(end):
            chunk = self.connection.recv(65536)
            if not chunk:
                break
            heard += chunk
        return heard

    def say(self, *lines: bytes) -> bytes:
        """The lines, each behind the reply to the one before; what was heard at last."""
        heard = b""
        for line in lines:
            self.connection.sendall(line + b"\r\n")
            heard = self.hear()
        return heard

    def secure(self) -> None:
        """It speaks through TLS from now on."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.connection = context.wrap_socket(self.connection)

    def end(self) -> None:
        """Everything up to the end was heard."""
        while self.connection.recv(65536):
            pass


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """All of it."""
    folder = tmp_path_factory.mktemp("statistics")
    authority = Authority.create()
    authority.write(folder / "ca.pem")
    for host, stem in (("localhost", "here"), ("elsewhere.test", "there")):
        authority.issue(host).write(folder, stem)
    late = {"smtp": Late(), "pop3": Late()}
    good = {"smtp": Submission(), "pop3": Maildrop()}
    good["smtp"].open.set()  # type: ignore[attr-defined]  # a Submission, which it is
    scripts: dict[str, dict[str, Script]] = {
        "smtp": {"plain": good["smtp"], "talkative": talkative_smtp, "refuses": refuses_starttls, "away": goes_away},
        "pop3": {"plain": good["pop3"], "talkative": talkative_pop3, "refuses": refuses_stls},
    }
    with ExitStack() as stack:
        house = Household(folder, tables=TABLES)
        for protocol, of_protocol in scripts.items():
            for name, script in (of_protocol | {"late": late[protocol]}).items():
                house.add(f"{protocol}-{name}", protocol, stack.enter_context(serving(script)), more=TLS)
            denied = denies if protocol == "smtp" else denies_pop3
            behind_tls = (
                ("tls", "here", good[protocol]),
                ("wrong", "there", good[protocol]),
                ("denies", "here", denied),
            )
            for name, stem, script in behind_tls:
                files = {"certificate": folder / f"{stem}.pem", "key": folder / f"{stem}.key"}
                port = stack.enter_context(serving(script, **files))
                house.add(f"{protocol}-{name}", protocol, port, more=TLS)
                house.write_file(plain(f"{protocol}-{name}", f"{protocol}s", port))
            properties = plain(f"{protocol}-refuses", protocol, stack.enter_context(serving(of_protocol["refuses"])))
            starttls = {f"mail.{protocol}.starttls.{key}": "true" for key in ("enable", "required")}
            house.write_file(properties | starttls)
        with running(house) as proxy:
            yield Place(proxy, Desk.of(proxy).statistics, late)
        for each in late.values():
            each.greets.set()


# What clients do; each ends by itself


def only_looks(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"QUIT")


def noop_first(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"NOOP", b"QUIT")


def helo(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"HELO client.test", b"QUIT")


def mail_without_tls(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"EHLO client.test", b"MAIL FROM:<a@b.test>", b"QUIT")


def stat_without_tls(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"NOOP", b"STAT", b"QUIT")


def long_line(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"NOOP " * 1000, b"QUIT")


def group_behind_ehlo(client: Client, _: Place) -> None:
    client.hear()
    client.connection.sendall(b"EHLO client.test\r\nRSET\r\n")
    client.end()


def sends_ahead_of_stls(client: Client, _: Place) -> None:
    client.hear()
    client.connection.sendall(b"STLS\r\nNOOP\r\n")
    client.end()


def speaks_while_it_has_to_wait(client: Client, place: Place) -> None:
    client.hear()
    client.connection.sendall(b"EHLO client.test\r\n")
    assert place.late["smtp"].visited.wait(PATIENCE_SECONDS)
    client.connection.sendall(b"NOOP\r\n")
    client.end()


def hears_nothing_more(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"EHLO client.test")
    client.say(b"RSET", b"NOOP")


def encrypted(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"EHLO client.test", b"STARTTLS")
    client.secure()
    client.say(b"EHLO client.test", b"MAIL FROM:<a@b.test>", b"QUIT")


def encrypted_pop3(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"STLS")
    client.secure()
    client.say(b"STAT", b"QUIT")


def breaks_tls(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"EHLO client.test", b"STARTTLS")
    client.connection.sendall(b"this is no handshake\r\n")
    client.end()


def breaks_tls_of_pop3(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"STLS")
    client.connection.sendall(b"this is no handshake\r\n")
    client.end()


def is_refused(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"EHLO client.test")
    client.end()


def is_not_greeted(client: Client, _: Place) -> None:
    assert client.hear().startswith(b"-ERR")
    client.end()


def mail_that_fails(client: Client, _: Place) -> None:
    """Behind TLS, so that this is not told of."""
    client.hear()
    client.say(b"EHLO client.test", b"STARTTLS")
    client.secure()
    client.say(b"EHLO client.test", b"MAIL FROM:<a@b.test>")
    client.say(b"RCPT TO:<c@d.test>")
    client.end()


def asks_a_talkative_one(client: Client, _: Place) -> None:
    client.hear()
    client.say(b"NOOP")
    client.end()


CASES = [
    ("smtp", "plain", only_looks, set()),
    ("smtp", "plain", noop_first, {"sessions_bad_ehlo"}),
    ("smtp", "plain", helo, {"sessions_non_esmtp"}),
    ("smtp", "plain", mail_without_tls, {"sessions_esmtp_unencrypted"}),
    ("smtp", "plain", long_line, {"sessions_bad_line"}),
    ("smtp", "plain", group_behind_ehlo, {"sessions_bad_pipeline"}),
    ("smtp", "late", speaks_while_it_has_to_wait, {"sessions_downstream_desync"}),
    ("smtp", "talkative", mail_that_fails, {"sessions_upstream_desync", "sessions_downstream_terminated_ssl"}),
    ("smtp", "plain", encrypted, {"sessions_downstream_terminated_ssl"}),
    ("smtp", "plain", breaks_tls, {"sessions_downstream_ssl_err"}),
    ("smtp", "tls", hears_nothing_more, {"sessions_upstream_terminated_ssl"}),
    ("smtp", "denies", is_refused, {"sessions_upstream_terminated_ssl"}),
    ("smtp", "wrong", is_refused, {"sessions_upstream_ssl_err"}),
    ("smtp", "refuses", is_refused, {"sessions_upstream_ssl_command_err"}),
    ("pop3", "plain", only_looks, set()),
    ("pop3", "plain", stat_without_tls, {"sessions_unencrypted"}),
    ("pop3", "plain", long_line, {"sessions_bad_line"}),
    ("pop3", "plain", sends_ahead_of_stls, {"sessions_bad_pipeline"}),
    ("pop3", "talkative", asks_a_talkative_one, {"sessions_upstream_desync"}),
    ("pop3", "plain", encrypted_pop3, {"sessions_downstream_terminated_ssl"}),
    ("pop3", "plain", breaks_tls_of_pop3, {"sessions_downstream_ssl_err"}),
    ("pop3", "tls", only_looks, {"sessions_upstream_terminated_ssl"}),
    ("pop3", "denies", is_not_greeted, {"sessions_upstream_terminated_ssl"}),
    ("pop3", "wrong", is_not_greeted, {"sessions_upstream_ssl_err"}),
    ("pop3", "refuses", is_not_greeted, {"sessions_upstream_ssl_command_err"}),
]


@pytest.mark.parametrize(("protocol", "server", "visit", "names"), CASES)
def test_a_number_is_raised_and_the_others_do_not_move(
    place: Place, protocol: str, server: str, visit: Any, names: set[str]
) -> None:
    raised = place.raised(protocol, f"{protocol}-{server}", visit)
    assert raised == dict.fromkeys({"sessions", *names}, 1)


def test_every_number_has_a_case() -> None:
    raised = {(protocol, name) for protocol, _, _, names in CASES for name in names}
    wanted = {(protocol, name) for protocol, names in NAMES.items() for name in names - {"sessions"}}
    assert wanted - raised == {("pop3", "sessions_downstream_desync")}


def test_a_421_while_the_client_thinks_is_no_desync(place: Place) -> None:
    before = place.numbers("smtp", "smtp-away")
    raised = place.raised("smtp", "smtp-away", mail_that_fails)
    after = place.numbers("smtp", "smtp-away")
    assert raised == {"sessions": 1, "sessions_downstream_terminated_ssl": 1}
    assert after["sessions_upstream_421"] == before["sessions_upstream_421"] + 1


def test_what_the_mail_server_said_is_told_from_what_we_said(place: Place) -> None:
    before = place.numbers("smtp", "smtp-plain")
    place.raised("smtp", "smtp-plain", mail_without_tls)
    after = place.numbers("smtp", "smtp-plain")
    for key in ("replies.upstream.mail.2xx", "replies.proxy.greeting.2xx", "replies.proxy.ehlo.2xx", "outcomes.quit"):
        assert after[key] == before.get(key, 0) + 1, key


def test_sessions_are_always_those_that_live_and_those_that_ended(place: Place) -> None:
    with place.client("smtp-plain") as client:
        client.hear()
        live = "smtp.smtp-plain-acme.sessions_active"
        found = until(lambda: found if (found := place.read())[live] else None, "the session")
    assert that_do_not_add_up(found) == []
    assert that_do_not_add_up(found | {"smtp.smtp-plain-acme.sessions": 0}) == ["smtp.smtp-plain-acme"]


def test_with_workers_the_numbers_are_those_of_all(tmp_path: Path) -> None:
    submission = Submission()
    submission.open.set()
    with ExitStack() as stack:
        house = Household(tmp_path, top="workers = 2")
        house.add("mail", "smtp", stack.enter_context(serving(submission)), more="pool = false")
        report = tmp_path / "inside.json"
        proxy = stack.enter_context(running(house, report))
        place = Place(proxy, lambda: read_statistics(report_of(proxy, report)["stats"]))
        for _ in range(4):
            raised = place.raised("smtp", "mail", helo)
            assert raised == {"sessions": 1, "sessions_non_esmtp": 1}
        wanted = re.compile(r"^mailproxy_pool_made_total\{.*\} 4\.0$", re.MULTILINE)
        until(lambda: wanted.search(report_of(proxy, report)["metrics"]), "the pools of all workers")


def test_metrics_know_the_state_of_what_listeners_use(place: Place) -> None:
    place.raised("smtp", "smtp-wrong", is_refused)
    families = text_string_to_metric_families(Desk.of(place.proxy).read("/metrics"))
    found = {(each.name, *sorted(each.labels.values())): each.value for family in families for each in family.samples}
    assert found["mailproxy_certificate_expiry_timestamp_seconds", "acme", "smtp", "smtp-plain"] > 1_700_000_000
    assert found["mailproxy_pool_made_total", "acme", "smtp", "smtp-plain"] > 0
    assert found["mailproxy_pool_connections", "acme", "in_use", "smtp", "smtp-plain"] == 0
    assert found["mailproxy_hold_off", "acme", "server", "smtp", "smtp-plain"] == 0
    assert found["mailproxy_reactor_lag_seconds_count",] >= 0
