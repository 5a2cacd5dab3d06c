"""Metrics: every sample is what was counted, in both formats; the page, the dashboard and the alerts know them all."""

import json
import re

import attrs
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain
from twisted.internet.task import Clock

from mailproxy.downstream.rooms import Limit
from mailproxy.observe import families
from mailproxy.observe.counters import Counters
from mailproxy.observe.exposition import OPENMETRICS, PLAIN
from mailproxy.observe.histogram import SECONDS, Histogram
from mailproxy.observe.metrics import exposing, exposition
from mailproxy.observe.observation import (
    CacheFigures,
    CrewFigures,
    HoldOffFigures,
    LedgerFigures,
    Observation,
    PoolFigures,
    SourceFigures,
    State,
)
from mailproxy.observe.process import LAG_SECONDS, LagMeter, ProcessFigures, versions
from mailproxy.observe.stats import STATISTICS
from tests.support.pages import ROOT, page, span, spans, unique

PAGE = page("reference/metrics.md")
DASHBOARD = ROOT / "etc/grafana-dashboard.json"
ALERTS = ROOT / "etc/prometheus-alerts.yml"
NAMES = {f"{each.name}_total" if each.kind == "counter" else each.name for each in families.FAMILIES}
WHO = {"destination": "mail", "tenant": "acme", "protocol": "smtp"}


def listener(state=None, **more):
    observation = Observation("smtp", "mail", "acme", "mail-acme", Counters(), state)
    return attrs.evolve(observation, **more)


def busy():
    """A listener that has seen something of everything."""
    one = listener(
        State(
            PoolFigures(1, 2, 3, 4, 5, 6),
            HoldOffFigures(server=True, login=False),
            SourceFigures("local", "acme", CacheFigures(7, 8, 9, 10)),
            certificate_expires_at=1_800_000_000.0,
            token_expires_at=1_700_000_000.0,
        )
    )
    counters = one.counters
    for _ in range(3):
        counters.began()
    counters.ended("quit")
    counters.turned_away["client"] += 1
    counters.seen["bad_line"] += 2
    counters.events["delivery_unknown"] += 1
    counters.replies.update(
        {
            "upstream.mail.2xx": 9,
            "upstream.content.2xx": 4,
            "upstream.content.4xx": 3,
            "upstream.content.5xx": 2,
            "proxy.content.4xx": 1,
            "proxy.content.5xx": 1,
            "upstream.rcpt.2xx": 12,
            "upstream.rcpt.5xx": 5,
            "proxy.rcpt.4xx": 6,
        }
    )
    counters.octets.from_client, counters.octets.to_client = 100, 200
    counters.octets.from_server, counters.octets.to_server = 300, 400
    for histogram in attrs.astuple(counters.durations, recurse=False):
        histogram.observe(0.2)
    one.state.source.token_seconds.observe(0.3)
    return one


