"""
What there is to be shown, as JSON.  Every field is a name that programs rely on.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mailproxy.admin.recordings import recordings
from mailproxy.admin.values import Explain, Hand, Picture, Process, Row
from mailproxy.observe.condition import Credential, Mishap, Peer, TLSFacts
from mailproxy.observe.failures import Failed

MAX_FAILURES_SHOWN = 50
"""Of all listeners, the latest ones."""

Object = dict[str, Any]


def status(picture: Picture, explain: Explain, *, addresses: bool = False) -> Object:
    """The process, its destinations, and what failed last; with the `addresses` of senders and recipients or not."""
    return {
        **_process(picture),
        "destinations": [_row(row, explain) for row in picture.rows],
        "failures": [_failure(row, failed, explain) for row, failed in _latest(picture.rows)],
        "recordings": recordings(picture.recordings, addresses=addresses),
    }


def readiness(picture: Picture) -> Object:
    """Whether clients are welcome, and else why not; also of each worker, where there are several."""
    crew = {"crew": [_hand(hand) for hand in picture.process.crew]} if picture.process.crew else {}
    return {"ready": not picture.reasons, "reasons": list(picture.reasons), **crew}


def moment(seconds: float | None) -> str | None:
    """A time as RFC 3339 has it, in UTC and whole seconds; None where there is none, or it is none that can be said."""
    if seconds is None or not 0 <= seconds < 253_402_300_800:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _process(picture: Picture) -> Object:
    process = picture.process
    return {
        "version": process.version,
        "state": _state(process),
        **readiness(picture),
        "now": moment(process.now),
        "started": moment(process.started),
        "uptime_seconds": round(max(0.0, process.now - process.started)),
        "workers": len(process.crew) or 1,
        "sessions": process.sessions,
        "max_sessions": process.max_sessions,
        "configuration": {
            "path": process.config_path,
            "since": moment(process.config_since),
            "problems": list(process.complaints),
        },
    }


def _state(process: Process) -> str:
    if process.stopping:
        return "draining"
    return "running" if process.bound else "starting"


def _hand(hand: Hand) -> Object:
    return {
        "seat": hand.seat,
        "number": hand.number,
        "pid": hand.pid,
        "state": hand.work.value,
        "since": moment(hand.since),
        "sessions": hand.sessions,
        "ready": hand.ready,
        "reasons": list(hand.reasons),
    }


def _row(row: Row, explain: Explain) -> Object:
    report = row.report
    return {
        "label": row.label,
        "destination": row.destination,
        "tenant": row.tenant,
        "service": row.service,
        "protocol": row.protocol,
        "endpoint": row.endpoint,
        "listening": row.listening,
        "state": row.verdict.state.value,
        "reason": row.verdict.reason,
        "sessions": row.active,
        "sessions_total": row.total,
        "last_success": moment(report.last_success),
        "last_error": None if report.last_failure is None else _mishap(report.last_failure, explain),
        "upstream": None if report.peer is None else _peer(report.peer),
        "credential": None if report.credential is None else _credential(report.credential),
        "held_off_until": moment(report.held_until),
    }


def _mishap(mishap: Mishap, explain: Explain) -> Object:
    return {"time": moment(mishap.when), **_explained(mishap.outcome, mishap.text, explain)}


def _peer(peer: Peer) -> Object:
    return {
        "host": peer.host,
        "port": peer.port,
        "address": peer.address,
        "tls": None if peer.tls is None else _tls(peer.tls),
    }


def _tls(tls: TLSFacts) -> Object:
    return {
        "version": tls.version,
        "cipher": tls.cipher,
        "certificate_expires": moment(tls.certificate_expires),
    }


def _credential(credential: Credential) -> Object:
    return {"kind": credential.kind, "expires": moment(credential.expires)}


def _latest(rows: tuple[Row, ...]) -> list[tuple[Row, Failed]]:
    """The latest failures of all, the last one first."""
    every: Iterator[tuple[Row, Failed]] = ((row, failed) for row in rows for failed in row.report.failures)
    return sorted(every, key=lambda each: each[1].last, reverse=True)[:MAX_FAILURES_SHOWN]


def _failure(row: Row, failed: Failed, explain: Explain) -> Object:
    return {
        "label": row.label,
        "first": moment(failed.first),
        "last": moment(failed.last),
        "count": failed.count,
        "session": failed.session,
        **_explained(failed.outcome, failed.text, explain),
    }


def _explained(outcome: str, text: str, explain: Explain) -> Object:
    advice = explain(outcome, text)
    return {
        "outcome": outcome,
        "text": text,
        "side": advice.side if advice is not None else None,
        "cause": advice.cause if advice is not None else None,
        "remedy": advice.remedy if advice is not None else None,
    }
