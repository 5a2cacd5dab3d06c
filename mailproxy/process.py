"""
The proxy as a process of its own: signals, the service manager, the configuration file.

All of that is left out where the proxy is a part of something else, as in tests and simulations.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import MutableMapping, Sequence
from functools import partial
from threading import Thread
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import ILogObserver, Logger

from mailproxy.config import Config
from mailproxy.notify import Notifier
from mailproxy.observe.logs import LogWriter, settings
from mailproxy.observe.process import LagMeter, figures
from mailproxy.signals import Install, Signals
from mailproxy.watch import Watch

_log = Logger(namespace="mailproxy.process")


class Proxy(Protocol):
    """What there is to run."""

    config: Config
    complaints: Sequence[str]
    listeners: list[Any]

    def privilegedStartService(self) -> None:
        """All ports are bound."""

    def startService(self) -> None:
        """It serves."""

    def serving(self) -> Deferred[None]:
        """Fires when clients are served."""

    def stopService(self) -> Deferred[None]:
        """It ends, in good order."""

    def hurry(self) -> None:
        """It ends at once."""

    def reload(self, config: Config) -> Deferred[list[str]]:
        """Another configuration is in use, or has these problems."""


class Process(Service):
    """
    Runs a proxy from the first port to the last farewell.

    Args:
        proxy: to run.
        reactor: the process's own.
        seen: the fingerprint of the configuration file when it was loaded.
        environ: of the process.
        install: sets the handler of a signal.
        observer: writes the log; None where somebody else does.
    """

    def __init__(
        self,
        proxy: Proxy,
        reactor: Any,
        seen: bytes | None,
        environ: MutableMapping[str, str],
        *,
        install: Install = signal.signal,
        observer: LogWriter | None = None,
    ) -> None:
        self._observer = observer
        self._proxy = proxy
        self._reactor = reactor
        self._notifier = Notifier(reactor, environ)
        self._watch = Watch(reactor, proxy, seen, loading=self._notifier.reloading, loaded=self._loaded)
        follow(proxy.config)
        self._lag = LagMeter(reactor, figures.lag)
        self._signals = Signals(reactor, stop=reactor.stop, hurry=proxy.hurry, reload=self._watch.load, install=install)

    def setServiceParent(self, parent: Any) -> None:
        """The application that it belongs to takes its log from us, if we write one."""
        super().setServiceParent(parent)
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)

    def privilegedStartService(self) -> None:
        """All ports are bound; from now on a signal is heard."""
        self._signals.install()
        self._proxy.privilegedStartService()

    def startService(self) -> None:
        """The proxy serves as soon as the reactor runs."""
        super().startService()
        self._proxy.startService()
        self._reactor.callWhenRunning(self._running)

    def stopService(self) -> Deferred[None]:
        """The proxy has ended, in good order or at its deadlines."""
        super().stopService()
        self._watch.stop()
        self._notifier.stopping("stopping: sessions may finish what they are in the middle of")
        return maybeDeferred(self._proxy.stopService).addBoth(self._ended)

    def _running(self) -> None:
        self._signals.install()
        wait_for_no_thread(self._reactor)
        self._proxy.serving().addCallback(self._serving)

    def _serving(self, _: object) -> None:
        if not self.running:
            return
        self._watch.start()
        self._lag.start()
        self._notifier.start()
        self._notifier.ready(self._status)
        spare_the_collector()
        _log.info("ready; listeners: {count}", count=len(self._proxy.listeners))

    @property
    def _status(self) -> str:
        return f"listeners: {len(self._proxy.listeners)}"

    def _loaded(self, current: bool) -> None:  # noqa: FBT001 - the one thing there is to say
        follow(self._proxy.config)
        more = "" if current else "; a changed configuration is not in use, see the log"
        self._notifier.ready(f"{self._status}{more}")

    def _ended(self, result: Any) -> Any:
        self._notifier.stop()
        self._lag.stop()
        forget_threads(self._reactor)
        return result


def follow(config: Config) -> None:
    """What the configuration says of the process's log and metrics is so from now on."""
    log = config.log
    settings.follow(log.format, log.level, log.levels, log.fold_seconds)
    figures.sap_names = config.metrics.sap_names


def spare_the_collector() -> None:
    """
    What was made until now stays, and Python's collector need not look at it again.

    It would take 9 to 20 ms each time, in which every session waits.  How often it looks is left as it is: a session
    is freed by counting references, so that there is hardly anything to collect.
    """
    gc.collect()
    gc.freeze()


def wait_for_no_thread(reactor: Any) -> None:
    """A thread that waits for a name service will not hold up the end; `forget_threads` is the other half of it."""
    reactor.getThreadPool().threadFactory = partial(Thread, daemon=True)


def forget_threads(reactor: Any) -> None:
    """The reactor, which ends now, does not wait for its threads."""
    reactor.getThreadPool().threads.clear()