def samples(*observations, accept="", **process):
    """The value of every sample, by name and labels."""
    _, body = exposition(observations, accept, ProcessFigures(**process))
    read = read_openmetrics if accept else read_plain
    found = {}
    for family in read(body.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, "every sample is there once"
            found[key] = sample.value
    return found


def value(found, name, **labels):
    return found[name, frozenset((WHO | labels).items())]


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_everything_that_was_counted_is_there(accept):
    found = samples(busy(), accept=accept)
    assert value(found, "mailproxy_sessions_started_total") == 3
    assert value(found, "mailproxy_sessions_active") == 2
    assert value(found, "mailproxy_sessions_total", outcome="quit") == 1
    assert value(found, "mailproxy_sessions_turned_away_total", limit="client") == 1
    assert value(found, "mailproxy_sessions_seen_total", what="bad_line") == 2
    assert value(found, "mailproxy_transactions_started_total") == 9
    results = ("accepted", "deferred", "rejected", "refused")
    assert [value(found, "mailproxy_transactions_total", result=each) for each in results] == [4, 3, 2, 2]
    assert [value(found, "mailproxy_recipients_total", result=each) for each in results] == [12, 0, 5, 6]
    assert value(found, "mailproxy_deliveries_unknown_total") == 1
    places = [(side, direction) for side in ("client", "server") for direction in ("in", "out")]
    octets = [value(found, "mailproxy_octets_total", side=side, direction=direction) for side, direction in places]
    assert octets == [100, 200, 300, 400]
    labels = {"author": "upstream", "stage": "rcpt", "class": "5xx"}
    assert value(found, "mailproxy_replies_total", **labels) == 5
    states = ("resting", "in_use", "opening")
    assert [value(found, "mailproxy_pool_connections", state=each) for each in states] == [1, 2, 3]
    pool = ("mailproxy_pool_waiting", "mailproxy_pool_made_total", "mailproxy_pool_reused_total")
    assert [value(found, name) for name in pool] == [4, 5, 6]
    assert [value(found, "mailproxy_hold_off", what=each) for each in ("server", "login")] == [1, 0]
    assert value(found, "mailproxy_certificate_expiry_timestamp_seconds") == 1_800_000_000
    assert value(found, "mailproxy_token_expiry_timestamp_seconds") == 1_700_000_000


@pytest.mark.parametrize("name", ["session", "upstream_ready", "transaction", "first_reply"])
def test_a_histogram_has_all_ranges_the_sum_and_the_number(name):
    found = samples(busy())
    metric = f"mailproxy_{name}_seconds"
    assert value(found, f"{metric}_count") == 1
    assert value(found, f"{metric}_sum") == pytest.approx(0.2)
    ranges = [value(found, f"{metric}_bucket", le=str(end)) for end in SECONDS]
    assert ranges == [0.0 if end < 0.2 else 1.0 for end in SECONDS]
    assert value(found, f"{metric}_bucket", le="+Inf") == 1


def test_a_source_that_listeners_share_is_there_once():
    one = busy()
    found = samples(one, attrs.evolve(one, destination="other", stat_prefix="other"))
    source = frozenset({"service": "local", "tenant": "acme"}.items())
    names = [f"mailproxy_destination_cache_{name}" for name in ("entries", "hits_total", "fetches_total")]
    assert [found[name, source] for name in names] == [7, 8, 9]
    assert found["mailproxy_destination_cache_failures_total", source] == 10
    assert found["mailproxy_token_fetch_seconds_count", source] == 1


def test_the_provider_has_no_tenant():
    one = attrs.evolve(busy(), tenant=None)
    source = attrs.evolve(one.state.source, tenant=None)
    found = samples(attrs.evolve(one, state=attrs.evolve(one.state, source=source)))
    assert value(found, "mailproxy_sessions_active", tenant="") == 2
    assert found["mailproxy_destination_cache_entries", frozenset({"service": "local", "tenant": ""}.items())] == 7


def test_a_new_listener_has_no_histogram_and_no_words():
    names = {name for name, _ in samples(listener(State()))}
    assert "mailproxy_sessions_active" in names
    assert "mailproxy_pool_connections" in names
    assert not {name for name in names if name.startswith(("mailproxy_session_seconds", "mailproxy_sessions_total"))}
    assert not {name for name in names if "expiry" in name}


def test_what_is_not_known_of_workers_is_left_out():
    names = {name for name, _ in samples(listener())}
    assert not {name for name in names if re.match("mailproxy_(pool|hold_off|destination|token|certificate)", name)}


def test_a_state_without_a_place_of_destinations_has_none():
    names = {name for name, _ in samples(listener(State(source=None)))}
    assert not {name for name in names if name.startswith("mailproxy_destination")}
    unused = SourceFigures("local", None)
    names = {name for name, _ in samples(listener(State(source=unused)))}
    assert "mailproxy_destination_cache_entries" in names
    assert "mailproxy_token_fetch_seconds_count" not in names


def test_pop3_has_no_mail_transactions():
    names = {name for name, _ in samples(listener(protocol="pop3"))}
    assert not {name for name in names if re.match("mailproxy_(transactions|recipients|deliveries)", name)}


def test_listeners_that_share_their_labels_are_told_apart():
    two = (listener(stat_prefix="mail-acme-a"), listener(stat_prefix="mail-acme-b"), listener(protocol="pop3"))
    found = samples(*two)
    for name in ("mail-acme-a", "mail-acme-b"):
        assert value(found, "mailproxy_sessions_active", destination=name) == 0
    assert value(found, "mailproxy_sessions_active", protocol="pop3") == 0


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", PLAIN),
        ("text/plain; version=0.0.4", PLAIN),
        ("*/*", PLAIN),
        ("application/openmetrics-text; version=1.0.0,text/plain;q=0.5", OPENMETRICS),
        ("text/plain;q=0.5, Application/OpenMetrics-Text;version=nonsense", OPENMETRICS),
    ],
)
def test_the_format_is_the_one_that_the_reader_takes(accept, kind):
    content_type, body = exposition([busy()], accept)
    assert content_type == kind
    assert body.endswith(b"# EOF\n") is (kind == OPENMETRICS)


def test_the_process_is_told_of():
    lag = Histogram()
    lag.observe(0.004)
    found = samples(started_at=1_234.5, lag=lag)
    assert found["mailproxy_start_time_seconds", frozenset()] == 1_234.5
    assert found["mailproxy_reactor_lag_seconds_count", frozenset()] == 1
    assert found["mailproxy_build_info", frozenset(versions().items())] == 1
    assert not [name for name, _ in found if name.startswith("tp_")]


LEDGER = LedgerFigures(1, 2, 3, 4, 5, 6, 7, 8, 9, Histogram([1] * (len(SECONDS) + 1), 7.5))


def test_the_ledger_is_told_of_where_there_is_one():
    found = {name: value for (name, labels), value in samples(ledger=LEDGER).items() if not labels}
    names = ("records_total", "records_waiting", "records_lost_total", "failing", "blocking", "sessions_waiting")
    assert [found[f"mailproxy_ledger_{name}"] for name in names] == [1, 2, 3, 7, 8, 9]
    assert found["mailproxy_ledger_sync_seconds_sum"] == 7.5
    failures = {dict(labels)["reason"]: each for (name, labels), each in samples(ledger=LEDGER).items()
                if name == "mailproxy_ledger_failures_total"}  # fmt: skip
    assert failures == {"full": 4, "slow": 5, "other": 6}
    assert not [name for name, _ in samples(ledger=LedgerFigures()) if "sync" in name], "nothing was observed"
    assert not [name for name, _ in samples() if "ledger" in name]


