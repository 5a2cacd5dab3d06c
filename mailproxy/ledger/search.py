"""
Records that somebody asks for: files are read line by line, and nothing is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from attrs import frozen

from mailproxy.ledger.keyed import NO_KEY, AddressKey, address_of
from mailproxy.ledger.record import readable, timestamp
from mailproxy.ledger.verify import Line, lines

_ABOUT_MAIL = frozenset({"transaction", "pop3"})


class Hit(Enum):
    """What a line is to somebody who asks."""

    FITS = "it is wanted"
    HIDDEN = "it may be wanted: its addresses are stored under a key that we do not have"
    NO_RECORD = "it is no record"


@frozen(kw_only=True)
class Question:
    """What a record has to be; None asks for nothing.  Times are as records have them, `until` is not included."""

    address: str | None = None
    message_id: str | None = None
    since: str | None = None
    until: str | None = None
    tenant: str | None = None
    session: str | None = None
    key: AddressKey = NO_KEY

    def judge(self, record: dict[str, Any]) -> Hit | None:
        """What such a record is to the question, None for nothing; one counts for the time in which it ended."""
        fits = (
            record.get("kind") in _ABOUT_MAIL
            and self.tenant in (None, record.get("tenant"))
            and self.session in (None, record.get("session"))
            and (self.since or "") <= record.get("end", "") < (self.until or "~")
            and self._has_message_id(record.get("message_id"))
        )
        return self._judge_addresses(list(_addresses(record))) if fits else None

    def _judge_addresses(self, stored: list[str]) -> Hit | None:
        if self.address is None or any(self.key.matches(each, self.address) for each in stored):
            return Hit.FITS
        return Hit.HIDDEN if any(map(self.key.cannot_tell, stored)) else None

    def _has_message_id(self, found: str | None) -> bool:
        if self.message_id is None:
            return True
        return found is not None and found.strip("<>") == self.message_id.strip("<>")


def _addresses(record: dict[str, Any]) -> Iterator[str]:
    """Whoever a record is about."""
    yield from (each["path"] for each in record.get("forward_paths", ()))
    yield from (record[name] for name in ("reverse_path", "user") if record.get(name) is not None)


def search(paths: Iterable[Path], question: Question) -> Iterator[tuple[Line, Hit]]:
    """
    Lines that fit, and those of which that cannot be said.

    Raises:
        OSError: a file cannot be read.
    """
    for path in paths:
        for line in lines(path):
            record = _parse(line.octets)
            hit = Hit.NO_RECORD if record is None else question.judge(record)
            if hit is not None:
                yield line, hit


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "kind" in record else None


def parse_time(text: str) -> str:
    """
    A time as records have it, out of what people write: `2026-11-21`, `2026-11-21T14:00`, with an offset or in UTC.

    Raises:
        ValueError: it is none.
    """
    moment = datetime.fromisoformat(text)
    return timestamp((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def parse_address(text: str) -> str:
    """An address as records have it, with or without brackets."""
    return readable(address_of(text.encode("utf-8", "surrogateescape")))
