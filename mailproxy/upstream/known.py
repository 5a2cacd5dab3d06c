"""
What a mail server has offered lately, so that the next client need not wait to hear it.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from mailproxy.destination.model import Destination

KNOWN_SECONDS = 600.0
"""How long it is believed; MAIL and RCPT are held against the list of their own connection all the same."""


class Known:
    """
    The last list, of one destination of one tenant.

    Args:
        clock: tells the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._destination: Destination | None = None
        self._capabilities: object = None
        self._until = 0.0

    def learn(self, destination: Destination, capabilities: object) -> object:
        """A login at the destination has just brought this, or its equal that was known before: that is given back."""
        self._destination = destination
        if self._capabilities != capabilities:
            self._capabilities = capabilities
        self._until = self._clock.seconds() + KNOWN_SECONDS
        return self._capabilities

    def look(self) -> object:
        """What it offers, as far as we know; None when we do not."""
        return self._capabilities if self._clock.seconds() < self._until else None

    def hold_against(self, destination: Destination) -> None:
        """This is the destination now: what another one has offered is forgotten."""
        if self._destination != destination:
            self.forget()

    def forget(self) -> None:
        """Nothing is known: the last login came to nothing."""
        self._destination = self._capabilities = None
        self._until = 0.0
