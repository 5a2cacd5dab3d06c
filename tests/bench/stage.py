"""
What a case needs: a sink, and proxies in front of it, one after the other.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, evolve, field, frozen

from tests.bench.measured import Measured
from tests.bench.orders import Order
from tests.bench.processes import Link, Sink, under_way
from tests.support.accounts import ACME
from tests.support.bed import MAIL_HOST
from tests.support.procfs import Memory, cpu_seconds, memory
from tests.support.report import Stopwatch
from tests.support.routes import basic
from tests.support.setting import Proxy, Setting
from tests.support.tools import CHECKOUT
from tests.support.waiting import until

START_SECONDS = 60.0
KEPT_LOG = CHECKOUT / "build" / "bench" / "proxy.log"
"""The log of the last proxy with which something was wrong."""


@define
class Stage:
    """
    One sink for all cases; `next_number` is that of the next mail, so that no two have the same.

    `wrong` is what must not be, on any machine.
    """

    setting: Setting
    sink: Sink
    next_number: int = 1
    wrong: list[str] = field(factory=list)

    @classmethod
    def open(cls, setting: Setting) -> Stage:
        """The sink runs, and ends with the setting."""
        setting.write_certificates(MAIL_HOST, "sink")
        sink = Sink.start(setting.folder)
        setting.stack.callback(sink.daemon.stop)
        return cls(setting, sink)

    def direct(self, protocol: str, **order: Any) -> Order:
        """A load on the sink itself, or on another port with the sink behind it."""
        login = {"ca_file": str(self.setting.folder / "ca.pem"), "server_name": MAIL_HOST}
        login |= {"user": ACME.user, "password": ACME.password}
        return Order(protocol, **({"ports": (self.sink.port(protocol),)} | login | order))

    @contextmanager
    def proxy(self, protocol: str, *, head: str = "", upstream: int = 0) -> Iterator[Runner]:
        """A proxy of its own with one listener, ended afterwards."""
        kind = f"{protocol}s"
        listener = [(ACME.tenant, basic("bench", kind, upstream or self.sink.port(protocol), ACME))]
        with self.proxy_with(listener, head=head) as runner:
            yield runner

    @contextmanager
    def proxy_with(self, listeners: list[tuple[str, dict[str, str]]], *, head: str = "") -> Iterator[Runner]:
        """A proxy of its own with these tenants' destinations, ended afterwards."""
        setting = self.setting
        setting.head, setting.listeners = head, []
        for tenant, properties in listeners:
            setting.listen(tenant, properties)
        log, wrong_before = setting.folder / "proxy.log", len(self.wrong)
        log.unlink(missing_ok=True)
        watch = Stopwatch()
        proxy = setting.start(wait=False)
        try:
            ready = "ready; listeners: "
            until(lambda: ready in proxy.daemon.text or proxy.ended, ready, seconds=START_SECONDS)
            yield Runner(self, proxy, tuple(each.port for each in setting.listeners), watch.seconds)
        finally:
            self._judge(proxy.daemon.stop(), proxy)
            if len(self.wrong) > wrong_before:
                KEPT_LOG.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(log, KEPT_LOG)

    def _judge(self, status: int, proxy: Proxy) -> None:
        self.judge(f"the proxy ended with {status}", kept=not status)
        blunder = proxy.blunder()
        self.judge(blunder, kept=not blunder)

    @contextmanager
    def link(self, delay_seconds: float, target: int) -> Iterator[Link]:
        """A long link to a port, ended afterwards."""
        link = Link.start(self.setting.folder, target, delay_seconds)
        try:
            yield link
        finally:
            link.daemon.stop()

    def judge(self, text: str, *, kept: bool) -> None:
        """What had to hold on any machine did, or this was wrong."""
        if not kept:
            self.wrong.append(text)

    def run(self, order: Order, meanwhile: Callable[[], None] | None = None) -> Measured:
        """The load is over; what came of it at the sink.  What to do `meanwhile` is done again and again."""
        order = evolve(order, first=self.next_number)
        before = self.sink.report()
        with under_way(order) as generator:
            done = generator.wait(meanwhile)
        self.next_number = max(self.next_number, done.next_number)
        after = self.sink.report(order.first, done.next_number - order.first)
        measured = Measured(order, done, before, after)
        self.wrong += measured.wrong
        return measured

    def claim(self, order: Order) -> Order:
        """The order with numbers of its own, for a load that others run beside."""
        claimed = evolve(order, first=self.next_number)
        self.next_number += order.sessions * order.mails
        return claimed


@frozen
class Runner:
    """A running proxy that is measured."""

    stage: Stage
    proxy: Proxy
    ports: tuple[int, ...]
    start_seconds: float

    def order(self, protocol: str, **order: Any) -> Order:
        """A load on its first listener."""
        return Order(protocol, **({"ports": self.ports[:1]} | order))

    def run(self, order: Order, meanwhile: Callable[[], None] | None = None) -> Measured:
        """The load is over; what it cost."""
        before = self.cpu_seconds()
        measured = self.stage.run(order, meanwhile)
        return evolve(measured, proxy_cpu_seconds=self.cpu_seconds() - before)

    def cpu_seconds(self) -> float:
        """The time of the processor that all of its processes have used."""
        return cpu_seconds(self.proxy.pid)

    def warm(self, protocol: str, sessions: int) -> None:
        """What is done once is done: code, destinations, tickets, connections."""
        self.stage.run(self.order(protocol, sessions=sessions, at_a_time=min(4, sessions)))

    def memory(self) -> Memory:
        """Of all of its processes."""
        return memory(self.proxy.pid)
