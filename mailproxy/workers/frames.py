"""
Messages between supervisor and workers, as octets.

    frame   = length text
    length  = 4 octets, the number of octets in the text, most significant first
    text    = a JSON object in UTF-8

A worker deals with strangers.  What comes from it is bounded and judged like the words of any peer.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, NoReturn

MAX_FRAME_OCTETS = 4 << 20
"""
More than any message has: the longest holds a configuration file, 1 MiB, in which JSON doubles newlines and quotes.
"""

_LENGTH = struct.Struct(">I")

Message = Mapping[str, Any]


def format_frame(message: Message) -> bytes:
    """
    The octets of a message.

    Raises:
        ValueError: it is too long.
    """
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > MAX_FRAME_OCTETS:
        raise ValueError(f"a message of {len(text)} octets is too long")
    return _LENGTH.pack(len(text)) + text


class Frames:
    """
    Takes messages out of a stream.

    Args:
        most: octets that a message may have.
    """

    def __init__(self, most: int = MAX_FRAME_OCTETS) -> None:
        self._most = most
        self._octets = bytearray()

    def feed(self, chunk: bytes) -> None:
        """The chunk is kept; the owner takes all messages before it brings another one."""
        self._octets += chunk

    def next_message(self) -> Message | None:
        """
        The next whole message; None when more octets are needed.

        Raises:
            ValueError: what comes next is none, or too long.  Nothing behind it can be read any more.
        """
        if len(self._octets) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._octets)
        if length > self._most:
            raise ValueError(f"a message of {length} octets is too long")
        end = _LENGTH.size + length
        if len(self._octets) < end:
            return None
        text = bytes(self._octets[_LENGTH.size : end])
        del self._octets[:end]
        return _parse(text)


def _parse(text: bytes) -> Message:
    try:
        message = json.loads(text.decode(), parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("a message is nested too deeply") from error
    except ValueError as error:
        raise ValueError("a message is no JSON") from error
    if not isinstance(message, dict):
        raise ValueError("a message is no object")  # noqa: TRY004 - a mistake in what came, not in our types
    return message


def _no_number(_: str) -> NoReturn:
    raise ValueError("not a number")
