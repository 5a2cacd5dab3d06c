"""
What the sink has taken.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field

_MOST_COUNTED = 255


@define
class Ledger:
    """
    Figures, and how often each number of a mail was seen: an octet for each, so that millions can be kept.
    """

    handshakes: int = 0
    resumed: int = 0
    logins: int = 0
    mails: int = 0
    octets: int = 0
    doubled: int = 0
    strange: int = 0
    """Mails without a number."""

    _seen: bytearray = field(factory=bytearray)

    def take(self, number: int, octets: int) -> None:
        """A mail is here, all of it."""
        self.mails += 1
        self.octets += octets
        if not number:
            self.strange += 1
            return
        if number >= len(self._seen):
            self._seen.extend(bytes(max(number + 1 - len(self._seen), len(self._seen))))
        self.doubled += bool(self._seen[number])
        self._seen[number] = min(_MOST_COUNTED, self._seen[number] + 1)

    def missing(self, first: int, count: int) -> list[int]:
        """Those of so many numbers that were never seen."""
        return [number for number in range(first, first + count) if not self._has(number)]

    def _has(self, number: int) -> bool:
        return number < len(self._seen) and self._seen[number] > 0

    def report(self, first: int, count: int) -> dict[str, Any]:
        """For JSON: the figures, and the numbers that are missing."""
        return {
            "handshakes": self.handshakes,
            "resumed": self.resumed,
            "logins": self.logins,
            "mails": self.mails,
            "octets": self.octets,
            "doubled": self.doubled,
            "strange": self.strange,
            "missing": self.missing(first, count),
        }
