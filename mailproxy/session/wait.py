"""
Whose turn it is, and since when.
"""

from __future__ import annotations

from mailproxy.session.actions import Waiting


class Wait:
    """
    The current wait of a session; `serial` is another number with each wait, and the same as long as one lasts.
    """

    __slots__ = ("_about", "serial", "waiting")

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self.serial = 0
        self._about: object = None

    def note(self, waiting: Waiting, about: object) -> None:
        """It is the wait for this now; it is another one than before if whose turn it is, or `about`, differs."""
        if (waiting, about) != (self.waiting, self._about):
            self.waiting, self._about = waiting, about
            self.serial += 1
