"""
Connections that are only there to be in the way.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from attrs import define, field

_STEP_SECONDS = 0.05


class Nuisance(asyncio.Protocol):
    """One connection; it says `first`, and is silent unless told to say more."""

    def __init__(self, crowd: Crowd, first: bytes) -> None:
        self._crowd = crowd
        self._first = first
        self._heard = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        self._crowd.open.add(self)
        self._crowd.most = max(self._crowd.most, len(self._crowd.open))
        transport.write(self._first)

    def data_received(self, data: bytes) -> None:
        self._heard = (self._heard + data)[-200:]

    def connection_lost(self, reason: Exception | None) -> None:
        self._crowd.open.discard(self)
        self._crowd.last_words[_last_line(self._heard)] += 1


@define
class Crowd:
    """
    Many of them at one port, opened at so many a second.

    They say `first`, and then `more` every `every_seconds`, one octet of it after the other.
    """

    port: int
    first: bytes = b""
    more: bytes = b""
    every_seconds: float = 5.0
    a_second: float = 2000.0
    open: set[Nuisance] = field(factory=set)
    most: int = 0
    failed: int = 0
    last_words: Counter[str] = field(factory=Counter)

    async def come(self, count: int) -> None:
        """So many have connected."""
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / self.a_second - time.monotonic()))
            try:
                await loop.create_connection(lambda: Nuisance(self, self.first), "127.0.0.1", self.port)
            except OSError:
                self.failed += 1

    async def stay(self, seconds: float) -> None:
        """They talk until none is left, or the time is over."""
        until = time.monotonic() + seconds
        words = iter(self.more)
        while self.open and time.monotonic() < until:
            octet = next(words, None)
            for each in list(self.open):
                if octet is not None:
                    each.transport.write(bytes([octet]))
            pause = time.monotonic() + self.every_seconds
            while self.open and time.monotonic() < min(pause, until):  # noqa: ASYNC110 - the other end closes them
                await asyncio.sleep(_STEP_SECONDS)

    def go(self) -> None:
        """Those that are left have gone."""
        for each in list(self.open):
            each.transport.abort()


def _last_line(heard: bytes) -> str:
    lines = heard.splitlines()
    if not lines:
        return "(nothing)"
    return lines[-1][:60].decode(errors="replace") if lines[-1][:1] in b"12345+-" else "(TLS)"
