"""The port of the admin endpoint: from the start to the very end, and through changes of the configuration."""

from __future__ import annotations

import json

import pytest

from mailproxy.admin.channel import MAX_CONNECTIONS
from mailproxy.admin.endpoint import descriptors
from mailproxy.admin.history import SAMPLE_SECONDS
from mailproxy.config import AdminConfig
from mailproxy.service import SPARE_DESCRIPTORS, check, make_service
from tests.support.proxies import HEAD, Followed, Site

ADMIN = "[admin]\n"
LISTEN = '{ acme = "tcp:1587", globex = "tcp:1588" }'
TOKEN = "the-token-of-the-operator"


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.reactor.network.settle()
    assert not site.reactor.ports
    assert not site.reactor.network.transports
    assert not site.reactor.getDelayedCalls()


def ask(site, path, *headers, port=9494):
    """Status and body of the answer."""
    client = site.reactor.visit(port)
    head, _, body = site.reactor.ask(
        client, "\r\n".join([f"GET {path} HTTP/1.1", *headers, "", ""]).encode()
    ).partition(b"\r\n\r\n")
    client.close()
    site.reactor.network.settle()
    return int(head.split(b" ")[1]), body


def status(site, **more):
    code, body = ask(site, "/status", **more)
    assert code == 200
    return json.loads(body)


def stop(site, proxy):
    ended = Followed(proxy.stopService())
    site.reactor.advance(1.0)
    assert ended.called


def reload(site, proxy, head, **listen):
    done = Followed(proxy.reload(site.write(head=head + HEAD, **(listen or {"dest": LISTEN}))))
    site.reactor.advance(0.1)
    assert done.called
    return done.result


def test_there_is_none_unless_it_is_asked_for(site):
    proxy = site.start(dest=LISTEN)
    assert site.reactor.ports.keys() == {1587, 1588}
    assert not site.reactor.getDelayedCalls(), "nobody takes samples for nobody"
    stop(site, proxy)


def test_it_tells_of_the_proxy(site):
    proxy = site.start(ADMIN, dest=LISTEN)
    said = status(site)
    assert (said["state"], said["ready"], said["sessions"]) == ("running", True, 0)
    assert [row["label"] for row in said["destinations"]] == ["acme/dest", "globex/dest"]
    assert {row["state"] for row in said["destinations"]} == {"unused"}
    assert said["configuration"]["path"] == str(proxy.config.path)
    assert ask(site, "/ready") == (200, b'{"ready":true,"reasons":[]}\n')
    assert ask(site, "/")[0] == 200
    stop(site, proxy)


def test_a_session_is_seen_from_its_beginning_to_its_end(site):
    proxy = site.start(ADMIN, dest=LISTEN)
    client = site.reactor.visit(1587)
    assert site.reactor.ask(client).startswith(b"220 ")
    assert [row["sessions"] for row in status(site)["destinations"]] == [1, 0]
    site.reactor.ask(client, b"EHLO client.test\r\n")
    server = site.reactor.serve_login()
    row = status(site)["destinations"][0]
    assert (row["state"], row["credential"]["kind"], row["upstream"]["host"]) == ("ok", "password", "mail.localhost")
    assert (row["upstream"]["address"], row["upstream"]["tls"]) == ("127.0.0.1", None)
    assert b"smtp.dest-acme.sessions_active: 1\n" in ask(site, "/stats")[1]
    client.close()
    server.close()
    site.reactor.advance(SAMPLE_SECONDS)
    _, history = ask(site, "/history")
    assert json.loads(history)["listeners"]["acme/dest"]["sessions"] == [1]
    assert b"smtp.dest-acme.outcomes.downstream_lost: 1\n" in ask(site, "/stats")[1]
    stop(site, proxy)


def test_what_failed_is_told_with_its_cause_and_without_the_password(site):
    proxy = site.start(ADMIN, dest=LISTEN)
    client = site.reactor.visit(1587)
    site.reactor.ask(client, b"EHLO client.test\r\n")
    site.reactor.network.settle()
    server = site.reactor.servers[0]
    site.reactor.ask(server, b"220 mail.test ESMTP\r\n")
    site.reactor.ask(server, b"250-mail.test\r\n250 AUTH PLAIN\r\n")
    server.say(b"535 5.7.8 not with pw\r\n")
    site.reactor.network.settle()
    client.close()
    site.reactor.network.settle()
    code, body = ask(site, "/status")
    said = json.loads(body)
    row, other = said["destinations"]
    assert (code, row["state"], other["state"]) == (200, "failing", "unused")
    assert row["last_error"]["outcome"] == "upstream_refused_login"
    assert row["last_error"]["remedy"]
    assert row["held_off_until"]
    assert said["failures"][0]["label"] == "acme/dest"
    assert b"not with <secret>" in body
    assert b"with pw" not in body
    stop(site, proxy)


def test_the_end_can_be_watched_and_the_port_is_the_last_to_go(site):
    proxy = site.start(ADMIN, dest=LISTEN)
    client = site.reactor.visit(1587)
    site.reactor.ask(client, b"EHLO client.test\r\n")
    server = site.reactor.serve_login()
    site.reactor.ask(client, b"MAIL FROM:<a@b.test>\r\n")
    ended = Followed(proxy.stopService())
    site.reactor.advance(1.0)
    assert not ended.called
    assert site.reactor.ports.keys() == {9494}
    code, body = ask(site, "/readyz")
    assert (code, b"draining" in body) == (503, True)
    assert (status(site)["state"], status(site)["sessions"]) == ("draining", 1)
    assert ask(site, "/livez")[0] == 200
    assert ask(site, "/startupz")[0] == 503, "it was not asked while it was ready"
    proxy.hurry()
    server.close()
    client.close()
    site.reactor.advance(5.0)
    assert ended.called
    assert not site.reactor.ports


