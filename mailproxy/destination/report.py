"""
What an operator hears about destinations: each thing once, until it changes.
"""

from __future__ import annotations

from twisted.logger import Logger

from mailproxy.destination.model import Destination
from mailproxy.destination.source import Tenant
from mailproxy.errors import DestinationError

_log = Logger(namespace="mailproxy.destination")


class Reporter:
    """Tells about the destinations of one tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant.name
        self._failing: dict[str, str] = {}
        self._described: dict[str, Destination] = {}

    def fetched(self, destination: str, error: DestinationError | None) -> None:
        """What a fetch for this destination ended with; told when that changes."""
        before = self._failing.pop(destination, None)
        reason = None if error is None else str(error)
        if error is not None and reason is not None:
            # One service that is down fails many destinations with the same words.
            known = reason == before or reason in self._failing.values()
            self._failing[destination] = reason
            if not known:
                _log.warn(
                    "destination {destination}, tenant {tenant}: {reason}",
                    destination=destination,
                    tenant=self._tenant,
                    reason=reason,
                    outcome=error.outcome,
                )
        elif before is not None and before not in self._failing.values():
            _log.info(
                "destination {destination}, tenant {tenant}: works again", destination=destination, tenant=self._tenant
            )

    def described(self, destination: Destination) -> None:
        """What has no effect in a destination, and what is risky; told when the destination has changed."""
        if self._described.get(destination.name) == destination:
            return
        self._described[destination.name] = destination
        for warning in destination.warnings:
            _log.warn(
                "destination {destination}, tenant {tenant}: {warning}",
                destination=destination.name,
                tenant=self._tenant,
                warning=warning,
            )
        if destination.ignored:
            _log.info(
                "destination {destination}, tenant {tenant}: these properties have no effect: {ignored}",
                destination=destination.name,
                tenant=self._tenant,
                ignored=", ".join(destination.ignored),
            )
