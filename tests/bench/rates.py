"""
Cases of throughput: the same load on the sink itself, and through the proxy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from tests.bench.figures import Figures
from tests.bench.kinds import DIRECT, PROXY
from tests.bench.scales import Scale
from tests.bench.stage import Stage
from tests.bench.table import Column

_LATENCY = (Column("p50 ms", "p50", 2), Column("p95 ms", "p95", 2))
_REST = (
    Column("handshakes per session", "handshakes", 2),
    Column("generator %", "generator_busy"),
    Column("sink %", "sink_busy"),
    Column("failed", "failed"),
    Column("lost", "lost"),
)
SMALL = (
    Column("sessions/s", "rate"),
    Column("x direct", "rate", 2, to=DIRECT),
    *_LATENCY,
    Column("CPU s/1000", "cpu_per_1000", 2),
    *_REST,
)
BULK = (
    Column("MiB/s", "mib"),
    Column("x direct", "mib", 2, to=DIRECT),
    *_LATENCY,
    Column("CPU s/GB", "cpu_per_gb", 2),
    *_REST,
)


@frozen
class Rate:
    """So many sessions at a time, with one small mail each; or `bulk` ones; or several mails."""

    protocol: str
    at_a_time: int
    mails: int = 1
    bulk: bool = False
    head: str = ""

    @property
    def columns(self) -> Sequence[Column]:
        """By session, or by what goes through."""
        return BULK if self.bulk else SMALL

    def measure(self, stage: Stage, scale: Scale, *, backwards: bool) -> Mapping[str, Figures]:
        """One round."""
        parts = {DIRECT: self._direct, PROXY: self._proxy}
        names = list(parts)
        return {name: parts[name](stage, scale) for name in (reversed(names) if backwards else names)}

    def _load(self, scale: Scale) -> dict[str, Any]:
        load: dict[str, Any] = {"at_a_time": self.at_a_time, "mails": self.mails}
        if not self.bulk:
            return load | {"seconds": scale.seconds}
        return load | {"sessions": scale.transfers, "octets": scale.mail_octets, "message": scale.message}

    def _direct(self, stage: Stage, scale: Scale) -> Figures:
        return stage.run(stage.direct(self.protocol, **self._load(scale))).figures()

    def _proxy(self, stage: Stage, scale: Scale) -> Figures:
        with stage.proxy(self.protocol, head=self.head) as runner:
            runner.warm(self.protocol, scale.warm_sessions)
            return runner.run(runner.order(self.protocol, **self._load(scale))).figures()
