"""
What is measured: each case by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.bench.crowds import Crowd, Idle, Many
from tests.bench.flows import Far, Slow
from tests.bench.kinds import Kind
from tests.bench.rates import Rate

LEDGER = '[ledger]\npath = "audit.jsonl"\nfsync = "{fsync}"\n'
ADMIN = '[admin]\nendpoint = "tcp:0"\n'
WITHOUT_POOL = "[pool]\nenabled = false\n"

CASES: Mapping[str, Kind] = {
    "smtp-small-1": Rate("smtp", 1),
    "smtp-small-20": Rate("smtp", 20),
    "smtp-small-200": Rate("smtp", 200),
    "smtp-small-20-cold": Rate("smtp", 20, head=WITHOUT_POOL),
    "smtp-small-20-ledger": Rate("smtp", 20, head=LEDGER.format(fsync="always")),
    "smtp-small-20-ledger-unsynced": Rate("smtp", 20, head=LEDGER.format(fsync="never")),
    "smtp-small-20-admin": Rate("smtp", 20, head=ADMIN),
    "smtp-small-20-admin-ledger": Rate("smtp", 20, head=ADMIN + LEDGER.format(fsync="always")),
    "smtp-many-20": Rate("smtp", 20, mails=20),
    "smtp-bulk-8": Rate("smtp", 8, bulk=True),
    "pop3-small-20": Rate("pop3", 20),
    "pop3-bulk-8": Rate("pop3", 8, bulk=True),
    "idle-1000": Idle(1000),
    "idle-5000": Idle(5000),
    "slow-smtp": Slow("smtp"),
    "slow-pop3": Slow("pop3"),
    "crowd-10000": Crowd(10_000),
    "listeners-1000": Many(listeners=1000, tenants=100),
    "latency-50ms": Far(0.025),
}


def chosen(words: str) -> list[str]:
    """
    The names of cases that are one of the words between commas, or have one in them; all when there is no word.

    Raises:
        ValueError: a word fits none.
    """
    if not words:
        return list(CASES)
    found = []
    for word in words.split(","):
        fitting = [word] if word in CASES else [name for name in CASES if word in name]
        if not fitting:
            raise ValueError(f"no case is named like {word!r}; there are {', '.join(CASES)}")
        found += fitting
    return list(dict.fromkeys(found))
