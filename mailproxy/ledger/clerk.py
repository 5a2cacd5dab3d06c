"""
Has records written, one behind the other, and says when one will outlive a loss of power.

A record is one small write, done at once.  What takes long, `fsync`, is done in a thread, one at a time: all records
that were written before it began are on disk when it ends, however many sessions wait for that.

Where the file cannot be written, records wait in memory, up to a bound, and are written in their order as soon as it
can be; what did not fit is counted, and the count is a record.  Whether mail goes on meanwhile, the operator says.
"""

from __future__ import annotations

import errno
import os
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.deadline import Deadline
from mailproxy.ledger.record import note, timestamp
from mailproxy.ledger.writer import Place, Writer
from mailproxy.observe.histogram import Histogram
from mailproxy.observe.observation import LedgerFigures

MAX_WAITING_RECORDS = 10_000
"""Records that wait in memory until the file can be written again; those beyond it are only counted."""

MAX_WAITING_OCTETS = 64 * 1024 * 1024
"""The same, in octets."""

MAX_UNSYNCED_SESSIONS = 1000
"""Sessions that wait for the disk at a time; where more would, it is too slow, and nobody begins anything new."""

RETRY_SECONDS = 1.0
"""How often it is tried again while the file cannot be written."""

ALARM_SECONDS = 60.0
"""How often that is said meanwhile."""

GROUP_SECONDS = 0.015
"""How long a record may wait for others that share its `fsync`.  It waits only while there is something else to do."""

QUIET_SECONDS = 0.0002
"""A turn of the reactor that took no longer had nothing to do."""

SYNC_SECONDS = 10.0
"""How long a disk has to take what was written; one that takes longer counts as failing."""

_REASONS = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.ETIMEDOUT: "slow",
}
"""What is wrong with the disk, as metrics call it; anything else is `other`."""

_AT_A_TIME = 500
"""Records that had to wait, written in one go: about ten milliseconds."""

_log = Logger(namespace="mailproxy.ledger")


@frozen
class Settings:
    """
    `fsync` is "always", "interval" or "never"; `block` says that nothing new begins while records cannot be written.
    """

    place: Place
    fsync: str
    fsync_seconds: float
    block: bool


InThread = Callable[[Callable[[], None]], Deferred[Any]]


