"""
Cases of time: flows that are slow, and a mail server that is far away.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_

from attrs import frozen

from tests.bench.figures import Figures, per
from tests.bench.kinds import DIRECT, PROXY
from tests.bench.orders import Order
from tests.bench.processes import Link, under_way
from tests.bench.scales import Scale
from tests.bench.stage import Runner, Stage
from tests.bench.table import Column
from tests.support.procfs import Memory

_MEBIBYTE = 1 << 20
_SAMPLE_SECONDS = 0.1
_FLOWS = 4
_RATE = 64 << 10
_BESIDE_AT_A_TIME = 8
_SHORT_DRAIN = "[timeouts]\ndrain_seconds = 1\n"
"""What a slow flow has in the kernel when its client goes away would take the mail server many seconds more."""


@frozen
class Slow:
    """
    Four flows of 100 MiB at 64 KiB/s, and small sessions beside them.

    It is the mail server that is slow with SMTP, and the mail client with POP3.
    """

    protocol: str

    @property
    def columns(self) -> Sequence[Column]:
        """What the proxy holds on their behalf, and what the others notice."""
        return (
            Column("MiB PSS grown, flows alone", "grown", 2),
            Column("peak, small sessions too", "peak", 2),
            Column("MiB RSS grown, flows alone", "grown_resident", 2),
            Column("peak, small sessions too", "peak_resident", 2),
            Column("small sessions/s alone", "alone"),
            Column("beside them", "beside"),
            Column("beside / alone", "beside_to_alone", 2),
        )

    def measure(self, stage: Stage, scale: Scale, *, backwards: bool) -> Mapping[str, Figures]:
        """One round; alone comes first always."""
        del backwards
        with stage.proxy(self.protocol, head=_SHORT_DRAIN) as runner:
            runner.warm(self.protocol, scale.warm_sessions)
            small = runner.order(self.protocol, at_a_time=_BESIDE_AT_A_TIME, seconds=scale.seconds)
            _, alone = _watched(runner, small)
            before = runner.memory()
            with under_way(stage.claim(self._flows(runner, scale))) as generator:
                grown = _peak(runner, scale.flow_seconds) - before
                peak, beside = _watched(runner, small)
                done = generator.end()
        stage.judge(f"slow flows: {done.failure}", kept=not done.failed)
        return {
            PROXY: {
                "grown": grown.proportional / _MEBIBYTE,
                "peak": (peak - before).proportional / _MEBIBYTE,
                "grown_resident": grown.resident / _MEBIBYTE,
                "peak_resident": (peak - before).resident / _MEBIBYTE,
                "alone": alone["rate"],
                "beside": beside["rate"],
                "beside_to_alone": per(beside["rate"], alone["rate"]),
            }
        }

    def _flows(self, runner: Runner, scale: Scale) -> Order:
        flows = {"sessions": _FLOWS, "at_a_time": _FLOWS, "until_told": True}
        if self.protocol == "smtp":
            return runner.order("smtp", octets=scale.flow_octets, slow=True, **flows)
        return runner.order("pop3", message=scale.flow_message, read_rate=_RATE, **flows)


def _watched(runner: Runner, order: Order) -> tuple[Memory, Figures]:
    """The load is over; the most memory that the proxy had meanwhile."""
    peaks = [Memory()]
    measured = runner.run(order, meanwhile=lambda: peaks.append(_peak(runner, _SAMPLE_SECONDS)))
    return reduce(or_, peaks), measured.figures()


def _peak(runner: Runner, seconds: float) -> Memory:
    """The most memory at the beginnings and the end of so many moments."""
    most, end = runner.memory(), time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(_SAMPLE_SECONDS)
        most |= runner.memory()
    return most


@frozen
class Far:
    """
    A mail server so many seconds away, and back; MAIL, two RCPT and DATA come as a group.

    A round trip is counted where octets go up after some came down; the clock says the same if nothing else takes time.
    """

    seconds: float

    @property
    def columns(self) -> Sequence[Column]:
        """One session at a time."""
        return (
            Column("ms to the last 250", "taken", 1),
            Column("round trips by the clock", "trips", 2),
            Column("flights counted", "flights", 2),
            Column("connections", "connections", 2),
        )

    def measure(self, stage: Stage, scale: Scale, *, backwards: bool) -> Mapping[str, Figures]:
        """One round."""
        del backwards
        with stage.link(self.seconds, stage.sink.smtp) as link:
            direct = stage.direct("smtp", ports=(link.port,), group=True, sessions=scale.far_sessions)
            figures = {DIRECT: self._measure(stage, link, direct)}
            with stage.proxy("smtp", upstream=link.port) as runner:
                first = runner.order("smtp", group=True, sessions=1)
                figures["mailproxy, first"] = self._measure(stage, link, first)
                more = runner.order("smtp", group=True, sessions=scale.far_sessions)
                figures["mailproxy, then"] = self._measure(stage, link, more)
        return figures

    def _measure(self, stage: Stage, link: Link, order: Order) -> Figures:
        before = link.report()
        done = stage.run(order).done
        after = link.report()
        return {
            "taken": done.taken_seconds * 1000,
            "trips": done.taken_seconds / (2 * self.seconds),
            "flights": per(after["flights"] - before["flights"], done.sessions),
            "connections": per(after["connections"] - before["connections"], done.sessions),
        }
