"""
How many sessions each worker has, where all of them can see it.

Each socket has one queue, and whoever is quickest takes the next client out of it.  That is the same worker again and
again, as long as none has much to do: idle sessions would all be in one.  So a worker that has more than another one
steps back for a moment, and takes the client only if nobody else did.

It is memory that is shared, not messages: the numbers are looked at before every client.  What is written there decides
nothing but who comes first, so that a worker gone wild can do no harm with it.
"""

from __future__ import annotations

import mmap
import os
import struct

MAX_SEATS = 64
"""As many workers as a configuration can ask for."""

_NUMBERS = struct.Struct(f"={MAX_SEATS}Q")
_NUMBER = struct.Struct("=Q")
_NOBODY = (1 << 64) - 1


class Board:
    """
    The numbers, by seat.

    Args:
        descriptor: of the memory; ours from now on.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _NUMBERS.size)

    @classmethod
    def new(cls) -> Board:
        """An empty one."""
        descriptor = os.memfd_create("mailproxy-workers")
        os.ftruncate(descriptor, _NUMBERS.size)
        board = cls(descriptor)
        for seat in range(MAX_SEATS):
            board.clear(seat)
        return board

    def write(self, seat: int, sessions: int) -> None:
        """The worker there has so many sessions."""
        _NUMBER.pack_into(self._memory, seat * _NUMBER.size, sessions)

    def clear(self, seat: int) -> None:
        """There is no worker."""
        self.write(seat, _NOBODY)

    def is_ahead(self, seat: int, sessions: int) -> bool:
        """The worker there has so many sessions; whether that is clearly more than another one has."""
        self.write(seat, sessions)
        least: int = min(_NUMBERS.unpack_from(self._memory))
        return sessions > least + 1 + least // 8

    def close(self) -> None:
        """Nobody looks at it any more."""
        self._memory.close()
        os.close(self.descriptor)