class Clerk:
    """
    Args:
        settings: where, and how surely.
        clock: of the reactor.
        in_thread: has something done that may block; it is never asked for two things at a time.
        now: seconds since 1970.
    """

    def __init__(self, settings: Settings, clock: Any, in_thread: InThread, now: Callable[[], float]) -> None:
        self._settings = settings
        self._in_thread = in_thread
        self._clock = clock
        self.now = now
        self._writer = Writer(settings.place, now)
        self._retry, self._alarm = Deadline(clock), Deadline(clock)
        self._interval, self._patience = Deadline(clock), Deadline(clock)
        self._waiting: deque[bytes] = deque()
        self._waiting_octets = 0
        self._unsynced: list[Deferred[None]] = []
        self._syncing: list[Deferred[None]] = []
        self._busy = self._due = False
        """Whether the disk is at work; whether it will be, at the end of the interval."""
        self._dirty = False
        self._stopped: Deferred[None] | None = None
        self._counted: Counter[str] = Counter()
        """Records that were written and lost, and attempts that failed, by what was wrong."""
        self._sync_seconds = Histogram()
        self._sync_began = 0.0
        self._asked = self._looked = 0.0
        """Since when a record waits for others, and when it was seen last whether any could come."""
        self.lost = 0
        """Records that there was no room for, in the file nor in memory, and of which no record tells yet."""
        self.problem: str | None = None
        """Why records cannot be written at the moment, if so."""

    @property
    def waiting(self) -> int:
        """How many records wait in memory."""
        return len(self._waiting)

    @property
    def figures(self) -> LedgerFigures:
        """What an operator sees of it."""
        counted = self._counted
        return LedgerFigures(
            records=counted["records"],
            waiting=self.waiting,
            lost=counted["lost"],
            full=counted["full"],
            slow=counted["slow"],
            other=counted["other"],
            failing=int(self.problem is not None),
            blocking=int(not self.open),
            sessions=len(self._unsynced) + len(self._syncing),
            sync_seconds=self._sync_seconds.copy(),
        )

    @property
    def open(self) -> bool:
        """Whether something may begin that has to be recorded."""
        if not self._settings.block:
            return True
        return self.problem is None and len(self._unsynced) < MAX_UNSYNCED_SESSIONS

    def start(self) -> None:
        """The chain goes on, or begins; where it cannot, it is tried again and again."""
        try:
            self._writer.open()
            self._writer.flush()
        except OSError as error:
            self._failed(error)
        else:
            _log.info("the ledger goes on behind record {last}", last=str(self._writer.link))

    def write(self, fields: bytes) -> Deferred[None] | None:
        """
        One more record; what fires when it is on disk, or None where nobody has to wait for that.

        It also fires when the disk fails: whoever waits could do nothing about it.
        """
        if self.problem is not None:
            self._put_off(fields)
            return None
        try:
            self._writer.append(fields)
        except OSError as error:
            self._put_off(fields)
            self._failed(error)
            return None
        self._counted["records"] += 1
        self._dirty = True
        try:
            self._writer.flush()
        except OSError as error:
            self._failed(error)
            return None
        if self._settings.fsync != "always":
            self._make_sure()
            return None
        durable: Deferred[None] = Deferred()
        self._unsynced.append(durable)
        self._make_sure()
        return durable

    def stop(self) -> Deferred[None]:
        """Fires when all that can be written is, and is on disk; others may write this ledger then."""
        self._stopped = Deferred()
        stopped = self._stopped
        self._finish()
        return stopped

    # Writing later

    def _put_off(self, fields: bytes) -> None:
        full = self.waiting >= MAX_WAITING_RECORDS or self._waiting_octets + len(fields) > MAX_WAITING_OCTETS
        if full or self.lost:
            self.lost += 1
            self._counted["lost"] += 1
        else:
            self._waiting.append(fields)
            self._waiting_octets += len(fields)

    def _failed(self, error: OSError) -> None:
        """It is said once, and again and again; sessions that wait for the disk do not wait for this."""
        self._counted[_REASONS.get(error.errno or 0, "other")] += 1
        if self.problem is None:
            self.problem = error.strerror or type(error).__name__
            _log.critical("the ledger cannot be written: {problem}", problem=self.problem)
            self._alarm.set(ALARM_SECONDS, self._say_it_again)
        self._retry.set(RETRY_SECONDS, self._try_again)
        for durable in [*_all_of(self._syncing), *_all_of(self._unsynced)]:
            durable.callback(None)

    def _say_it_again(self) -> None:
        words = "the ledger still cannot be written: {problem}; records that wait: {count}, lost: {lost}"
        _log.critical(words, problem=self.problem, count=self.waiting, lost=self.lost)
        self._alarm.set(ALARM_SECONDS, self._say_it_again)

    def _try_again(self) -> None:
        """What waits is written, a part of it in one go; while the disk is still at it, there is no use in that."""
        if self._busy:
            self._retry.set(RETRY_SECONDS, self._try_again)
            return
        try:
            done = self._catch_up(_AT_A_TIME)
        except OSError as error:
            self._failed(error)
            return
        if done:
            self._recovered()
        else:
            self._retry.set(0.0, self._try_again)

    def _catch_up(self, most: int) -> bool:
        """Whether nothing waits any more."""
        self._writer.open()
        self._writer.flush()
        for _ in range(min(most, self.waiting)):
            self._writer.append(self._waiting[0])
            self._waiting_octets -= len(self._waiting.popleft())
            self._counted["records"] += 1
            self._dirty = True
        if self._waiting:
            return False
        if self.lost:
            self._writer.append(note("lost", time=timestamp(self.now()), records=self.lost))
            self.lost = 0
            self._dirty = True
        self._writer.flush()
        return True

    def _recovered(self) -> None:
        self.problem = None
        self._alarm.clear()
        self._retry.clear()
        _log.info("the ledger is written again, as far as record {last}", last=str(self._writer.link))
        self._make_sure()

    # Making sure

    def _make_sure(self) -> None:
        """What was written will be on disk, as soon as the settings say."""
        if self._settings.fsync == "always":
            self._sync_when_quiet()
        elif self._settings.fsync == "interval":
            self._sync_after(self._settings.fsync_seconds)
        else:
            self._dirty = False
            self._writer.forget_retired()

    def _sync_when_quiet(self) -> None:
        """As long as there is something to do, other sessions may come to where they wait for the disk, too."""
        if not (self._due or self._busy):
            self._due = True
            self._asked = self._looked = self._clock.seconds()
            self._interval.set(0.0, self._look_around)

    def _look_around(self) -> None:
        now = self._clock.seconds()
        if now - self._looked <= QUIET_SECONDS or now - self._asked >= GROUP_SECONDS:
            self._interval_over()
        else:
            self._looked = now
            self._interval.set(0.0, self._look_around)

    def _sync_after(self, seconds: float) -> None:
        if not self._due:
            self._due = True
            self._interval.set(seconds, self._interval_over)

    def _interval_over(self) -> None:
        self._due = False
        self._begin_sync()

    def _begin_sync(self) -> None:
        """All that was written goes to disk, unless that is under way: then there is another turn behind it."""
        if self._busy or not self._dirty:
            return
        try:
            job = self._writer.sync_job()
        except OSError as error:
            self._failed(error)
            return
        self._busy, self._dirty = True, False
        self._syncing, self._unsynced = self._unsynced, []
        self._patience.set(SYNC_SECONDS, self._too_slow)
        self._sync_began = self._clock.seconds()
        self._in_thread(job).addCallbacks(self._synced, self._not_synced).addErrback(_crashed)

    def _too_slow(self) -> None:
        self._failed(OSError(errno.ETIMEDOUT, f"the disk has not taken it within {SYNC_SECONDS:g} s"))
        if self._stopped is not None:
            self._close()

    def _synced(self, _: object) -> None:
        self._busy = False
        self._sync_seconds.observe(self._clock.seconds() - self._sync_began)
        self._patience.clear()
        for durable in _all_of(self._syncing):
            durable.callback(None)
        if self._stopped is not None:
            self._finish()
        elif self._dirty and self.problem is None:
            self._make_sure()

    def _not_synced(self, failure: Failure) -> None:
        """Nobody knows what of it is on disk: the system does not try again, and says so only once."""
        self._busy = False
        self._patience.clear()
        self._failed(
            failure.value if isinstance(failure.value, OSError) else OSError(errno.EIO, os.strerror(errno.EIO))
        )
        if self._stopped is not None:
            self._close()

    # The end

    def _finish(self) -> None:
        if self._busy:
            return
        if self.problem is not None:
            try:
                self._catch_up(self.waiting)
            except OSError:
                self._close()
                return
            self.problem = None
        if self._dirty and self._settings.fsync != "never":
            self._begin_sync()
        if not self._busy:
            self._close()

    def _close(self) -> None:
        for deadline in (self._retry, self._alarm, self._interval, self._patience):
            deadline.clear()
        if self.problem is not None:
            words = "the ledger ends, and cannot be written: {problem}; records lost: {count}"
            _log.critical(words, problem=self.problem, count=self.waiting + self.lost)
        else:
            _log.info("the ledger ends with record {last}", last=str(self._writer.link))
        self._writer.close()
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            stopped.callback(None)


def _all_of(waiting: list[Deferred[None]]) -> list[Deferred[None]]:
    """Those that wait, who wait no more."""
    taken, waiting[:] = list(waiting), []
    return taken


def _crashed(failure: Failure) -> None:
    _log.failure("internal error in the ledger", failure)
