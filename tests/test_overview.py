"""What the admin endpoint shows is what the proxy is at that moment."""

from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred

from mailproxy import __version__
from mailproxy.overview import Overview
from tests.flight.stories import lost_in_data
from tests.support.proxies import Followed, Site

LISTEN = '{ acme = "tcp:1587", globex = "tcp:1588" }'


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
def proxy(site):
    proxy = site.start("[limits]\nmax_sessions = 50\n", dest=LISTEN, own='"tcp:1589"')
    yield proxy
    proxy.hurry()
    proxy.stopService()
    site.reactor.advance(5.0)


def told(coroutine):
    """What it comes to at once."""
    followed = Followed(Deferred.fromCoroutine(coroutine))
    assert followed.called
    return followed.result


def picture(overview):
    return told(overview.picture())


def test_the_process(site, proxy):
    overview = Overview(proxy, site.reactor)
    site.reactor.advance(7.0)
    process = picture(overview).process
    assert (process.version, process.now - process.started) == (__version__, 7.0)
    assert (process.bound, process.stopping, process.sessions, process.max_sessions) == (True, False, 0, 50)
    assert (process.config_path, process.complaints) == (str(proxy.config.path), ())


def test_every_listener_has_a_row_in_the_order_of_the_file(site, proxy):
    rows = picture(Overview(proxy, site.reactor)).rows
    assert [(row.label, row.destination, row.tenant) for row in rows] == [
        ("acme/dest", "dest", "acme"),
        ("globex/dest", "dest", "globex"),
        ("own", "own", None),
    ]
    assert {(row.service, row.protocol, row.listening) for row in rows} == {("local", "smtp", True)}
    assert rows[0].endpoint == "tcp:1587:interface=127.0.0.1:backlog=1024"


def test_sessions_that_ended_badly_are_in_the_picture_and_in_no_glance(site, proxy):
    flight = lost_in_data().flight()
    proxy.listeners[1].factory._around = SimpleNamespace(flights=SimpleNamespace(latest=lambda: [flight]))
    overview = Overview(proxy, site.reactor)
    (recording,) = picture(overview).recordings
    assert (recording.listener, recording.session) == ("globex/dest", flight.session)
    assert told(overview.pages().glance()).recordings == ()


def test_a_condition_outlives_a_change_of_what_it_does_not_depend_on(site, proxy):
    conditions = [listener.gate.keeper.condition for listener in proxy.listeners]
    assert len({id(condition) for condition in conditions}) == 3
    proxy.reload(site.write('server_name = "new.test"\n[smtp]\nmax_errors = 5\n', dest=LISTEN, own='"tcp:1589"'))
    site.reactor.network.settle()
    assert proxy.config.smtp.max_errors == 5
    after = [listener.gate.keeper.condition for listener in proxy.listeners]
    assert [one is other for one, other in zip(conditions, after, strict=True)] == [False] * 3, "the name counts"
    again = "[smtp]\nmax_errors = 6\n"
    proxy.reload(site.write(f'server_name = "new.test"\n{again}', dest=LISTEN, own='"tcp:1589"'))
    site.reactor.network.settle()
    assert [listener.gate.keeper.condition for listener in proxy.listeners] == after


def test_the_hour_is_told_by_the_names_of_the_listeners(site, proxy):
    overview = Overview(proxy, site.reactor)
    overview.history.start()
    client = site.reactor.visit(1588)
    site.reactor.ask(client)
    site.reactor.advance(30.0)
    said = told(overview.pages().history())
    assert said["listeners"].keys() == {"acme/dest", "globex/dest", "own"}
    assert said["listeners"]["globex/dest"] == {"sessions": [1], "failures": [0], "active": [1]}
    overview.history.stop()
    client.close()


def test_counters_are_told_line_by_line(site, proxy):
    client = site.reactor.visit(1589)
    site.reactor.ask(client)
    lines = told(Overview(proxy, site.reactor).pages().stats()).splitlines()
    assert lines == sorted(lines)
    assert "smtp.own.sessions_active: 1" in lines
    assert "smtp.dest-acme.sessions: 0" in lines
    client.close()


def test_metrics_are_those_of_the_listeners_and_of_the_process(site, proxy):
    client = site.reactor.visit(1589)
    site.reactor.ask(client)
    kind, text = told(Overview(proxy, site.reactor).pages().metrics("application/openmetrics-text"))
    assert kind.startswith("application/openmetrics-text")
    assert b'mailproxy_sessions_active{destination="own",protocol="smtp",tenant=""} 1.0\n' in text
    assert b"mailproxy_reactor_lag_seconds_count" in text
    assert b"mailproxy_ledger" not in text
    assert b"mailproxy_workers" not in text
    client.close()


def test_the_ledger_is_part_of_the_metrics(site, tmp_path):
    (tmp_path / "audit").mkdir()
    proxy = site.start(f'[ledger]\npath = "{tmp_path}/audit/mail"\n', own='"tcp:1589"')
    _, text = told(Overview(proxy, site.reactor).pages().metrics(""))
    assert b"\nmailproxy_ledger_records_total 0.0\n" in text
    proxy.hurry()
    proxy.stopService()
    site.reactor.advance(5.0)
