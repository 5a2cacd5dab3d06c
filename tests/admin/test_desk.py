"""Which answer belongs to which question."""

from __future__ import annotations

import json

import pytest
from twisted.internet.defer import Deferred

from mailproxy.admin.answers import MOST_KEEP_SECONDS, SHARE
from mailproxy.admin.desk import HEADERS, STATIC, Asked, Desk
from mailproxy.admin.guard import Guard
from tests.admin.scenes import degraded, draining, empty, healthy, pages
from tests.support.proxies import Followed

TOKEN = "a token of the operator".replace(" ", "-")
OPEN = STATIC.keys() | {"/live", "/livez", "/ready", "/readyz", "/startupz"}


class Office:
    """A desk, and what it knows."""

    def __init__(
        self, picture=None, *, token=None, metrics=lambda _: ("text/plain", b""), stats="smtp.a.sessions: 1\n"
    ):
        self.picture = picture or healthy()
        self.now = 100.0
        self.looked = 0
        self.takes = 0.0
        guard = Guard(("ops.example.com",), None if token is None else lambda: token)
        self.desk = Desk(pages(self._look, lambda: stats, metrics), guard, lambda: self.now)

    def _look(self):
        self.looked += 1
        self.now += self.takes
        return self.picture

    def ask(self, path, method="GET", **headers):
        return Followed(Deferred.fromCoroutine(self.desk.answer(Asked(method, path, headers)))).result

    def json(self, path, code=200, **headers):
        answer = self.ask(path, **headers)
        assert (answer.code, answer.kind) == (code, "application/json")
        return json.loads(answer.body)


def bearer(token=TOKEN):
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css"), ("/icon.svg", "image/svg+xml")],
)
def test_the_page_and_what_it_consists_of(path, kind):
    answer = Office(token=TOKEN).ask(path)
    assert answer.code == 200
    assert answer.kind.startswith(kind)
    assert len(answer.body) > 100


def test_that_it_answers_shows_that_it_lives():
    assert Office(draining()).json("/live") == Office().json("/livez") == {"live": True}


def test_ready_says_why_not():
    assert Office(degraded()).json("/ready") == {"ready": True, "reasons": []}
    assert Office(draining()).json("/ready", 503) == Office(draining()).json("/readyz", 503)
    assert "draining" in Office(draining()).json("/ready", 503)["reasons"][0]


def test_senders_are_shown_for_a_token_alone():
    sender = "client -> MAIL FROM:<a@example.com>"
    assert sender in Office(degraded(), token=TOKEN).json("/status", **bearer())["recordings"][0]["lines"]
    (recording,) = Office(degraded()).json("/status")["recordings"]
    assert "a@example.com" not in json.dumps(recording)
    assert "client -> MAIL FROM:<x@example.com>" in recording["lines"]


def test_strangers_hear_yes_or_no_and_who_has_the_token_why():
    office = Office(draining(), token=TOKEN)
    assert office.json("/ready", 503) == {"ready": False}
    assert office.json("/ready", 503, **bearer())["reasons"]


def test_who_was_ready_once_has_started():
    office = Office(draining())
    assert office.json("/startupz", 503) == {"started": False}
    office.picture = healthy()
    assert office.json("/startupz") == {"started": True}
    office.picture = draining()
    assert office.json("/startupz") == {"started": True}


def test_the_rest():
    office = Office()
    assert office.json("/status")["version"]
    assert office.json("/history")["step_seconds"] == 30
    assert office.json("/sap/status")["Status"] == "ok"
    assert office.json("/sap/destinationCRs")["CustomResources"]
    stats = office.ask("/stats")
    assert (stats.code, stats.kind, stats.body) == (200, "text/plain; charset=utf-8", b"smtp.a.sessions: 1\n")


def test_metrics_are_in_a_form_that_the_client_accepts():
    asked = []

    def metrics(accept):
        asked.append(accept)
        return "application/openmetrics-text", b"# EOF\n"

    answer = Office(metrics=metrics).ask("/metrics", accept="application/openmetrics-text")
    assert (answer.kind, answer.body) == ("application/openmetrics-text", b"# EOF\n")
    assert asked == ["application/openmetrics-text"]
    assert Office(metrics=metrics, token=TOKEN).ask("/metrics").code == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", ""])
def test_only_get_and_head(method):
    answer = Office().ask("/status", method)
    assert (answer.code, answer.headers) == (405, {"Allow": "GET, HEAD"})
    assert Office().ask("/status", "HEAD").code == 200


@pytest.mark.parametrize(
    "path",
    ["", "/index.html", "/status/", "//status", "/static/app.js", "/../app.js", "/%2e%2e/app.js", "/STATUS", "*",
     "status", "http://127.0.0.1/status"],
)  # fmt: skip
def test_there_is_nothing_else(path):
    assert Office().ask(path).code == 404


def test_without_the_token_there_is_nothing_to_be_seen():
    office = Office(token=TOKEN)
    for path in office.desk.paths:
        answer = office.ask(path)
        assert (answer.code != 401) == (path in OPEN), path
        if answer.code == 401:
            assert answer.headers == {"WWW-Authenticate": 'Bearer realm="mailproxy"'}
        assert office.ask(path, **bearer()).code == 200
        assert office.ask(path, **bearer(TOKEN + "x")).code == answer.code
    assert office.ask("/status", **bearer("")).code == 401


def test_a_name_that_somebody_made_lead_here_gets_nothing():
    office = Office()
    for path in office.desk.paths:
        assert office.ask(path, host="evil.example").code == 421
        assert office.ask(path, host="ops.example.com").code == 200
        assert office.ask(path, host="127.0.0.1:9494").code == 200


@pytest.mark.parametrize("takes", [0.0, 0.09])
def test_what_costs_little_time_is_always_fresh(takes):
    office = Office()
    office.takes = takes
    office.ask("/status")
    office.picture = empty()
    assert office.json("/status")["sessions"] == 0


def test_however_many_ask_a_bounded_part_of_the_time_goes_into_it():
    office = Office()
    office.takes = 0.2
    for _ in range(100):
        office.ask("/status")
    assert office.looked == 1
    office.now += min(MOST_KEEP_SECONDS, SHARE * office.takes)
    office.now += 0.01
    office.picture = empty()
    assert office.json("/status")["sessions"] == 0
    office.now -= 50
    office.ask("/status")
    assert office.looked == 3, "a clock that was set back"


def test_no_answer_is_old():
    office = Office()
    office.takes = 5.0
    office.ask("/status")
    office.now += MOST_KEEP_SECONDS - 0.01
    office.ask("/status")
    assert office.looked == 1
    office.now += 0.01
    office.ask("/status")
    assert office.looked == 2


def test_whoever_is_told_something_may_neither_keep_it_nor_frame_it():
    assert HEADERS["Cache-Control"] == "no-store"
    assert HEADERS["X-Frame-Options"] == "DENY"
    assert HEADERS["X-Content-Type-Options"] == "nosniff"
    policy = dict(each.strip().split(" ", 1) for each in HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy[kind] for kind in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
