"""
Clients that keep coming.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter

from attrs import define, field

PATIENCE_SECONDS = 30.0


@define
class Crowd:
    """Clients that come one after the other, each for a greeting; `answers` counts what they hear."""

    family: int
    address: object
    size: int = 4
    answers: Counter[str] = field(factory=Counter)
    _over: threading.Event = field(factory=threading.Event)
    _threads: list[threading.Thread] = field(factory=list)

    def begin(self) -> None:
        """They come."""
        self._threads = [threading.Thread(target=self._come) for _ in range(self.size)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """They have all been answered."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _come(self) -> None:
        while not self._over.is_set():
            self.answers[self._visit()] += 1
            self._over.wait(0.005)

    def _visit(self) -> str:
        try:
            with socket.socket(self.family) as client:
                client.settimeout(PATIENCE_SECONDS)
                client.connect(self.address)
                words = client.recv(1000)
                client.sendall(b"QUIT\r\n")
                return words[:4].decode() or "closed without a word"
        except OSError as error:
            return str(error)
