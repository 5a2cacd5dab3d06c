"""Another configuration is in use as a whole or not at all, and nobody who is connected notices."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from tests.support.proxies import HEAD, Followed, Site

SHUTDOWN = b"421 4.3.2 Service shutting down\r\n"
BOTH = '{ acme = "tcp:1587", globex = "tcp:1588" }'


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
def proxy(site):
    """Two tenants with the same destination; at the end everything was given back."""
    proxy = site.start(dest=BOTH)
    yield proxy
    proxy.stopService()
    proxy.hurry()
    site.reactor.network.settle()
    assert not site.reactor.ports
    assert not site.reactor.network.transports
    assert not site.reactor.getDelayedCalls()
    assert not proxy._rooms.taken
    assert shared(proxy) == (0, 0, 0)


@pytest.fixture
def lines():
    """Levels and texts of the log."""
    said = []

    def note(event):
        said.append((event["log_level"], formatEvent(event)))

    globalLogPublisher.addObserver(note)
    yield said
    globalLogPublisher.removeObserver(note)


def shared(proxy):
    """How many connectors, counters and places there are."""
    made = proxy._assembly
    return len(made._upstreams), len(made._standings), len(made._places._sources)


def reload(site, proxy, *args, **listen):
    """What is wrong with that configuration; when nothing is, it is in use."""
    problems = Followed(proxy.reload(site.write(*args, **listen)))
    site.reactor.network.settle()
    assert problems.called
    return problems.result


def greeting(site, port=1587):
    client = site.reactor.visit(port)
    return client, site.reactor.ask(client)


def answers(site, client):
    return site.reactor.ask(client, b"NOOP\r\n") == b"250 2.0.0 OK\r\n"


def factories(proxy):
    return {listener.order.label: listener.factory for listener in proxy.listeners}


# What stays


def test_the_same_configuration_changes_nothing(site, proxy, lines):
    before, ports = factories(proxy), dict(site.reactor.ports)
    client, _ = greeting(site)
    assert reload(site, proxy, dest=BOTH) == []
    assert (factories(proxy), site.reactor.ports) == (before, ports)
    assert answers(site, client)
    path = proxy.config.path
    assert (LogLevel.info, f"configuration {path} is in use; listeners: 2 as before, 0 changed, 0 new, 0 gone") in lines


def test_another_tenant_of_the_same_destination_leaves_the_others_alone(site, proxy):
    before = factories(proxy)
    listen = BOTH.replace("}", ', initech = "tcp:1589" }')
    assert reload(site, proxy, dest=listen) == []
    after = factories(proxy)
    assert {label: after[label] for label in before} == before
    assert greeting(site, 1589)[1].startswith(b"220 ")


def test_the_endpoint_in_other_words_is_the_same_endpoint(site, proxy):
    before = factories(proxy)
    assert reload(site, proxy, dest=BOTH.replace('"tcp:1587"', '"tcp:interface=127.0.0.1:port=1587"')) == []
    assert factories(proxy) == before


def test_listeners_keep_the_order_of_the_file(site, proxy):
    listen = '{ initech = "tcp:1589", globex = "tcp:1588", acme = "tcp:1587" }'
    assert reload(site, proxy, dest=listen) == []
    assert list(factories(proxy)) == ["initech/dest", "globex/dest", "acme/dest"]


def test_any_free_port_stays_the_one_it_was(site):
    proxy = site.start(dest='{ acme = "tcp:0", globex = "tcp:0" }')
    ports = {listener.order.label: listener.address.port for listener in proxy.listeners}
    assert reload(site, proxy, "watch_seconds = 1", dest='{ globex = "tcp:0", acme = "tcp:0" }') == []
    assert {listener.order.label: listener.address.port for listener in proxy.listeners} == ports
    proxy.stopService()
    site.reactor.network.settle()


# What changes


def test_who_is_connected_goes_on_as_before_and_who_comes_gets_the_new(site, proxy):
    old, words = greeting(site)
    assert words.startswith(b"220 mailproxy.")
    assert reload(site, proxy, 'server_name = "new.test"', dest=BOTH) == []
    new, words = greeting(site)
    assert words.startswith(b"220 new.test ")
    assert site.reactor.ask(old, b"HELP\r\n") == site.reactor.ask(new, b"HELP\r\n")
    assert answers(site, old)
    old.close()
    site.reactor.network.settle()
    assert [len(listener.factories) for listener in proxy.listeners] == [1, 1]
    assert answers(site, new)


def test_a_session_in_the_middle_of_its_login_is_not_disturbed(site, proxy):
    client, _ = greeting(site)
    site.reactor.ask(client, b"EHLO client.test\r\n")
    assert reload(site, proxy, "timeouts.login_seconds = 5", dest=BOTH) == []
    site.reactor.serve_login()
    assert b"250 " in site.reactor.ask(client)


def test_sessions_of_many_configurations_live_side_by_side(site, proxy):
    clients = [greeting(site)[0]]
    for number in range(5):
        assert reload(site, proxy, f"timeouts.line_seconds = {number + 1}", dest=BOTH) == []
        clients.append(greeting(site)[0])
    assert all(answers(site, client) for client in clients)
    assert [len(listener.factories) for listener in proxy.listeners] == [6, 1]
    for client in clients:
        client.close()
    site.reactor.network.settle()
    assert [len(listener.factories) for listener in proxy.listeners] == [1, 1]


def test_an_endpoint_that_changes_its_owner_belongs_to_the_new_one_from_then_on(site, proxy):
    client, _ = greeting(site, 1587)
    acme = factories(proxy)["acme/dest"].log
    assert reload(site, proxy, dest='{ globex = "tcp:1587", acme = "tcp:1588" }') == []
    assert acme.counters.active == 1
    other, _ = greeting(site, 1587)
    globex = factories(proxy)["globex/dest"]
    assert (globex.log.counters.active, globex.log.tenant) == (1, "globex")
    assert (acme.counters.active, factories(proxy)["acme/dest"].log) == (1, acme)
    assert answers(site, client)
    assert answers(site, other)


def test_a_name_that_is_no_longer_unique_is_told_in_full(site, proxy):
    before = factories(proxy)["acme/dest"]
    head = HEAD + '[destination_services.other]\ndirectory = "destinations"\n'
    head += '[[destinations]]\nname = "dest"\nservice = "other"\nprotocol = "smtp"\nlisten = { acme = "tcp:1590" }\n'
    assert reload(site, proxy, head=head, dest=BOTH) == []
    assert factories(proxy)["acme/dest@local:smtp"] is before
    assert before.log.label == "acme/dest@local:smtp"


def test_limits_of_the_whole_process_hold_from_then_on(site, proxy):
    greeting(site)
    before = factories(proxy)
    assert reload(site, proxy, "limits.max_sessions = 1", dest=BOTH) == []
    assert factories(proxy) == before
    assert greeting(site, 1588)[1].startswith(b"421 4.3.2 Too many sessions")
    assert reload(site, proxy, dest=BOTH) == []
    assert greeting(site, 1588)[1].startswith(b"220 ")


def test_the_limit_of_a_listener_counts_those_that_were_there_before(site, proxy):
    greeting(site)
    greeting(site)
    assert reload(site, proxy, "limits.max_sessions_per_listener = 3", dest=BOTH) == []
    assert greeting(site)[1].startswith(b"220 ")
    assert greeting(site)[1].startswith(b"421 4.3.2 Too many sessions")
    assert greeting(site, 1588)[1].startswith(b"220 ")


# What is new, and what is gone


def test_a_new_endpoint_is_listened_on(site, proxy):
    assert reload(site, proxy, dest=BOTH, more='{ acme = "tcp:1590" }') == []
    assert site.reactor.ports.keys() == {1587, 1588, 1590}
    assert greeting(site, 1590)[1].startswith(b"220 ")


def test_one_that_is_gone_ends_as_at_a_stop(site, proxy):
    idle, _ = greeting(site, 1588)
    other, _ = greeting(site, 1587)
    assert reload(site, proxy, dest='{ acme = "tcp:1587" }') == []
    assert site.reactor.ports.keys() == {1587}
    assert site.reactor.ask(idle) == SHUTDOWN
    assert idle.over
    assert answers(site, other)
    assert proxy.ready


def test_its_deadlines_are_those_of_the_new_configuration(site, proxy):
    client, _ = greeting(site, 1588)
    site.reactor.ask(client, b"EHLO client.test\r\n")
    server = site.reactor.serve_login()
    site.reactor.ask(client, b"MAIL FROM:<a@b.test>\r\n")
    site.reactor.ask(server, b"250 ok\r\n")
    assert client.hear().endswith(b"250 ok\r\n")
    assert reload(site, proxy, "timeouts.drain_seconds = 7", dest='{ acme = "tcp:1587" }') == []
    site.reactor.advance(6.9)
    assert not client.over
    site.reactor.advance(0.1)
    assert (client.hear(), client.over) == (SHUTDOWN, True)
    assert server.incoming.reset


def test_one_that_is_still_ending_ends_with_all_the_others(site, proxy):
    client, _ = greeting(site, 1588)
    site.reactor.ask(client, b"EHLO client.test\r\n")
    server = site.reactor.serve_login()
    site.reactor.ask(client, b"MAIL FROM:<a@b.test>\r\n")
    site.reactor.ask(server, b"250 ok\r\n")
    reload(site, proxy, dest='{ acme = "tcp:1587" }')
    over = Followed(proxy.stopService())
    site.reactor.advance(60)
    assert not over.called
    proxy.hurry()
    site.reactor.network.settle()
    assert over.called


def test_counters_go_on_where_a_listener_moves_to(site, proxy):
    client, _ = greeting(site)
    before = factories(proxy)["acme/dest"].log
    assert reload(site, proxy, dest='{ acme = "tcp:1600", globex = "tcp:1588" }') == []
    client.close()
    site.reactor.network.settle()
    greeting(site, 1600)
    after = factories(proxy)["acme/dest"].log
    assert after is before
    assert (after.counters.sessions, after.counters.active) == (2, 1)


# What is shared


def test_the_way_to_the_mail_server_stays_where_nothing_about_it_changes(site, proxy):
    before = factories(proxy)["acme/dest"]._around.upstreams
    assert reload(site, proxy, "smtp.max_recipients = 7", dest=BOTH) == []
    assert factories(proxy)["acme/dest"]._around.upstreams is before
    assert reload(site, proxy, "timeouts.login_seconds = 7", dest=BOTH) == []
    assert factories(proxy)["acme/dest"]._around.upstreams is not before


def test_what_nobody_needs_any_more_is_closed(site, proxy):
    assert shared(proxy) == (2, 2, 2)
    client, _ = greeting(site)
    assert reload(site, proxy, "timeouts.token_seconds = 7", dest=BOTH) == []
    assert shared(proxy) == (3, 2, 3)
    client.close()
    site.reactor.network.settle()
    assert shared(proxy) == (2, 2, 2)
    assert reload(site, proxy, dest='{ acme = "tcp:1587" }') == []
    assert shared(proxy) == (1, 1, 1)


# What cannot be


@pytest.fixture
def refuse_everywhere(site, monkeypatch):
    """Nobody can listen on all addresses."""
    listen_tcp = site.reactor.listenTCP

    def refuse(port, factory, backlog=50, interface=""):
        if interface == "0.0.0.0":
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        return listen_tcp(port, factory, backlog, interface)

    monkeypatch.setattr(site.reactor, "listenTCP", refuse)


def assert_as_before(site, proxy, before, held):
    assert (factories(proxy), shared(proxy)) == (before, held)
    assert greeting(site)[1].startswith(b"220 ")
    assert proxy.ready


def test_files_that_cannot_be_used_change_nothing(site, proxy, tmp_path):
    before, held, config = factories(proxy), shared(proxy), proxy.config
    (tmp_path / "ca.pem").write_text("no certificate")
    top = 'server_name = "new.test"\ntrust.ca_files = ["ca.pem", "none.pem"]'
    problems = reload(site, proxy, top, dest=BOTH, more='{ acme = "tcp:1590" }')
    path = config.path
    assert [problem.partition("ca_files")[0] for problem in problems] == [f"{path}: trust."] * 2
    assert proxy.config is config
    assert site.reactor.ports.keys() == {1587, 1588}
    assert_as_before(site, proxy, before, held)


def test_another_number_of_workers_changes_nothing(site, proxy):
    (problem,) = reload(site, proxy, 'workers = 2\nserver_name = "new.test"', dest=BOTH)
    assert problem.endswith("workers: 1 are running, and a change needs a restart")
    assert not greeting(site)[1].startswith(b"220 new.test")


def test_the_two_halves_of_a_change_can_be_taken_one_by_one(site, proxy):
    config = site.write('server_name = "new.test"', dest='{ acme = "tcp:1587", globex = "tcp:1589" }')
    prepared = Followed(Deferred.fromCoroutine(proxy.prepare(config)))
    assert prepared.result == []
    assert site.reactor.ports.keys() == {1587, 1588, 1589}
    assert not greeting(site)[1].startswith(b"220 new.test")
    Deferred.fromCoroutine(proxy.undo())
    site.reactor.network.settle()
    assert site.reactor.ports.keys() == {1587, 1588}
    Deferred.fromCoroutine(proxy.undo())
    assert Followed(Deferred.fromCoroutine(proxy.prepare(config))).result == []
    proxy.commit()
    site.reactor.network.settle()
    assert site.reactor.ports.keys() == {1587, 1589}
    assert greeting(site)[1].startswith(b"220 new.test")


def test_a_port_that_is_taken_changes_nothing(site, proxy):
    before, held = factories(proxy), shared(proxy)
    site.reactor.blocked = {1591}
    more = '{ acme = "tcp:1590", globex = "tcp:1591" }'
    (problem,) = reload(site, proxy, 'server_name = "new.test"', dest='{ acme = "tcp:1587" }', more=more)
    assert problem.startswith("globex/more: cannot listen on tcp:1591:interface=127.0.0.1")
    assert site.reactor.ports.keys() == {1587, 1588}
    assert_as_before(site, proxy, before, held)


def test_who_came_to_a_new_port_before_another_failed_is_not_forgotten(site, proxy, refuse_everywhere, monkeypatch):
    """In between there is a turn of the reactor, in which a port in the way closes."""
    before, held, forget, clients = factories(proxy), shared(proxy), site.reactor.forget, []

    def visit_and_forget(port):
        forget(port)
        if not clients:
            clients.append(site.reactor.network.plug(site.reactor.ports[1590].factory.buildProtocol(None)))

    monkeypatch.setattr(site.reactor, "forget", visit_and_forget)
    listen = BOTH.replace('"tcp:1588"', '"tcp:1588:interface=0.0.0.0"')
    (problem,) = reload(site, proxy, dest=listen, more='{ acme = "tcp:1590" }')
    assert problem.startswith("globex/dest: cannot listen on tcp:1588:interface=0.0.0.0")
    assert clients[0].over
    assert site.reactor.ports.keys() == {1587, 1588}
    assert_as_before(site, proxy, before, held)


def test_a_port_that_a_listener_has_in_its_way_is_bound_behind_its_end(site, proxy):
    client, _ = greeting(site)
    assert reload(site, proxy, dest=BOTH.replace('"tcp:1587"', '"tcp:1587:interface=0.0.0.0"')) == []
    assert site.reactor.ports[1587].getHost().host == "0.0.0.0"
    assert site.reactor.ask(client) == SHUTDOWN
    assert greeting(site)[1].startswith(b"220 ")


@pytest.mark.usefixtures("refuse_everywhere")
def test_if_it_cannot_be_bound_all_the_same_the_old_one_listens_again(site, proxy):
    before, held = factories(proxy), shared(proxy)
    client, _ = greeting(site)
    (problem,) = reload(site, proxy, dest=BOTH.replace('"tcp:1587"', '"tcp:1587:interface=0.0.0.0"'))
    assert "Address already in use" in problem
    assert site.reactor.ports[1587].getHost().host == "127.0.0.1"
    assert answers(site, client)
    assert_as_before(site, proxy, before, held)


def test_a_port_that_is_lost_so_is_told(site, proxy, monkeypatch, logged_failures):
    def never(*_, **__):
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(site.reactor, "listenTCP", never)
    reload(site, proxy, dest=BOTH.replace('"tcp:1587"', '"tcp:1587:interface=0.0.0.0"'))
    (event,) = logged_failures
    assert event["problem"].startswith("acme/dest: cannot listen on tcp:1587:interface=127.0.0.1")
    logged_failures.clear()


def test_a_mistake_of_ours_changes_nothing_either(site, proxy, monkeypatch):
    before, held = factories(proxy), shared(proxy)

    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("mailproxy.assembly.POP3ServerFactory", fail)
    monkeypatch.setattr("mailproxy.assembly.Surroundings", fail)
    answer = Followed(proxy.reload(site.write("smtp.max_recipients = 7", dest=BOTH)))
    assert answer.result.check(ZeroDivisionError)
    monkeypatch.undo()
    assert_as_before(site, proxy, before, held)
    assert reload(site, proxy, "smtp.max_recipients = 7", dest=BOTH) == []


def test_one_reload_comes_after_the_other(site, proxy):
    first = Followed(proxy.reload(site.write(dest=BOTH.replace('"tcp:1587"', '"tcp:1587:interface=0.0.0.0"'))))
    second = Followed(proxy.reload(site.write(dest=BOTH)))
    assert (first.called, second.called) == (False, False)
    site.reactor.network.settle()
    assert (first.result, second.result) == ([], [])
    assert site.reactor.ports[1587].getHost().host == "127.0.0.1"


def test_a_stop_comes_after_a_reload_and_no_reload_after_a_stop(site):
    proxy = site.start(dest=BOTH)
    first = Followed(proxy.reload(site.write(dest=BOTH.replace('"tcp:1587"', '"tcp:1587:interface=0.0.0.0"'))))
    over = Followed(proxy.stopService())
    second = Followed(proxy.reload(site.write(dest=BOTH)))
    site.reactor.network.settle()
    assert first.result == []
    assert over.called
    assert second.result == ["mailproxy is being stopped"]
    assert not site.reactor.ports


# Behind a balancer

BEHIND = BOTH + '\nproxy_protocol = "v1"\nproxy_protocol_from = ["192.0.2.7"]'


def test_whoever_comes_later_needs_a_header_and_whoever_is_there_does_not(site, proxy):
    before, _ = greeting(site)
    assert reload(site, proxy, dest=BEHIND) == []
    assert answers(site, before)
    after, words = greeting(site)
    assert words == b""
    assert site.reactor.ask(after, b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 587\r\n").startswith(b"220 ")
    assert answers(site, after)
    assert reload(site, proxy, dest=BOTH) == []
    assert greeting(site)[1].startswith(b"220 ")
    assert answers(site, after)


def test_a_connection_that_owes_its_header_has_come_under_the_configuration_before(site, proxy):
    assert reload(site, proxy, dest=BEHIND) == []
    waiting, _ = greeting(site)
    assert reload(site, proxy, dest=BOTH) == []
    assert site.reactor.ask(waiting, b"PROXY UNKNOWN\r\n").startswith(b"220 ")
    assert answers(site, waiting)


def test_a_stop_is_told_to_whoever_has_its_header_coming(site):
    proxy = site.start(dest=BEHIND)
    waiting, _ = greeting(site)
    stopped = Followed(proxy.stopService())
    site.reactor.network.settle()
    assert not stopped.called
    assert site.reactor.ask(waiting, b"PROXY UNKNOWN\r\n") == SHUTDOWN
    site.reactor.network.advance(60)
    assert stopped.called
