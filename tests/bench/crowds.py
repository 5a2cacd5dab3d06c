"""
Cases of memory: sessions that only stay, and listeners that nobody uses.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence

from attrs import frozen

from tests.bench.figures import Figures, per
from tests.bench.kinds import PROXY, LeftOut
from tests.bench.orders import Order
from tests.bench.processes import under_way
from tests.bench.scales import Scale
from tests.bench.stage import Runner, Stage
from tests.bench.table import Column
from tests.support.accounts import Account
from tests.support.routes import basic

_KIBIBYTE, _MEBIBYTE = 1 << 10, 1 << 20
_SPARE_DESCRIPTORS = 500
_ONE, _MANY = "one listener", "many"
_SMALL_AT_A_TIME = 20
_BESIDE_AT_A_TIME = 8


@frozen
class Idle:
    """So many sessions in the middle of a transaction, each with a connection to the mail server."""

    sessions: int

    @property
    def columns(self) -> Sequence[Column]:
        """Memory of the proxy's processes, each page shared out among those who have it."""
        return (
            Column("sessions", "sessions"),
            Column("KiB PSS per session", "kib", 1),
            Column("KiB RSS per session", "kib_resident", 1),
            Column("come per second", "rate"),
            Column("CPU s/1000", "cpu_per_1000", 2),
        )

    def measure(self, stage: Stage, scale: Scale, *, backwards: bool) -> Mapping[str, Figures]:
        """One round; there is nothing to compare with."""
        del backwards
        count = self.sessions // scale.crowd_divisor
        _need(2 * count)
        with stage.proxy("smtp", head=_room(count)) as runner:
            runner.warm("smtp", scale.warm_sessions)
            return {PROXY: _settled(stage, runner, count)}


@frozen
class Crowd:
    """So many idle sessions, every second of them with a connection to the mail server, and small ones beside them."""

    sessions: int

    @property
    def columns(self) -> Sequence[Column]:
        """What the small ones notice."""
        return (
            Column("idle sessions", "sessions"),
            Column("KiB PSS per session", "kib", 1),
            Column("small sessions/s alone", "alone"),
            Column("beside them", "beside"),
            Column("beside / alone", "beside_to_alone", 2),
            Column("p95 ms alone", "p95_alone", 1),
            Column("beside them", "p95_beside", 1),
        )

    def measure(self, stage: Stage, scale: Scale, *, backwards: bool) -> Mapping[str, Figures]:
        """One round; alone comes first always."""
        del backwards
        count = self.sessions // scale.crowd_divisor
        _need(count + count // 2)
        with stage.proxy("smtp", head=_room(count)) as runner:
            runner.warm("smtp", scale.warm_sessions)
            small = runner.order("smtp", at_a_time=_BESIDE_AT_A_TIME, seconds=scale.seconds)
            alone = runner.run(small).figures()
            order = stage.claim(_staying(runner, count, count // 2))
            before = runner.memory()
            with under_way(order) as generator:
                generator.wait_for("settled")
                grown = runner.memory().proportional - before.proportional
                beside = runner.run(small).figures()
                done = generator.end()
        stage.judge(f"idle sessions: {done.failure}", kept=not done.failed)
        return {
            PROXY: {
                "sessions": count,
                "kib": grown / count / _KIBIBYTE,
                "alone": alone["rate"],
                "beside": beside["rate"],
                "beside_to_alone": per(beside["rate"], alone["rate"]),
                "p95_alone": alone["p95"],
                "p95_beside": beside["p95"],
            }
        }


@frozen
class Many:
    """So many listeners, shared out among tenants: what they cost before anybody comes, and whoever uses one."""

    listeners: int
    tenants: int

    @property
    def columns(self) -> Sequence[Column]:
        """Start, memory, and small sessions at one of them."""
        return (
            Column("listeners", "listeners"),
            Column("start s", "start", 2),
            Column("MiB RSS idle", "mib_resident", 1),
            Column("sessions/s", "rate"),
            Column("x one listener", "rate", 2, to=_ONE),
            Column("CPU s/1000", "cpu_per_1000", 2),
            Column("x one listener", "cpu_per_1000", 2, to=_ONE),
        )

    def measure(self, stage: Stage, scale: Scale, *, backwards: bool) -> Mapping[str, Figures]:
        """One round."""
        counts = {_ONE: 1, _MANY: self.listeners // scale.crowd_divisor}
        names = list(counts)
        return {name: self._at(stage, scale, counts[name]) for name in (reversed(names) if backwards else names)}

    def _at(self, stage: Stage, scale: Scale, count: int) -> Figures:
        _need(count)
        of_tenant = -(-count // self.tenants)
        accounts = [Account(f"tenant{number // of_tenant}", f"robot{number}", "sentinel") for number in range(count)]
        listeners = [
            (account.tenant, basic(f"bench{number}", "smtps", stage.sink.smtp, account))
            for number, account in enumerate(accounts)
        ]
        with stage.proxy_with(listeners) as runner:
            idle = runner.memory()
            runner.warm("smtp", scale.warm_sessions)
            measured = runner.run(runner.order("smtp", at_a_time=_SMALL_AT_A_TIME, seconds=scale.seconds)).figures()
            return {
                **measured,
                "listeners": count,
                "start": runner.start_seconds,
                "mib_resident": idle.resident / _MEBIBYTE,
            }


def _settled(stage: Stage, runner: Runner, count: int) -> Figures:
    """So many sessions have come and stay, all of them in a transaction."""
    order = stage.claim(_staying(runner, count, count))
    before, cpu = runner.memory(), runner.cpu_seconds()
    with under_way(order) as generator:
        words = generator.wait_for("settled")
        after, cpu = runner.memory(), runner.cpu_seconds() - cpu
        done = generator.end()
    stage.judge(f"idle sessions: {done.failure}", kept=not done.failed)
    return {
        "sessions": count,
        "kib": (after.proportional - before.proportional) / count / _KIBIBYTE,
        "kib_resident": (after.resident - before.resident) / count / _KIBIBYTE,
        "rate": per(count, words["seconds"]),
        "cpu_per_1000": per(cpu, count, 1000),
    }


def _staying(runner: Runner, count: int, in_transaction: int) -> Order:
    return runner.order("smtp", sessions=count, at_a_time=count, hold=in_transaction, until_told=True)


def _room(sessions: int) -> str:
    return f"[limits]\nmax_sessions = {sessions + _SPARE_DESCRIPTORS}\n"


def _need(descriptors: int) -> None:
    wanted, (limit, _) = descriptors + _SPARE_DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < wanted:
        raise LeftOut(f"it needs {wanted} open files in a process, and the limit is {limit}")
