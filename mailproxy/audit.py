"""
The audit ledger of one process, out of its configuration.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed

from mailproxy.config import Config, LedgerConfig
from mailproxy.downstream.surroundings import Book
from mailproxy.ledger.clerk import Clerk, Settings
from mailproxy.ledger.keyed import NO_KEY, BadKey, read_key
from mailproxy.ledger.thread import OwnThread
from mailproxy.ledger.writer import Place
from mailproxy.observe.observation import LedgerFigures
from mailproxy.recipes import Identity


class Audit:
    """
    Args:
        config: where, and how.
        reactor: its clock, and in whose thread everything but the waiting for the disk is done.
        thread: who waits for the disk.
        now: seconds since 1970.
    """

    def __init__(
        self,
        config: LedgerConfig,
        reactor: Any,
        thread: Callable[[Any], Any] = OwnThread,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._key = NO_KEY if config.address_key_file is None else read_key(config.address_key_file)
        self._thread = thread(reactor)
        self.clerk = Clerk(_settings(config), reactor, self._thread, now)

    @property
    def problem(self) -> str | None:
        """Why nothing new may begin, if so."""
        return None if self.clerk.open else f"ledger: {self.clerk.problem or 'the disk is too slow'}"

    @property
    def figures(self) -> LedgerFigures:
        """What an operator sees of it."""
        return self.clerk.figures

    def book(self, who: Identity) -> Book:
        """The ledger, as the sessions of a listener see it."""
        clerk = self.clerk
        return Book(clerk.write, lambda: clerk.open, clerk.now, who.destination, who.tenant, self._key)

    def start(self) -> None:
        """Records can be written, from now on or as soon as it is possible."""
        self.clerk.start()

    def stop(self) -> Deferred[Any]:
        """Everything is on disk, or never will be."""
        return self.clerk.stop().addCallback(lambda _: self._thread.stop())


def audit_of(config: Config, reactor: Any) -> Audit | None:
    """The ledger that a configuration asks for; None where it asks for none."""
    return None if config.ledger is None else Audit(config.ledger, reactor)


def stopped(audit: Audit | None) -> Deferred[Any]:
    """Fires when there is no ledger any more."""
    return succeed(None) if audit is None else audit.stop()


def problems_of_ledger(config: Config) -> Iterator[str]:
    """What keeps a ledger from being written, as far as can be told without beginning it."""
    if config.ledger is None:
        return
    where, folder = f"{config.path}: ledger", config.ledger.path.parent
    if not folder.is_dir():
        yield f"{where}.path: {folder} is no directory"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield f"{where}.path: {folder} cannot be written to"
    if config.ledger.address_key_file is not None:
        try:
            read_key(config.ledger.address_key_file)
        except BadKey as bad:
            yield f"{where}.address_key_file: {config.ledger.address_key_file}: {bad}"


def _settings(config: LedgerConfig) -> Settings:
    return Settings(
        place=Place(config.path, config.max_octets, config.max_age_seconds),
        fsync=config.fsync,
        fsync_seconds=config.fsync_seconds,
        block=config.on_failure == "block",
    )
