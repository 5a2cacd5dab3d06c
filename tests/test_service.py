"""The whole proxy begins at once or not at all, and ends in good order, or at its deadlines."""

import resource

import pytest
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from mailproxy import service
from mailproxy.config.values import LimitsConfig
from mailproxy.downstream.rooms import MAX_TURNED_AWAY
from mailproxy.errors import ConfigError
from mailproxy.service import FAREWELL_SECONDS, SPARE_DESCRIPTORS, check, make_service, most_sessions
from tests.support.proxies import Followed, Site

SHUTDOWN = b"421 4.3.2 Service shutting down\r\n"
LISTEN = '{ acme = "tcp:1587", globex = "tcp:1588" }'


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.reactor.network.settle()
    assert not site.reactor.ports
    assert not site.reactor.network.transports
    assert not site.reactor.getDelayedCalls()


@pytest.fixture
def lines():
    """Levels and texts of the log."""
    said = []

    def note(event):
        said.append((event["log_level"], formatEvent(event)))

    globalLogPublisher.addObserver(note)
    yield said
    globalLogPublisher.removeObserver(note)


def greeted(site, port=1587):
    """A client that was greeted."""
    client = site.reactor.visit(port)
    assert site.reactor.ask(client).startswith(b"220 ")
    return client


def in_content(site, port=1587):
    """A client in the middle of a message, and its mail server."""
    client = greeted(site, port)
    site.reactor.ask(client, b"EHLO client.test\r\n")
    server = site.reactor.serve_login()
    assert b"250 " in site.reactor.ask(client)
    for command, answer in ((b"MAIL FROM:<a@b.test>", b"250"), (b"RCPT TO:<c@d.test>", b"250"), (b"DATA", b"354")):
        site.reactor.ask(client, command + b"\r\n")
        assert server.hear() == command + b"\r\n"
        site.reactor.ask(server, answer + b" ok\r\n")
        assert client.hear().startswith(answer)
    site.reactor.ask(client, b"Subject: x\r\n\r\nhello\r\n")
    assert b"hello" in server.hear()
    return client, server


def close(site, *sockets):
    for socket in sockets:
        socket.close()
    site.reactor.network.settle()


# The beginning


def test_every_port_is_bound_before_privileges_are_dropped(site):
    proxy = make_service(site.write(dest=LISTEN), site.reactor)
    assert (proxy.ready, site.reactor.ports) == (False, {})
    proxy.privilegedStartService()
    assert proxy.ready
    assert site.reactor.ports.keys() == {1587, 1588}
    proxy.startService()
    assert site.reactor.ports.keys() == {1587, 1588}
    proxy.stopService()


def test_one_port_that_cannot_be_bound_ends_it_all_with_its_reason(site, logged_failures):
    site.reactor.blocked = {1588}
    proxy = make_service(site.write(dest=LISTEN), site.reactor)
    with pytest.raises(SystemExit) as caught:
        proxy.privilegedStartService()
    assert (caught.value.code, proxy.ready) == (1, False)
    (event,) = logged_failures
    assert event["log_level"] is LogLevel.critical
    assert event["problem"].startswith("globex/dest: cannot listen on tcp:1588:interface=127.0.0.1")
    assert event["problem"].endswith("Address already in use")
    logged_failures.clear()
    proxy.stopService()


def test_everything_wrong_with_files_is_told_at_once(site, tmp_path):
    head = '[trust]\nca_files = ["none.pem"]\n[destination_services.local]\ndirectory = "none"\n'
    head += '[listener_tls.tls]\nmode = "offered"\ncertificates = [{ certificate = "no.pem", key = "no.key" }]\n'
    path = tmp_path / "mailproxy.toml"
    config = site.write(head=head, dest=LISTEN + '\ntls = "tls"')
    with pytest.raises(ConfigError) as caught:
        make_service(config, site.reactor)
    where = [problem.removeprefix(f"{path}: ").partition(": ")[0] for problem in caught.value.problems]
    assert where[0] == "trust.ca_files[0]"
    assert where[-1] == "destination_services.local.directory"
    assert len(where) > 2
    assert all("listener_tls.tls" in each for each in where[1:-1])


