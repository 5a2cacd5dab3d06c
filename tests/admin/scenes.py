"""
Pictures of proxies: healthy, degraded, empty, and one with 200 destinations.  Nothing in them is by chance.
"""

from __future__ import annotations

from attrs import evolve

from mailproxy.admin.desk import Pages
from mailproxy.admin.history import MAX_SAMPLES, SAMPLE_SECONDS
from mailproxy.admin.status import moment
from mailproxy.admin.values import Advice, Hand, Picture, Process, Report, Row, Work
from mailproxy.doctor.outcomes import MEANINGS
from mailproxy.flight.recording import recording_of
from mailproxy.observe.condition import Condition, Credential, Mishap, Peer, TLSFacts, judge
from mailproxy.observe.failures import Failed
from mailproxy.session.recording import Event
from tests.flight.stories import Recorded, smtp_in_transaction

NOW = 1_795_000_000.0
DAY = 86_400.0

PROCESS = Process(
    version="0.1.0",
    started=NOW - 3 * DAY - 4000,
    now=NOW,
    bound=True,
    stopping=False,
    sessions=9,
    max_sessions=2000,
    config_path="/etc/mailproxy/mailproxy.toml",
    config_since=NOW - 7200,
)


def explain(outcome, _sentence):
    """What all failures with an outcome have in common."""
    found = MEANINGS.get(outcome)
    return None if found is None else Advice(found.side, found.cause, " ".join(found.remedy))


REFUSED = Mishap(
    NOW - 95,
    "upstream_refused_login",
    "the mail server refused the login of orders@globex.example: 535 5.7.3 Authentication unsuccessful",
)
UNREACHABLE = Mishap(NOW - 12, "upstream_unreachable", "no connection to mail.initech.example:587: connection refused")


def row(
    destination,
    tenant,
    protocol="smtp",
    *,
    port,
    host="mail.example.com",
    success=None,
    failure=None,
    held=None,
    kind="password",
    expires=None,
    certificate=60 * DAY,
    active=0,
    total=0,
    failures=(),
    listening=True,
):
    """A row as the proxy would make it out of what it has seen."""
    condition = Condition(lambda: held, success, failure)
    used = success is not None or failure is not None
    if used:
        tls = TLSFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", NOW + certificate)
        upstream_port = 995 if protocol == "pop3" else 587
        condition.peer = Peer(host, upstream_port, "192.0.2.25" if success else None, tls if success else None)
        condition.credential = Credential(kind, expires)
    report = Report(success, failure, condition.peer, condition.credential, condition.held(NOW), tuple(failures))
    return Row(
        label=f"{tenant}/{destination}" if tenant else destination,
        destination=destination,
        tenant=tenant,
        service="default",
        protocol=protocol,
        endpoint=f"tcp:{port}:interface=127.0.0.1",
        listening=listening,
        active=active,
        total=total,
        verdict=judge(condition, report.last_mishap, NOW),
        report=report,
    )


def failed(mishap, count=1, session="0000af", first=None):
    text = f"no session at the mail server: {mishap.text}"
    return Failed(first or mishap.when, mishap.when, count, session, mishap.outcome, text)


def silence():
    """A session whose mail server does not answer DATA."""
    return smtp_in_transaction().client(b"DATA\r\n").tell(Event.EXPIRED)


def healthy():
    rows = (
        row("invoices", "acme", port=1587, success=NOW - 2, active=4, total=18_212, host="smtp.office365.com",
            kind="token", expires=NOW + 2900),
        row("invoices", "globex", port=1588, success=NOW - 31, active=1, total=2_104),
        row("newsletter", "acme", port=1589, success=NOW - 4, active=3, total=90_551, host="smtp.gmail.com"),
        row("inbox", "acme", "pop3", port=1110, success=NOW - 55, total=4_310, active=1),
        row("inbox", "globex", "pop3", port=1111, success=NOW - 58, total=4_309),
        row("archive", None, port=1590),
    )  # fmt: skip
    return Picture(PROCESS, rows)


