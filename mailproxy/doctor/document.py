"""
A report for machines: one JSON document.
"""

from __future__ import annotations

import json
from typing import Any

from mailproxy.doctor.examination import Check
from mailproxy.doctor.run import Report
from mailproxy.doctor.steps import Step, Trouble

FORMAT = 1
"""Rises when a field goes away or means something else; a new field does not make it rise."""


def document(report: Report) -> str:
    """The report as JSON; its fields stand in docs/reference/check.md."""
    return json.dumps(
        {
            "format": FORMAT,
            "ok": report.ok,
            "began": report.began.isoformat(timespec="seconds"),
            "seconds": round(report.seconds, 3),
            "checks": [_check(check) for check in report.checks],
        },
        indent=2,
    )


def _check(check: Check) -> dict[str, Any]:
    return {
        "destination": check.subject.destination,
        "tenant": check.subject.tenant,
        "protocol": check.subject.protocol.value,
        "ok": not check.failed,
        "seconds": round(check.seconds, 3),
        "steps": [_step(step) for step in check.steps],
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "step": step.name,
        "status": step.status,
        "seconds": round(step.seconds, 3),
        "facts": dict(step.facts),
        "notes": list(step.notes),
        "why": step.why,
        "trouble": None if step.trouble is None else _trouble(step.trouble),
    }


def _trouble(trouble: Trouble) -> dict[str, Any]:
    return {
        "error": trouble.error,
        "outcome": trouble.outcome,
        "temporary": trouble.temporary,
        "answer": trouble.answer,
        "provider": trouble.provider,
        "side": trouble.side,
        "cause": trouble.cause,
        "remedy": list(trouble.remedy),
    }