def test_a_check_does_not_ask_for_sockets_that_systemd_gives_to_the_service_alone(site):
    config = site.write(dest='"systemd:INET:name=smtp"')
    assert check(config) == []
    with pytest.raises(ConfigError) as caught:
        make_service(config, site.reactor)
    assert caught.value.problems == (
        f"{config.path}: dest: systemd:INET:name=smtp: systemd has handed over no such socket",
    )


# The end


def test_who_is_idle_is_told_and_closed_at_once(site):
    proxy = site.start(dest=LISTEN)
    clients = [greeted(site, port) for port in (1587, 1588)]
    over = Followed(proxy.stopService())
    assert not proxy.ready
    for client in clients:
        assert site.reactor.ask(client) == SHUTDOWN
        assert client.over
    assert not site.reactor.ports
    close(site, *clients)
    assert over.called


def test_without_sessions_it_takes_no_time(site, lines):
    proxy = site.start(dest=LISTEN)
    over = Followed(proxy.stopService())
    site.reactor.network.settle()
    assert over.called
    assert (LogLevel.info, "stopping; sessions: 0") in lines


def test_clients_are_let_in_for_a_while_where_that_is_wanted(site):
    proxy = site.start("timeouts.drain_delay_seconds = 5", dest=LISTEN)
    over = Followed(proxy.stopService())
    assert not proxy.ready
    site.reactor.advance(4.9)
    client = greeted(site)
    site.reactor.advance(0.1)
    assert not site.reactor.ports
    assert site.reactor.ask(client) == SHUTDOWN
    close(site, client)
    assert over.called


def test_what_is_in_the_middle_of_a_message_is_finished(site):
    proxy = site.start(dest=LISTEN)
    client, server = in_content(site)
    over = Followed(proxy.stopService())
    site.reactor.advance(80)
    assert (site.reactor.ask(client), over.called) == (b"", False)
    site.reactor.ask(client, b"more\r\n.\r\n")
    assert server.hear() == b"more\r\n.\r\n"
    assert site.reactor.ask(server, b"250 2.0.0 queued\r\n") == b"QUIT\r\n"
    assert client.hear() == b"250 2.0.0 queued\r\n" + SHUTDOWN
    assert client.over
    close(site, client)
    assert not over.called
    close(site, server)
    assert over.called


def test_at_the_deadline_a_message_is_cut_off_without_its_end(site, lines):
    proxy = site.start("timeouts.drain_seconds = 30", dest=LISTEN)
    client, server = in_content(site)
    over = Followed(proxy.stopService())
    site.reactor.advance(29.9)
    assert not client.over
    site.reactor.advance(0.1)
    assert (client.hear(), client.over) == (SHUTDOWN, True)
    assert server.incoming.reset
    close(site, client)
    assert over.called
    warnings = [text for level, text in lines if level is LogLevel.warn and "sessions left" in text]
    assert warnings == [
        "sessions left after 30 s: 1; they end now, but for those that wait for a mail server's last word"
    ]


def test_who_waits_for_the_reply_to_a_message_waits_longer(site):
    proxy = site.start(dest=LISTEN)
    client, server = in_content(site)
    site.reactor.ask(client, b".\r\n")
    over = Followed(proxy.stopService())
    site.reactor.advance(99.9)
    assert (client.hear(), client.over) == (b"", False)
    site.reactor.ask(server, b"250 2.0.0 queued\r\n")
    assert client.hear() == b"250 2.0.0 queued\r\n" + SHUTDOWN
    close(site, client, server)
    assert over.called


def test_but_not_for_ever(site, lines):
    proxy = site.start("timeouts.drain_final_reply_seconds = 7", dest=LISTEN)
    client, server = in_content(site)
    site.reactor.ask(client, b".\r\n")
    over = Followed(proxy.stopService())
    site.reactor.advance(97)
    assert client.hear().startswith(b"451 4.4.2 Delivery status unknown\r\n")
    assert client.over
    assert server.incoming.reset
    close(site, client)
    assert over.called
    assert any("delivery unknown" in text for _, text in lines)


def test_a_client_that_does_not_take_its_last_reply_is_aborted(site):
    proxy = site.start(dest=LISTEN)
    greeted(site)
    over = Followed(proxy.stopService())
    site.reactor.advance(4.9)
    assert not over.called
    site.reactor.advance(0.2)
    assert over.called


