"""
Ledgers for tests: written by the real writer, and what is left of one when somebody has been at it.
"""

import errno
import os

from twisted.internet.defer import Deferred

from mailproxy.ledger.clerk import Clerk, Settings
from mailproxy.ledger.record import ForwardPath, Transaction, encode, note
from mailproxy.ledger.writer import Place, Writer

NOON = 1_795_262_400.0
"""2026-11-21T12:00:00Z"""


def transaction(number=1, **changes):
    fields = {
        "begin": NOON + number,
        "end": NOON + number + 0.25,
        "session": f"{number:06x}",
        "outcome": "accepted",
        "tenant": "acme",
        "destination": "mail",
        "client_address": "127.0.0.1",
        "client_port": 40000,
        "ehlo": "app.test",
        "reverse_path": "robot@acme.test",
        "forward_paths": (ForwardPath(f"to{number}@x.test", 250, "2.1.5 Ok"),),
        "forward_paths_left_out": 0,
        "octets": 17,
        "message_id": f"<{number}@acme.test>",
        "sha256": "0" * 64,
        "reply_code": 250,
        "reply_text": "2.0.0 Ok: queued as 4bN1Xk2J9Wz",
        "reply_by": "upstream",
        "queue_id": "4bN1Xk2J9Wz",
    }
    return Transaction(**fields | changes)


def place(folder, *, max_octets=1 << 20, max_age_seconds=86_400.0):
    return Place(folder / "mail.jsonl", max_octets, max_age_seconds)


def writer(folder, now=lambda: NOON, **bounds):
    return Writer(place(folder, **bounds), now)


def written(folder, count=6, **bounds):
    """A ledger with so many transactions; its files, first one first."""
    book = writer(folder, **bounds)
    for number in range(1, count + 1):
        book.append(encode(transaction(number)))
    book.sync_job()()
    book.close()
    return files(folder)


def files(folder):
    return sorted(folder.glob("mail.*.jsonl"))


def small(fields="x"):
    return note("test", time="then", words=fields)


class Disk:
    """What a writer writes to: it has room for so many octets."""

    def __init__(self, writer, room=1 << 30):
        self.room = room
        writer.write = self.write

    def write(self, descriptor, octets):
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = os.write(descriptor, octets[: self.room])
        self.room -= count
        return count


class Thread:
    """The clerk's thread: does what it has to when a test says so."""

    def __init__(self):
        self.jobs = []

    def __call__(self, job):
        done = Deferred()
        self.jobs.append((job, done))
        return done

    def stop(self):
        """There is nothing that could be stopped."""

    def work(self, error=None):
        job, done = self.jobs.pop(0)
        job()
        if error is None:
            done.callback(None)
        else:
            done.errback(error)


def clerk(folder, clock, thread, *, fsync="always", block=True, **bounds):
    return Clerk(Settings(place(folder, **bounds), fsync, 1.0, block), clock, thread, lambda: NOON + clock.seconds())
