r"""
What one record of the ledger holds, and how it is written: JSON on one line, the names in a fixed order.

Words of a peer are text with two escapes of ours below those of JSON: a backslash is `\\`, and an octet that is no
UTF-8 is `\xNN`.  So every octet can be had back, and no reader of JSON stumbles over half a character.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from typing import Any, ClassVar

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
    text, values = _SHAPES[record.kind]
    return (text % tuple(map(_json, values(record)))).encode("ascii")


def note(kind: str, **fields: object) -> bytes:
    """The same for any kind of record, such as those that the ledger keeps about itself."""
    return json.dumps({"kind": kind, **fields}, separators=(",", ":"))[1:-1].encode("ascii")


def _json(value: Any) -> str:
    """The encoder of `json` costs four times as much for values that are hardly ever more than words and numbers."""
    if type(value) is str:
        return encode_basestring_ascii(value)
    if value is None:
        return "null"
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return f'"{timestamp(value)}"'
    if type(value) is tuple:
        return f"[{','.join(map(_entry, value))}]"
    assert type(value) is bool, "there are no others"
    return str(value).lower()


def _entry(recipient: ForwardPath) -> str:
    return f'{{"path":{_json(recipient.path)},"code":{_json(recipient.code)},"text":{_json(recipient.text)}}}'


def _shape(kind: type[Peers]) -> tuple[str, Callable[[Peers], tuple[Any, ...]]]:
    """A record with a place for each value, and what takes the values out of one."""
    names = [field.name for field in attrs.fields(kind)]
    return f'"kind":"{kind.kind}",' + ",".join(f'"{name}":%s' for name in names), attrgetter(*names)


_SHAPES = {kind.kind: _shape(kind) for kind in (Transaction, POP3Session)}