def degraded():
    """One tenant's login is refused, a server is gone, a certificate ends soon, a configuration is not loaded."""
    trouble = Mishap(NOW - 240, "upstream_timeout", "no reply to DATA within 120 s")
    rows = (
        *healthy().rows[:1],
        row("invoices", "globex", port=1588, success=NOW - 5000, failure=REFUSED, held=NOW + 205, total=2_104,
            failures=[failed(REFUSED, 14, first=NOW - 1900)]),
        row("newsletter", "acme", port=1589, success=NOW - 4, active=3, total=90_551, host="smtp.gmail.com",
            failures=[Failed(NOW - 900, NOW - 240, 3, "000c11", trouble.outcome, f"upstream_reply: {trouble.text}")]),
        row("inbox", "acme", "pop3", port=1110, success=NOW - 55, total=4_310, active=1, certificate=3 * DAY),
        row("orders", "initech", port=1592, failure=UNREACHABLE, held=NOW + 18, host="mail.initech.example", total=460,
            failures=[failed(UNREACHABLE, 230, "000d02", NOW - 3000)]),
        row("archive", None, port=1590),
    )  # fmt: skip
    problem = (
        "/etc/mailproxy/mailproxy.toml: destinations[2].listen.acme: listens where destinations[0].listen.acme does"
    )
    flight = silence().flight(session="000c11", ended=NOW - 240, trouble=f"upstream_reply: {trouble.text}")
    recordings = (recording_of(flight, "acme/newsletter"),)
    return Picture(evolve(PROCESS, sessions=8, complaints=(problem,)), rows, recordings)


def empty():
    """Just started: nobody has come yet."""
    process = evolve(PROCESS, started=NOW - 4, config_since=NOW - 4, sessions=0, max_sessions=0)
    return Picture(process, (row("invoices", "acme", port=1587), row("invoices", "globex", port=1588)))


def draining():
    return Picture(evolve(PROCESS, stopping=True), healthy().rows)


def crew():
    """Several processes: one serves, one hangs, one is gone, and one begins."""
    hands = (
        Hand(1, Work.SERVING, 1, 4711, NOW - 3 * DAY, 4),
        Hand(2, Work.SILENT, 5, 4712, NOW - 900, 3, ("has not answered within 0.5 s",)),
        Hand(3, Work.ABSENT, reasons=("not running",)),
        Hand(4, Work.STARTING, 7, 4714, reasons=("starting",)),
    )
    return Picture(evolve(PROCESS, crew=hands), healthy().rows)


def crowd():
    """200 destinations, of which a few have trouble."""
    rows = []
    for number in range(200):
        failure = REFUSED if number % 67 == 5 else UNREACHABLE if number % 50 == 3 else None
        rows.append(
            row(
                f"dest-{number // 20:02d}",
                f"tenant-{number % 20:02d}",
                port=10_000 + number,
                success=None if number % 9 == 4 else NOW - 100 - number,
                failure=failure,
                total=number * 13,
                active=number % 3 if failure is None else 0,
                failures=[failed(failure, number)] if failure else (),
            )
        )
    return Picture(evolve(PROCESS, sessions=190), tuple(rows))


def hostile():
    """A mail server whose words want to be a page of their own."""
    words = "550 <script>window.stolen = 1</script><img src=x onerror='window.stolen = 1'><b>bold</b>"
    said = Mishap(NOW - 5, "upstream_refused_session", words)
    told = Recorded.smtp().start().client(b"EHLO <script>window.stolen=1</script>\r\n")
    flight = told.tell(Event.CLIENT_LOST).flight(ended=NOW, trouble=words)
    rows = (row("invoices", "acme", port=1587, failure=said, failures=[failed(said)]),)
    return Picture(PROCESS, rows, (recording_of(flight, "acme/invoices"),))


SCENES = {
    "healthy": healthy,
    "degraded": degraded,
    "empty": empty,
    "draining": draining,
    "crew": crew,
    "crowd": crowd,
    "hostile": hostile,
}


def pages(look, stats=lambda: "", metrics=lambda accept: ("text/plain", b"")):
    """Where a desk gets its answers: out of the picture that one has who looks."""

    async def picture():
        return look()

    async def said():
        return stats()

    async def measured(accept):
        return metrics(accept)

    async def hour():
        return history(look())

    return Pages(picture, picture, hour, said, measured, explain)


def history(picture):
    """An hour of figures for the rows of a picture."""
    listeners = {}
    for number, each in enumerate(picture.rows):
        steps = MAX_SAMPLES if each.total or each.report.failures else 0
        busy = min(40, each.total // 400)
        sessions = [max(0, busy + (7 * step * (number + 3)) % 11 - 5 + step // 15) if each.total else 0
                    for step in range(steps)]  # fmt: skip
        troubled = {105, 106, 110, 117, 118, 119} if each.report.failures else set()
        listeners[each.label] = {
            "sessions": sessions,
            "failures": [2 if step in troubled else 0 for step in range(steps)],
            "active": [each.active] * steps,
        }
    return {"step_seconds": round(SAMPLE_SECONDS), "until": moment(NOW), "listeners": listeners}