def test_workers_are_told_of_where_there_are_several():
    found = samples(crew=CrewFigures({"serving": 3, "absent": 1}, ended=5))
    states = {dict(labels)["state"]: each for (name, labels), each in found.items() if name == "mailproxy_workers"}
    assert states == {"serving": 3, "absent": 1}
    assert found["mailproxy_workers_ended_total", frozenset()] == 5
    assert not [name for name, _ in samples() if "workers" in name]


def test_a_reader_can_stop_behind_each_listener():
    portions = exposing([listener(stat_prefix=str(number), destination=str(number)) for number in range(10)])
    stops = 0
    while True:
        try:
            next(portions)
        except StopIteration as done:
            kind, text = done.value
            break
        stops += 1
    assert stops == 10 + 1
    assert kind == PLAIN
    assert text.count(b"mailproxy_sessions_active{") == 10


def test_saps_names_are_there_when_they_are_wanted():
    found = samples(busy(), attrs.evolve(busy(), stat_prefix="other"), sap_names=True)
    assert found["tp_open_tcp_connections", frozenset()] == 4
    assert found["tp_tcp_connections_total", frozenset()] == 6


def test_the_lag_is_how_late_a_timer_is():
    clock, lag = Clock(), Histogram()
    meter = LagMeter(clock, lag)
    meter.start()
    clock.advance(LAG_SECONDS)
    clock.advance(LAG_SECONDS + 0.25)
    assert (sum(lag.counts), lag.total) == (2, 0.25)
    meter.stop()
    meter.stop()
    assert not clock.getDelayedCalls()


# The page


def test_the_page_has_every_metric():
    documented = {
        span(row["Metric"]): (row["Type"], tuple(spans(row["Labels"])), row["What it says"])
        for row in PAGE.table("Metric", "Type")
    }
    assert documented == {
        (f"{each.name}_total" if each.kind == "counter" else each.name): (each.kind, each.labels, each.help)
        for each in families.FAMILIES
    }


def test_every_metric_can_be_there():
    names = samples(busy(), sap_names=True, ledger=LEDGER, crew=CrewFigures({"serving": 2}))
    assert {re.sub("_(bucket|count|sum)$", "", name) for name, _ in names} == NAMES


def test_the_page_has_every_label():
    named = [name for row in PAGE.table("Label", "Values") for name in spans(row["Label"])]
    assert unique(named) == {label for each in families.FAMILIES for label in each.labels}
    (limits,) = (row["Values"] for row in PAGE.table("Label", "Values") if row["Label"] == "`limit`")
    assert set(spans(limits)) == {limit.name.lower() for limit in Limit}


def test_the_page_has_everything_that_may_be_the_case():
    documented = {span(row["`what`"]): span(row["In the statistics"]) for row in PAGE.table("`what`")}
    assert documented == {what: name for names in STATISTICS.values() for what, name in names.items()}


# The dashboard and the alerts


def used_in(text):
    """The metrics that expressions name, without what a histogram has behind its name."""
    return {re.sub("_(bucket|count|sum)$", "", name) for name in re.findall(r"\b(?:mailproxy|tp)_\w+", text)}


def expressions(panels):
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", ()))
        yield from expressions(panel.get("panels", ()))


def test_the_dashboard_names_only_metrics_that_there_are_and_nearly_all_of_them():
    dashboard = json.loads(DASHBOARD.read_text())
    used = used_in("\n".join(expressions(dashboard["panels"])))
    assert used <= NAMES
    assert NAMES - used == {"tp_open_tcp_connections", "tp_tcp_connections_total"}


def test_the_panels_of_the_dashboard_have_numbers_and_places_of_their_own():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    unique(panel["id"] for panel in panels)
    unique(panel["title"] for panel in panels)
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(unique(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_labels_that_the_dashboard_and_the_alerts_use_are_those_of_their_metrics():
    labels = {
        (f"{each.name}_total" if each.kind == "counter" else each.name): {*each.labels, "le"}
        for each in families.FAMILIES
    }
    texts = [*expressions(json.loads(DASHBOARD.read_text())["panels"]), ALERTS.read_text()]
    for name, selector in re.findall(r"\b((?:mailproxy|tp)_\w+)\{([^}]*)\}", "\n".join(texts)):
        known = labels[re.sub("_(bucket|count|sum)$", "", name)]
        assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= known, name


def test_the_alerts_name_only_metrics_that_there_are():
    text = ALERTS.read_text()
    used = used_in("\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    assert used <= NAMES
    assert len(used) > 10


def test_every_alert_has_an_expression_a_severity_and_words():
    rules = ALERTS.read_text().split("- alert: ")[1:]
    names = unique(rule.split("\n")[0] for rule in rules)
    assert len(names) >= 10
    for rule in rules:
        for key in ("expr:", "severity:", "summary:", "description:"):
            assert rule.count(key) == 1, rule
