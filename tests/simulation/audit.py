"""
The ledger of a world: most worlds have one, and what stands in it is held against what clients and servers have seen.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from hashlib import sha256
from random import Random

from twisted.internet.defer import Deferred

from mailproxy.audit import Audit
from mailproxy.config import LedgerConfig
from mailproxy.ledger.keyed import NO_KEY, AddressKey
from mailproxy.ledger.verify import verify
from tests.simulation.mail import normalized, octets_of
from tests.simulation.secrets import owners
from tests.simulation.site import TENANTS

FOREVER = 1e9

NOON = 1_795_262_400.0
"""When worlds begin, in seconds since 1970."""

_KEY = b"the key of the simulated auditor"


class Auditor:
    """
    Args:
        world: all that there is.
        folder: of the configuration; worlds come one after the other.
    """

    def __init__(self, world, folder):
        self._world = world
        self._folder = folder / "ledger"
        self._random = Random(f"ledger of {world.seed}")
        self._key = AddressKey(_KEY) if self._random.random() < 0.3 else NO_KEY
        self._is_kept = self._random.random() < 0.8
        self._fsync = self._random.choice(("always", "always", "interval", "never"))
        began = self._random.uniform(0, 60) if world.plan.trouble and self._random.random() < 0.3 else FOREVER
        self._outage = began, began + self._random.uniform(0, 200)
        """From when to when the ledger's disk is full."""
        self.durable = 0
        """Octets of the ledger that are on disk."""
        self.began = set()
        """Reverse-paths of the MAILs that mail servers were given."""
        self.taken = Counter()
        """Those of the messages that clients were told are taken."""

    def config(self):
        """What the configuration says about it."""
        if not self._is_kept:
            return None
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        key = self._folder / "key"
        key.write_bytes(_KEY)
        return LedgerConfig(
            self._folder / "mail.jsonl",
            fsync=self._fsync,
            max_octets=self._random.choice((2000, 65_536)),
            max_age_seconds=self._random.choice((60.0, 86_400.0)),
            address_key_file=key if self._key is not NO_KEY else None,
        )

    def audit_of(self, config, reactor):
        """In the place of `audit.audit_of`."""
        if config.ledger is None:
            return None
        disk = Disk(self._world, self, self._random)
        self._audit = Audit(config.ledger, reactor, lambda _: disk, lambda: NOON + reactor.seconds())
        self._audit.clerk._writer.write = self._write
        return self._audit

    def _write(self, descriptor, octets):
        """As `os.write`: while the disk is full there is room for a part of it, or for nothing."""
        began, ended = self._outage
        if not began <= self._world.reactor.seconds() < ended:
            return os.write(descriptor, octets)
        if len(octets) > 1 and self._random.random() < 0.1:
            return os.write(descriptor, octets[: self._random.randrange(1, len(octets))])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @property
    def _was_full(self):
        """Whether the disk is full, or has been."""
        return self._world.reactor.seconds() >= self._outage[0]

    # What happens

    def sees_mail(self, path):
        self.began.add(path)

    def sees_success(self, path):
        """A client is told so: where `fsync` is "always", that is on disk already."""
        self.taken[path] += 1
        if self._is_kept and self._fsync == "always" and not self._was_full:
            place = self._octets().find(b'"reverse_path":"%b"' % self._key.hide(path.decode()).encode())
            if not 0 <= place < self.durable:
                self._world.forbid(f"a client is told that {path!r} is taken, and that is not on disk")

    def _octets(self):
        return b"".join(path.read_bytes() for path in self._paths())

    def _paths(self):
        return sorted(self._folder.glob("mail.0*.jsonl"))

    def size(self):
        """Of all that was written."""
        return sum(path.stat().st_size for path in self._paths())

    # When all is over

    def look_back(self):
        """The chain is whole, each transaction is in it once, and what was acknowledged is as it was sent."""
        if not self._is_kept:
            return
        for finding in verify(self._paths()):
            if finding.problem is not None:
                self._world.forbid(f"the ledger is not whole: {finding.problem}")
        if owners(self._octets()):
            self._world.forbid("a secret is in the ledger")
        if self._audit.clerk.problem is not None:
            return  # the end came when there was no room yet, and what waited is lost
        records = [json.loads(line) for line in self._octets().splitlines()]
        self._transactions([each for each in records if each["kind"] == "transaction"])
        self._visits([each for each in records if each["kind"] == "pop3"])

    def _transactions(self, records):
        by_path = {}
        for record in records:
            before = by_path.setdefault(record["reverse_path"], [])
            if before and _goes_on(before[-1], record):
                before.pop()
            before.append(record)
        for path in self.began:
            if len(by_path.get(self._key.hide(path.decode()), ())) != 1:
                self._world.forbid(f"{path!r} is not in the ledger exactly once")
        for path in self.taken:
            for record in by_path.get(self._key.hide(path.decode()), ()):
                self._is_as_sent(record, self._world.messages[path])
        accepted = sum(record["outcome"] == "accepted" for record in records)
        if accepted < sum(self.taken.values()):
            self._world.forbid("a client was told of a success that is not in the ledger")
        if accepted > self._world.successes:
            self._world.forbid("the ledger knows of a success that no mail server had")

    def _is_as_sent(self, record, message):
        sent = normalized(message.body)
        plain = (b"\r\n" + sent).replace(b"\r\n.", b"\r\n")[2:]
        wanted = ("accepted", octets_of(sent), sha256(plain).hexdigest(), message.client.place.tenant)
        if (record["outcome"], record["octets"], record["sha256"], record["tenant"]) != wanted:
            self._world.forbid(f"the ledger has another message: {record} and not {wanted}")
        number = message.path.decode().partition("@")[0].removeprefix("m")
        known = {self._key.hide(f"t{number}.{each}@x.test") for each in range(4)}
        if not record["forward_paths"] or not {each["path"] for each in record["forward_paths"]} <= known:
            self._world.forbid(f"the ledger has other recipients: {record}")

    def _visits(self, records):
        if any(record["octets"] < 3 * record["retrieved"] or record["tenant"] not in TENANTS for record in records):
            self._world.forbid("the ledger has impossible sessions of POP3")


def _goes_on(refused, taken):
    """Of a group that was sent together a mail server may refuse MAIL and take the rest, which is on record, too."""
    same = all(refused[key] == taken[key] for key in ("session", "forward_paths_left_out"))
    behind_mail = refused["outcome"] == "rejected" and not refused["octets"] and refused["reply_by"] == "upstream"
    return same and behind_mail and bool(taken["octets"] or taken["reply_by"])


class Disk:
    """In the place of `ledger.thread.OwnThread`."""

    def __init__(self, world, auditor, random):
        self._world = world
        self._auditor = auditor
        self._random = random

    def __call__(self, job):
        done, size = Deferred(), self._auditor.size()

        def work():
            job()
            self._auditor.durable = size
            done.callback(None)

        self._world.reactor.later(self._random.choice((0.0, 0.001, 0.01, 0.5)), work)
        return done

    def stop(self):
        """Nothing is under way any more."""
