"""
The chaos monkey: what goes wrong, when, and for how long.  The seed decides; only the machine's speed differs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager

from attrs import define, field

from tests.chaos.configuration import Configuration
from tests.chaos.network import Direction
from tests.chaos.proxy import Supervisor
from tests.chaos.records import Record
from tests.chaos.site import Server, Site
from tests.chaos.waiting import comes_true
from tests.support.waiting import listens

_APPLIED_SECONDS = 10.0
_WORKERS = {"/postfix/": ("smtpd",), "dovecot": ("pop3", "pop3-login", "auth")}


@define
class Monkey:
    """
    Plays through a bag of faults in random order again and again, so that a short run has some of each.

    At most one fault at a time is done to one thing; others go on meanwhile.
    """

    chance: random.Random
    sites: list[Site]
    proxy: Supervisor
    configuration: Configuration
    record: Record
    say: Callable[[str], None]
    gap_seconds: float
    longest_seconds: float
    _at_work: set[asyncio.Task[None]] = field(factory=set)
    _wires: dict[int, asyncio.Lock] = field(factory=dict)

    async def run(self) -> None:
        """Faults, until cancelled."""
        while True:
            bag = self._bag()
            self.chance.shuffle(bag)
            for fault in bag:
                await asyncio.sleep(self.chance.expovariate(1 / self.gap_seconds))
                task = asyncio.create_task(fault())
                self._at_work.add(task)
                task.add_done_callback(self._over)

    async def heal(self) -> None:
        """No fault is under way any more, and none is left."""
        if self._at_work:
            await asyncio.wait(self._at_work)
        for site in self.sites:
            await site.wire.heal()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.record.incidents.append(f"the chaos itself failed: {task.exception()!r}")

    def _bag(self) -> list[Callable[[], Coroutine[None, None, None]]]:
        return [
            *(3 * [self._restart_proxy]),
            self._kill_proxy,
            *(3 * [self._reload]),
            self._reload_in_vain,
            *(2 * [self._kill_server]),
            *(2 * [self._kill_worker]),
            *(2 * [self._stop_server]),
            *(2 * [self._silence]),
            self._refuse,
            self._reset,
        ]

    def _duration(self) -> float:
        return self.chance.uniform(min(1.0, self.longest_seconds), self.longest_seconds)

    def _site(self) -> Site:
        return self.chance.choice(self.sites)

    def _server(self) -> Server:
        return self.chance.choice(self._site().servers)

    def _count(self, what: str, more: str = "") -> None:
        self.record.figures[what] += 1
        self.say(f"{what} {more}".rstrip())

    # Mail servers

    async def _kill_server(self) -> None:
        server, pause = self._server(), self.chance.uniform(0, self.longest_seconds / 4)
        async with server.busy:
            self._count("kills of a mail server", f"({_name(server)}, away for {pause:.1f} s)")
            await server.kill()
            await asyncio.sleep(pause)
            await server.start()

    async def _kill_worker(self) -> None:
        server = self._server()
        async with server.busy:
            if server.kill_one(_WORKERS[server.name], self.chance.choice):
                self._count("kills of one process of a mail server", f"({_name(server)})")

    async def _stop_server(self) -> None:
        server, pause = self._server(), self._duration()
        async with server.busy:
            self._count("stops of a mail server", f"({_name(server)}, for {pause:.1f} s)")
            server.stop()
            await asyncio.sleep(pause)
            server.resume()

    # The network

    async def _silence(self) -> None:
        site, direction, pause = self._site(), self.chance.choice(list(Direction)), self._duration()
        async with self._wire(site):
            self._count("cuts", f"(silence {direction.value} {site.place.number}, {pause:.1f} s)")
            await site.wire.silence(direction)
            await asyncio.sleep(pause)
            await site.wire.heal()

    async def _refuse(self) -> None:
        site, pause = self._site(), self._duration()
        async with self._wire(site):
            self._count("cuts", f"(resets and refusals at site {site.place.number}, {pause:.1f} s)")
            await site.wire.refuse()
            await site.wire.reset()
            await asyncio.sleep(pause)
            await site.wire.heal()

    async def _reset(self) -> None:
        site = self._site()
        async with self._wire(site):
            self._count("resets of all connections", f"(site {site.place.number})")
            await site.wire.reset()

    @asynccontextmanager
    async def _wire(self, site: Site):
        async with self._wires.setdefault(site.place.number, asyncio.Lock()):
            yield

    # The proxy

    async def _restart_proxy(self) -> None:
        async with self.proxy.busy:
            await self.proxy.up()
            self._count("restarts of the proxy (SIGTERM)")
            await self.proxy.terminate()
            await self.proxy.up()

    async def _kill_proxy(self) -> None:
        async with self.proxy.busy:
            await self.proxy.up()
            self._count("kills of the proxy (SIGKILL)")
            self.proxy.kill()
            await self.proxy.incarnations[-1].ended.wait()
            await self.proxy.up()

    async def _reload(self) -> None:
        async with self.proxy.busy:
            await self.proxy.up()
            before = self.configuration.variant
            self.configuration.write(before.changed(self.chance))
            self._count("reloads", f"({self.configuration.variant})")
            self.proxy.reload()
            await self._extra_listens(wanted=self.configuration.variant.extra)

    async def _reload_in_vain(self) -> None:
        """A configuration with a mistake changes nothing."""
        async with self.proxy.busy:
            incarnation = await self.proxy.up()
            before, place = self.configuration.variant, len(incarnation.text)
            self.configuration.write(before.spoilt())
            self._count("reloads with a mistake")
            self.proxy.reload()
            await self._expect(lambda: "no_such_key" in incarnation.text[place:], "a mistake is not told")
            self.configuration.write(before)

    async def _extra_listens(self, *, wanted: bool) -> None:
        port = self.configuration.extra_port
        words = "opened" if wanted else "closed"
        await self._expect(lambda: listens(port) == wanted, f"a reload has not {words} a listener")

    async def _expect(self, look: Callable[[], bool], otherwise: str) -> None:
        if not await comes_true(look, _APPLIED_SECONDS):
            self.record.incidents.append(f"{otherwise} within {_APPLIED_SECONDS} s")


def _name(server: Server) -> str:
    return f"{server.name.strip('/')} of site {server.wire.place.number}"
