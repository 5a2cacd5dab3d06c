"""
Connections to mail servers that say goodbye in the background, when nobody else thinks of them any more.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred, succeed


class Leaving(Protocol):
    """A connection on its way out."""

    def abort(self) -> None:
        """It ends at once."""


class Farewells:
    """Knows them, so that the process does not end in the middle of a word."""

    def __init__(self) -> None:
        self._leaving: dict[Leaving, None] = {}
        self._all_gone: Deferred[None] | None = None

    def began(self, stream: Leaving) -> None:
        """It says goodbye now; `ended` follows."""
        self._leaving[stream] = None

    def ended(self, stream: Leaving) -> None:
        """It is gone."""
        self._leaving.pop(stream, None)
        if not self._leaving and self._all_gone is not None:
            self._all_gone.callback(None)
            self._all_gone = None

    def all_gone(self) -> Deferred[None]:
        """Fires when there is none any more."""
        if not self._leaving:
            return succeed(None)
        self._all_gone = Deferred()
        return self._all_gone

    def abort(self) -> None:
        """There was time enough."""
        for stream in list(self._leaving):
            stream.abort()