def test_a_port_that_cannot_be_bound_ends_it_all_with_its_reason(site, logged_failures):
    site.reactor.blocked = {9494}
    proxy = make_service(site.write(ADMIN, dest=LISTEN), site.reactor)
    with pytest.raises(SystemExit):
        proxy.privilegedStartService()
    (event,) = logged_failures
    assert event["problem"].startswith("admin endpoint: cannot listen on tcp:9494:interface=127.0.0.1")
    logged_failures.clear()
    stop(site, proxy)


def test_a_token_that_cannot_be_read_is_found_by_the_check(site, tmp_path):
    config = site.write('[admin]\ntoken_file = "token"\n', dest=LISTEN)
    (problem,) = check(config)
    assert problem.startswith(f"{config.path}: admin.token_file: {tmp_path / 'token'}: cannot be read")
    (tmp_path / "token").write_text(TOKEN)
    assert check(config) == []


def test_its_connections_are_counted_among_the_open_files():
    assert descriptors(None) == 0
    assert descriptors(AdminConfig()) == MAX_CONNECTIONS + 1 < SPARE_DESCRIPTORS


# Changes


def test_a_reload_brings_it_and_takes_it_away(site):
    proxy = site.start(dest=LISTEN)
    assert reload(site, proxy, ADMIN) == []
    assert status(site)["ready"]
    assert reload(site, proxy, "") == []
    assert site.reactor.ports.keys() == {1587, 1588}
    stop(site, proxy)


def test_a_reload_moves_it(site):
    proxy = site.start(ADMIN, dest=LISTEN)
    site.reactor.advance(SAMPLE_SECONDS)
    assert reload(site, proxy, '[admin]\nendpoint = "tcp:9000"\n') == []
    assert site.reactor.ports.keys() == {1587, 1588, 9000}
    assert status(site, port=9000)["ready"]
    assert len(json.loads(ask(site, "/history", port=9000)[1])["listeners"]["acme/dest"]["sessions"]) == 1
    assert reload(site, proxy, '[admin]\nendpoint = "tcp:9000:interface=0.0.0.0"\nallow_without_token = true\n') == []
    assert site.reactor.ports[9000].getHost().host == "0.0.0.0"
    stop(site, proxy)


def test_a_reload_changes_who_may_ask_and_keeps_the_port(site, tmp_path):
    proxy = site.start(ADMIN, dest=LISTEN)
    port = site.reactor.ports[9494]
    (tmp_path / "token").write_text(TOKEN)
    assert reload(site, proxy, '[admin]\ntoken_file = "token"\n') == []
    assert site.reactor.ports[9494] is port
    assert ask(site, "/status")[0] == 401
    assert ask(site, "/status", f"Authorization: Bearer {TOKEN}")[0] == 200
    stop(site, proxy)


def test_a_reload_that_cannot_be_changes_nothing(site, logged_failures):
    proxy = site.start(ADMIN, dest=LISTEN)
    site.reactor.blocked = {9000}
    for head, words in (
        ('[admin]\nendpoint = "tcp:9000"\n', "cannot listen on tcp:9000"),
        ('[admin]\nendpoint = "tcp:9000:interface=0.0.0.0"\nallow_without_token = true\n', "cannot listen on tcp:9000"),
        ('[admin]\ntoken_file = "none"\n', "token_file"),
    ):
        (problem,) = reload(site, proxy, head)
        assert words in problem
        assert site.reactor.ports.keys() == {1587, 1588, 9494}
        assert status(site)["ready"]
    assert reload(site, proxy, ADMIN, other='{ acme = "tcp:9000" }')
    assert status(site)["ready"]
    assert not logged_failures
    stop(site, proxy)


def test_a_new_port_that_its_own_one_is_in_the_way_of_and_that_fails_all_the_same(site, logged_failures):
    proxy = site.start(ADMIN, dest=LISTEN)
    site.reactor.blocked = {9494}
    (problem,) = reload(site, proxy, '[admin]\nendpoint = "tcp:9494:interface=0.0.0.0"\nallow_without_token = true\n')
    assert "cannot listen on tcp:9494:interface=0.0.0.0" in problem
    assert "cannot listen on tcp:9494:interface=127.0.0.1" in logged_failures[0]["problem"], "blocked for both"
    logged_failures.clear()
    site.reactor.blocked = set()
    assert reload(site, proxy, '[admin]\nendpoint = "tcp:9001"\n') == []
    assert status(site, port=9001)["ready"]
    stop(site, proxy)


def test_what_keeps_a_changed_file_from_being_used_is_told(site):
    proxy = site.start(ADMIN, dest=LISTEN)
    proxy.complaints = ["mailproxy.toml: x: unknown key"]
    said = status(site)
    assert (said["configuration"]["problems"], said["ready"]) == (["mailproxy.toml: x: unknown key"], True)
    stop(site, proxy)


def test_a_new_configuration_tells_since_when_it_is_in_use(site):
    proxy = site.start(ADMIN, dest=LISTEN)
    before = status(site)["configuration"]["since"]
    site.reactor.advance(60.0)
    assert reload(site, proxy, ADMIN, dest='{ acme = "tcp:1587" }') == []
    said = status(site)
    assert said["configuration"]["since"] != before
    assert len(said["destinations"]) == 1
    stop(site, proxy)
