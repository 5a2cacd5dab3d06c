"""The state of the proxy as JSON: what programs rely on, and nothing that is secret."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from mailproxy.admin import sap
from mailproxy.admin.status import MAX_FAILURES_SHOWN, moment, readiness, status
from mailproxy.admin.values import Advice
from mailproxy.observe.failures import Failed
from tests.admin.scenes import NOW, SCENES, crew, crowd, degraded, draining, empty, explain, healthy


def shown(picture, explain=explain):
    return json.loads(json.dumps(status(picture, explain)))


def row_of(said, label):
    (found,) = [row for row in said["destinations"] if row["label"] == label]
    return found


@pytest.mark.parametrize("scene", SCENES)
def test_every_picture_can_be_said(scene):
    said = shown(SCENES[scene]())
    assert len(said["destinations"]) == len(SCENES[scene]().rows)


def test_the_process_tells_of_itself():
    said = shown(healthy())
    assert (said["state"], said["ready"], said["reasons"]) == ("running", True, [])
    assert said["uptime_seconds"] == 3 * 86_400 + 4000
    assert said["configuration"] == {
        "path": "/etc/mailproxy/mailproxy.toml",
        "since": moment(NOW - 7200),
        "problems": [],
    }


def test_a_destination_tells_of_itself():
    row = row_of(shown(degraded()), "globex/invoices")
    assert (row["state"], row["sessions"], row["sessions_total"]) == ("failing", 0, 2104)
    assert row["last_error"]["outcome"] == "upstream_refused_login"
    assert row["last_error"]["text"].startswith("the mail server refused the login")
    assert row["held_off_until"] == moment(NOW + 205)
    assert row["upstream"]["tls"]["certificate_expires"] == moment(NOW + 60 * 86_400)
    assert row["credential"] == {"kind": "password", "expires": None}


def test_what_nobody_has_tried_is_unused_and_nothing_is_known_of_it():
    row = row_of(shown(empty()), "acme/invoices")
    assert row["state"] == "unused"
    assert [row[key] for key in ("last_success", "last_error", "upstream", "credential", "held_off_until")] == [
        None
    ] * 5


def test_the_last_failures_come_first_with_cause_and_remedy():
    failures = shown(degraded())["failures"]
    assert [each["label"] for each in failures] == ["initech/orders", "globex/invoices", "acme/newsletter"]
    assert failures[0]["count"] == 230
    assert (failures[0]["side"], bool(failures[0]["cause"]), bool(failures[0]["remedy"])) == ("mail server", True, True)


def test_a_bounded_number_of_failures_is_shown():
    many = tuple(Failed(NOW - number, NOW - number, 1, "s", "upstream_lost", f"{number}") for number in range(8))
    picture = crowd()
    said = shown(
        evolve(picture, rows=tuple(evolve(row, report=evolve(row.report, failures=many)) for row in picture.rows))
    )
    assert len(said["failures"]) == MAX_FAILURES_SHOWN
    assert {each["text"] for each in said["failures"]} == {"0"}


def test_an_error_that_nobody_can_explain_is_shown_all_the_same():
    error = row_of(shown(degraded(), lambda outcome, text: None), "globex/invoices")["last_error"]
    assert (error["side"], error["cause"], error["remedy"]) == (None, None, None)
    assert error["text"]


def test_who_knows_more_explains():
    asked = []

    def knows(outcome, text):
        asked.append((outcome, text))
        return Advice("a", "b", "c")

    error = row_of(shown(degraded(), knows), "globex/invoices")["last_error"]
    assert (error["side"], error["cause"], error["remedy"]) == ("a", "b", "c")
    assert ("upstream_refused_login", error["text"]) in asked


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00Z"), (1e9 + 0.9, "2001-09-09T01:46:40Z"), (None, None), (1e15, None), (-1.0, None)],
)
def test_a_time_is_utc_or_nothing(seconds, text):
    assert moment(seconds) == text


# Readiness


def test_clients_are_welcome_however_mail_servers_are():
    assert readiness(degraded()) == {"ready": True, "reasons": []}


def test_they_are_not_before_the_ports_are_bound_nor_once_the_end_has_begun():
    starting = evolve(healthy(), process=evolve(healthy().process, bound=False))
    assert readiness(starting)["reasons"] == ["starting: the ports are not bound yet"]
    assert readiness(draining())["reasons"] == ["draining: mailproxy is being stopped"]


def test_a_listener_that_does_not_listen_is_named():
    picture = healthy()
    closed = evolve(picture, rows=(evolve(picture.rows[0], listening=False), *picture.rows[1:]))
    assert readiness(closed) == {"ready": False, "reasons": ["acme/invoices: not listening"]}


def test_one_worker_that_is_ready_is_enough_and_each_is_told_of():
    said = readiness(crew())
    assert (said["ready"], said["reasons"]) == (True, [])
    assert [(each["seat"], each["state"], each["ready"]) for each in said["crew"]] == [
        (1, "serving", True),
        (2, "silent", False),
        (3, "absent", False),
        (4, "starting", False),
    ]
    assert shown(crew())["workers"] == 4
    assert "crew" not in readiness(healthy())


def test_where_no_worker_is_ready_nobody_is_welcome():
    picture = crew()
    hands = (evolve(picture.process.crew[0], reasons=("ledger: full",)), *picture.process.crew[1:])
    said = readiness(evolve(picture, process=evolve(picture.process, crew=hands)))
    assert said["ready"] is False
    assert said["reasons"] == [
        "worker 1: ledger: full",
        "worker 5: has not answered within 0.5 s",
        "seat 3: not running",
        "worker 7: starting",
    ]
    ending = evolve(picture, process=evolve(picture.process, stopping=True))
    assert readiness(ending)["reasons"] == ["draining: mailproxy is being stopped"]


# SAP's shapes


def test_a_worker_that_does_not_serve_is_a_warning():
    said = sap.health(crew())
    tcp = said["Components"]["sap-transp-proxy-tcp"]
    assert (said["Status"], tcp["Status"]) == ("warning", "warning")
    assert tcp["Message"].startswith("worker 5: has not answered")


def test_the_health_of_a_proxy_whose_servers_fail_is_good():
    said = sap.health(evolve(degraded(), process=healthy().process))
    assert said == {
        "Status": "ok",
        "Components": {
            "sap-transp-proxy-tcp": {"Status": "ok", "Message": "", "AffectedDeployments": []},
            "sap-transp-proxy-manager": {"Status": "ok", "Message": "", "AffectedDeployments": []},
        },
    }


def test_a_proxy_that_ends_and_a_configuration_that_is_not_loaded_are_told():
    said = sap.health(evolve(degraded(), process=evolve(degraded().process, stopping=True)))
    assert said["Status"] == "warning"
    assert {name: each["Status"] for name, each in said["Components"].items()} == {
        "sap-transp-proxy-tcp": "critical",
        "sap-transp-proxy-manager": "warning",
    }
    assert all(each["AffectedDeployments"] == ["mailproxy"] for each in said["Components"].values())


def test_each_destination_is_a_resource():
    said = sap.resources(degraded())
    assert said["Status"] == "warning"
    by_name = {each["Name"]: each for each in said["CustomResources"]}
    assert by_name["acme/invoices"] == {
        "Name": "acme/invoices",
        "DestinationRef": {"name": "invoices"},
        "CreationTimestamp": moment(NOW - 7200),
        "Available": "True",
        "Message": "Technical connectivity is configured.",
        "Reason": "ConfigurationSuccessful",
    }
    failing = by_name["globex/invoices"]
    assert (failing["Available"], failing["Reason"]) == ("False", "ConfigurationFailed")
    assert failing["Message"].startswith("Technical connectivity is not configured. the mail server refused")


def test_the_overall_status_follows_all():
    picture = degraded()
    assert sap.resources(healthy())["Status"] == "ok"
    failing = tuple(row for row in picture.rows if row.verdict.state.value == "failing")
    assert sap.resources(evolve(picture, rows=failing))["Status"] == "critical"
    assert sap.resources(evolve(picture, rows=()))["Status"] == "ok"
