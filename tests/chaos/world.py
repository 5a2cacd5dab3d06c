"""
The chaos from beginning to end; it runs in namespaces of its own (see `tests.chaos.inside`).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sys
import time
from pathlib import Path

from attrs import define, field, frozen

from tests.chaos import figures, judge, logs
from tests.chaos.collectors import Collector
from tests.chaos.conversation import PATIENCE_SECONDS
from tests.chaos.letters import Stationery
from tests.chaos.monkey import Monkey
from tests.chaos.plan import TENANTS
from tests.chaos.proxy import Supervisor
from tests.chaos.records import Record
from tests.chaos.senders import Sender
from tests.chaos.stage import Stage
from tests.chaos.waiting import comes_true
from tests.support.cloud import SERVICE_SECRET, MailClient

_BUSY_SECONDS = PATIENCE_SECONDS + 30.0
_EMPTY_SECONDS = 60.0
_LONGEST_FAULT_SECONDS, _LONGEST_SHARE = 20.0, 1 / 6
"""A fault lasts so long at most, and no longer than this share of the chaos."""


@frozen
class Options:
    """How much chaos."""

    folder: Path
    seed: int
    seconds: float
    senders: int
    gap_seconds: float
    verbose: bool = False


@define
class World:
    """All that takes part."""

    options: Options
    record: Record = field(factory=Record)
    stopping: asyncio.Event = field(factory=asyncio.Event)
    began: float = field(factory=time.monotonic)

    async def run(self) -> int:
        """The exit status: 0 when nothing was lost, doubled, altered or left unsaid."""
        stage = await Stage.build(self.options.folder, self.record)
        self._say("everything is up")
        clients = self._clients(stage)
        monkey = self._monkey(stage)
        chaos = asyncio.create_task(monkey.run())
        await asyncio.sleep(self.options.seconds)
        chaos.cancel()
        self._say("the chaos is over, everything heals")
        await monkey.heal()
        await self._let_finish(clients)
        await stage.proxy.stop()
        if not await comes_true(lambda: not stage.queued(), _EMPTY_SECONDS):
            self.record.incidents.append(f"{stage.queued()} messages are still in the queues of the mail servers")
        verdict, log = self._judge(stage)
        sys.stdout.write(figures.report(verdict, self.record, log, self.options.seed))
        return 1 if verdict.violations else 0

    def _clients(self, stage: Stage) -> list[asyncio.Task[None]]:
        """They are at work."""
        stationery = Stationery(self._chance("stationery"))
        doors = itertools.islice(itertools.cycle(stage.smtp), self.options.senders)
        senders = [
            Sender(number, door, self._chance(f"sender {number}"), stationery, self.record, self.stopping)
            for number, door in enumerate(doors)
        ]
        collectors = [
            Collector(door.tenant, door.port, self._chance(f"collector {door.tenant.name}"), self.record, self.stopping)
            for door in stage.pop3
        ]
        return [asyncio.create_task(client.run()) for client in (*senders, *collectors)]

    def _monkey(self, stage: Stage) -> Monkey:
        return Monkey(
            self._chance("monkey"),
            stage.sites,
            stage.proxy,
            stage.configuration,
            self.record,
            self._say if self.options.verbose else lambda _: None,
            self.options.gap_seconds,
            min(_LONGEST_FAULT_SECONDS, self.options.seconds * _LONGEST_SHARE),
        )

    async def _let_finish(self, clients: list[asyncio.Task[None]]) -> None:
        """They have done what they were about to do, or did not in time."""
        self.stopping.set()
        done, pending = await asyncio.wait(clients, timeout=_BUSY_SECONDS)
        for client in pending:
            client.cancel()
        self.record.incidents += [f"{len(pending)} clients did not come to their end"] * bool(pending)
        self.record.incidents += [f"a client failed: {each.exception()!r}" for each in done if each.exception()]

    def _judge(self, stage: Stage) -> tuple[judge.Verdict, logs.Log]:
        clients = [MailClient.of(tenant.account) for tenant in TENANTS]
        secrets = [SERVICE_SECRET, *(tenant.account.password for tenant in TENANTS), *(each.secret for each in clients)]
        log = logs.read([(each.log.name, each.text) for each in stage.proxy.incarnations], secrets)
        logins = {tenant.name: tenant.account.user for tenant in TENANTS}
        evidence = judge.Evidence(self.record, log, stage.mailboxes(), logins, killed=_was_killed(stage.proxy))
        return judge.judge(evidence), log

    def _chance(self, purpose: str) -> random.Random:
        """Numbers by chance for one purpose: what others do does not change them."""
        return random.Random(f"{self.options.seed}/{purpose}")

    def _say(self, text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self.began:7.1f} s  {text}\n")
        sys.stdout.flush()


def _was_killed(proxy: Supervisor) -> bool:
    return any(incarnation.asked is signal.SIGKILL for incarnation in proxy.incarnations)
