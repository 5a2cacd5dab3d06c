"""
A login that was refused for good is not tried again at once: each try counts towards locking the account.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from mailproxy.backoff import LONGEST_PAUSE_SECONDS, Backoff
from mailproxy.destination.model import Login
from mailproxy.errors import RefusedLogin

FIRST_PAUSE_SECONDS = 30.0


class HoldOff:
    """
    Remembers the refused login of one destination of one tenant, and nothing as long as logins succeed.

    During a pause every other attempt with the very same destination and credentials is refused here, in the same
    words.  After it one attempt goes through to see; the others go on waiting for what it finds.  Another password,
    token or property is another login, which is not held off.

    Args:
        clock: tells the time.
        random: gives numbers from 0 to 1.
    """

    def __init__(self, clock: IReactorTime, random: Callable[[], float]) -> None:
        self._clock = clock
        self._backoff = Backoff(random)
        self._refused: tuple[Login, str] | None = None
        self._trying = False

    def enter(self, login: Login) -> None:
        """
        The login may be tried; `leave` must follow.

        Raises:
            RefusedLogin: it may not, yet.
        """
        if self._refused is None:
            return
        before, words = self._refused
        if before != login:
            self._forget()
        elif self._trying or self._clock.seconds() < self._backoff.until:
            raise RefusedLogin(f"not tried again so soon: {words}", temporary=False)
        else:
            self._trying = True

    def leave(self, login: Login, error: BaseException | None) -> None:
        """The attempt is over; None is success."""
        self._trying = False
        if isinstance(error, RefusedLogin) and not error.temporary:
            if self._refused is not None and self._refused[0] != login:
                self._backoff.reset()
            self._refused = login, str(error)
            self._backoff.fail(self._clock.seconds(), FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        elif error is None:
            self._forget()

    def _forget(self) -> None:
        self._refused = None
        self._backoff.reset()
