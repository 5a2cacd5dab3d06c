"""
What one load came to: at the generator, at the sink, and at the proxy.
"""

from __future__ import annotations

import math
from typing import Any

from attrs import frozen

from tests.bench.figures import per
from tests.bench.orders import Done, Order
from tests.bench.server_pop3 import SIZES

_MEBIBYTE, _GIGABYTE = 1 << 20, 1e9
_RESPONSE_OCTETS = len(b"+OK\r\n" + b".\r\n")
"""Around a message."""


@frozen
class Measured:
    """A load that is over."""

    order: Order
    done: Done
    before: dict[str, Any]
    after: dict[str, Any]
    proxy_cpu_seconds: float = 0.0

    def grown(self, figure: str) -> float:
        """By how much a figure of the sink has."""
        return self.after[figure] - self.before[figure]

    @property
    def lost(self) -> int:
        """
        Mails that were acknowledged and are not in the sink; those that were collected, and were not all there.
        """
        done = self.done
        if self.order.protocol == "pop3":
            size = SIZES[self.order.message]
            return math.ceil(abs(done.mails * (size + _RESPONSE_OCTETS) - done.octets) / size)
        return len(set(self.after["missing"]) - set(done.unacknowledged))

    @property
    def wrong(self) -> list[str]:
        """What must not be, on any machine."""
        found = []
        if self.lost:
            found.append(f"{self.lost} mails were lost")
        if self.done.failed:
            found.append(f"{self.done.failed} sessions failed, the first with: {self.done.failure}")
        if doubled := self.grown("doubled") + self.grown("strange"):
            found.append(f"{doubled} mails came twice, or were none of ours")
        if self.order.protocol == "smtp" and not self.done.failed and self.grown("octets") != self.done.octets:
            found.append(f"{self.done.octets} octets were sent, {self.grown('octets')} came")
        return found

    def figures(self) -> dict[str, float]:
        """All that a table may show."""
        done = self.done
        return {
            "sessions": done.sessions,
            "failed": done.failed,
            "lost": self.lost,
            "rate": per(done.sessions, done.seconds),
            "mib": per(done.octets / _MEBIBYTE, done.seconds),
            "p50": done.p50_seconds * 1000,
            "p95": done.p95_seconds * 1000,
            "longest": done.longest_seconds * 1000,
            "handshakes": per(self.grown("handshakes"), done.sessions),
            "resumed": per(self.grown("resumed"), done.sessions),
            "cpu_per_1000": per(self.proxy_cpu_seconds, done.sessions, 1000),
            "cpu_per_gb": per(self.proxy_cpu_seconds, done.octets, _GIGABYTE),
            "generator_busy": per(done.cpu_seconds, done.seconds, 100),
            "sink_busy": per(self.grown("cpu_seconds"), done.seconds, 100),
        }
