r"""
What one record of the ledger holds, and how it is written: JSON on one line, the names in a fixed order.

Words of a peer are text with two escapes of ours below those of JSON: a backslash is `\\`, and an octet that is no
UTF-8 is `\xNN`.  So every octet can be had back, and no reader of JSON stumbles over half a character.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar

import attrs
from attrs import frozen

MAX_RECORD_OCTETS = 8 * 1024 * 1024
"""Of a line; what a session notes of one transaction is bounded so that it fits, every octet of it escaped."""


@frozen
class ForwardPath:
    """A recipient, and the reply to it; `code` and `text` are None where none came."""

    path: str
    code: int | None
    text: str | None


@frozen(kw_only=True)
class Peers:
    """Who took part, from where, and when; times are seconds since 1970."""

    kind: ClassVar[str]

    begin: float
    end: float
    session: str
    outcome: str
    tenant: str | None
    destination: str
    identity: str | None = None
    client_certificate: str | None = None
    client_address: str | None = None
    client_port: int | None = None
    client_tls: str | None = None
    client_cipher: str | None = None
    upstream_host: str | None = None
    upstream_address: str | None = None
    upstream_port: int | None = None
    upstream_tls: str | None = None
    upstream_cipher: str | None = None


@frozen(kw_only=True)
class Transaction(Peers):
    """A mail transaction; `octets` and `sha256` are of the content as the mail server got it, without stuffed dots."""

    kind = "transaction"

    ehlo: str | None
    reverse_path: str
    forward_paths: tuple[ForwardPath, ...]
    forward_paths_left_out: int
    octets: int
    message_id: str | None
    sha256: str | None
    reply_code: int | None
    reply_text: str | None
    reply_by: str | None
    queue_id: str | None


@frozen(kw_only=True)
class POP3Session(Peers):
    """A session of POP3; `committed` is None where QUIT went to the mail server and no answer came."""

    kind = "pop3"

    user: str | None
    retrieved: int
    deleted: int
    committed: bool | None
    octets: int


def readable(octets: bytes) -> str:
    r"""
    Words of a peer as text; `\` is doubled, and an octet that is no UTF-8 is `\xNN`.
    """
    if octets.isascii() and b"\\" not in octets:
        return octets.decode("ascii")
    return octets.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def timestamp(seconds: float) -> str:
    """A time in UTC, `2026-11-21T14:00:17.042Z`."""
    whole, part = divmod(int(seconds * 1000), 1000)
    return f"{_second(whole)}.{part:03}Z"


@lru_cache(4)
def _second(seconds: int) -> str:
    """Many records are of the same second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def encode(record: Peers) -> bytes:
    """The fields of a record as `chain.seal` wants them: the inside of a JSON object."""
    fields = {name: getattr(record, name) for name in _NAMES[record.kind]}
    fields["begin"], fields["end"] = timestamp(record.begin), timestamp(record.end)
    return note(record.kind, **fields)


def note(kind: str, **fields: object) -> bytes:
    """The same for any kind of record, such as those that the ledger keeps about itself."""
    return _ENCODER.encode({"kind": kind, **fields})[1:-1].encode("ascii")


def _entry(recipient: ForwardPath) -> dict[str, object]:
    return {"path": recipient.path, "code": recipient.code, "text": recipient.text}


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, default=_entry)


_NAMES = {kind.kind: [field.name for field in attrs.fields(kind)] for kind in (Transaction, POP3Session)}