def test_a_mail_server_has_a_moment_to_hear_our_farewell(site):
    proxy = site.start(dest=LISTEN)
    client, server = in_content(site)
    site.reactor.ask(client, b".\r\n")
    site.reactor.ask(server, b"250 ok\r\n")
    over = Followed(proxy.stopService())
    assert site.reactor.ask(server) == b"QUIT\r\n"
    close(site, client)
    site.reactor.advance(FAREWELL_SECONDS - 0.1)
    assert (over.called, server.incoming.reset) == (False, False)
    site.reactor.advance(0.1)
    assert (over.called, server.incoming.reset) == (True, True)


@pytest.mark.parametrize("before", [0, 60, 95])
def test_in_a_hurry_everything_ends_at_once(site, before):
    proxy = site.start(dest=LISTEN)
    client, server = in_content(site)
    if before > 90:
        site.reactor.ask(client, b".\r\n")
    over = Followed(proxy.stopService())
    site.reactor.advance(before)
    proxy.hurry()
    site.reactor.network.settle()
    assert over.called
    assert client.over
    assert server.incoming.reset


def test_in_a_hurry_nobody_is_let_in_any_more_either(site):
    proxy = site.start("timeouts.drain_delay_seconds = 60", dest=LISTEN)
    greeted(site)
    over = Followed(proxy.stopService())
    proxy.hurry()
    site.reactor.network.settle()
    assert over.called


def test_a_factory_that_fails_keeps_nothing_from_ending(site, monkeypatch, logged_failures):
    proxy = site.start(dest=LISTEN)

    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(proxy.listeners[0].factory, "drain", fail)
    client = greeted(site, 1588)
    over = Followed(proxy.stopService())
    assert site.reactor.ask(client) == SHUTDOWN
    assert client.over
    close(site, client)
    assert over.called
    assert len(logged_failures) == 1
    logged_failures.clear()


def test_all_that_was_open_is_closed(site):
    proxy = site.start(dest=LISTEN)
    client, server = in_content(site)
    site.reactor.ask(client, b".\r\n")
    site.reactor.ask(server, b"250 ok\r\n")
    proxy.stopService()
    site.reactor.network.settle()
    close(site, client, server)
    made = proxy._assembly
    assert [len(each) for each in (made._upstreams, made._standings, made._client_tls, made._places._sources)] == [
        0
    ] * 4
    assert not proxy._rooms.taken


# How many


@pytest.mark.parametrize("listening", [1, 8])
def test_descriptors_bound_the_sessions(monkeypatch, listening):
    monkeypatch.setattr(service.resource, "getrlimit", lambda _: (1024, 4096))
    assert 2 * most_sessions(listening) + listening + SPARE_DESCRIPTORS + MAX_TURNED_AWAY in (1024, 1023)


def test_there_is_always_room_for_one(monkeypatch):
    monkeypatch.setattr(service.resource, "getrlimit", lambda _: (64, 64))
    assert most_sessions(8) == 1


@pytest.mark.parametrize("more", [0, 1])
def test_a_limit_of_sessions_that_descriptors_do_not_suffice_for_is_told(site, lines, monkeypatch, more):
    monkeypatch.setattr(service.resource, "getrlimit", lambda _: (1024, 4096))
    most = most_sessions(2 + LimitsConfig().max_idle_connections)
    proxy = site.start(f"limits.max_sessions = {most + more}", dest=LISTEN)
    warning = (LogLevel.warn, f"max_sessions is {most + 1}, and open files suffice for {most}")
    assert lines.count(warning) == more
    proxy.stopService()


def test_without_a_limit_of_descriptors_there_is_none_of_sessions(monkeypatch):
    monkeypatch.setattr(service.resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert most_sessions(8) == 0


def test_a_limit_of_the_configuration_counts_instead(site):
    proxy = site.start("limits.max_sessions = 1", dest=LISTEN)
    client = greeted(site)
    turned_away = site.reactor.visit(1588)
    assert site.reactor.ask(turned_away).startswith(b"421 4.3.2 Too many sessions")
    proxy.stopService()
    close(site, client, turned_away)
