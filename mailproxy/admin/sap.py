"""
The same in the shapes of SAP's Transparent Proxy, for checks that were made for it.

Its overall status is `ok` when every component is, `critical` when every one is critical, and else `warning`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mailproxy.admin.status import moment
from mailproxy.admin.values import Picture, Row
from mailproxy.observe.condition import State

_REASONS = {
    "destination_unknown": "ConfigurationError-ReferencedDestination-NotFound",
    "destination_unusable": "ConfigurationError-ReferencedDestination-NotSupported",
}
"""What its custom resources say of an outcome; of all others that the configuration failed."""

Object = dict[str, Any]


def health(picture: Picture) -> Object:
    """Whether the parts of the proxy work; what mail servers do is no part of it."""
    complaints = picture.process.complaints
    reasons = picture.reasons or picture.troubles
    components = {
        "sap-transp-proxy-tcp": _component(_tcp(picture), reasons),
        "sap-transp-proxy-manager": _component("warning" if complaints else "ok", complaints),
    }
    return {"Status": _overall(each["Status"] for each in components.values()), "Components": components}


def resources(picture: Picture) -> Object:
    """Each destination of each tenant, as a custom resource would show it."""
    rows = [_resource(row, picture.process.config_since) for row in picture.rows]
    return {"Status": _overall("critical" if _fails(row) else "ok" for row in picture.rows), "CustomResources": rows}


def _tcp(picture: Picture) -> str:
    if picture.reasons:
        return "critical"
    return "warning" if picture.troubles else "ok"


def _component(status: str, messages: tuple[str, ...]) -> Object:
    return {
        "Status": status,
        "Message": "; ".join(messages),
        "AffectedDeployments": [] if status == "ok" else ["mailproxy"],
    }


def _overall(statuses: Iterable[str]) -> str:
    every = set(statuses)
    if every <= {"ok"}:
        return "ok"
    return "critical" if every == {"critical"} else "warning"


def _resource(row: Row, since: float) -> Object:
    failure = row.report.last_failure if _fails(row) else None
    return {
        "Name": row.label,
        "DestinationRef": {"name": row.destination},
        "CreationTimestamp": moment(since),
        "Available": "True" if failure is None else "False",
        "Message": "Technical connectivity is configured." if failure is None else f"{_NOT} {failure.text}",
        "Reason": _SUCCESS if failure is None else _REASONS.get(failure.outcome, "ConfigurationFailed"),
    }


def _fails(row: Row) -> bool:
    return row.verdict.state is State.FAILING


_NOT = "Technical connectivity is not configured."
_SUCCESS = "ConfigurationSuccessful"
