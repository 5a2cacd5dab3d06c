"""
What failed is left alone for a while, and then tried once to see.

A login that was refused counts towards locking the account each time, and a mail server that cannot be reached costs
time and sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from mailproxy.backoff import Backoff
from mailproxy.errors import MailProxyError

E = TypeVar("E", bound=MailProxyError)


@frozen
class HoldOffSettings:
    """
    The first and the longest pause, in seconds: after a login that was refused for good, and after a mail server was
    not reached.
    """

    login_first_seconds: float = 30.0
    login_longest_seconds: float = 600.0
    connect_first_seconds: float = 1.0
    connect_longest_seconds: float = 60.0


class HoldOff:
    """
    The last failure of something, and the pauses in which it is not tried again.

    While there is none everybody may try.  After one nobody may until its pause is over; then one goes through to see,
    and the others get the failure on until he knows more.  Pauses double from failure to failure.

    Args:
        clock: tells the time.
        random: gives numbers from 0 to 1.
        first: the first pause, in seconds.
        longest: the longest one.
    """

    def __init__(self, clock: IReactorTime, random: Callable[[], float], first: float, longest: float) -> None:
        self._clock = clock
        self._backoff = Backoff(random)
        self._first = first
        self._longest = longest
        self._error: MailProxyError | None = None
        self._probe: object | None = None

    def check(self) -> None:
        """
        It may be tried.

        Raises:
            MailProxyError: it may not, yet: the failure, said anew.
        """
        if self._error is not None and self.active:
            raise copied(self._error, str(self._error))

    def enter(self, who: object) -> None:
        """
        `who` tries it; he has to say how it went.

        Raises:
            MailProxyError: as `check`.
        """
        self.check()
        if self._error is not None:
            self._probe = who

    def fail(self, who: object, error: MailProxyError) -> None:
        """It failed.  Of those who began before the pause only the first makes a difference."""
        if self._error is None or who is self._probe:
            self._probe = None
            self._error = repeated(error)
            self._backoff.fail(self._clock.seconds(), self._first, self._longest)

    @property
    def until(self) -> float | None:
        """When its pause ends, or has ended; None where there was no failure."""
        return None if self._error is None else self._backoff.until

    def leave(self, who: object) -> None:
        """Nothing was found out: the next one may try."""
        if who is self._probe:
            self._probe = None

    @property
    def active(self) -> bool:
        """Whether it is left alone at the moment."""
        return self._error is not None and (self._probe is not None or self._clock.seconds() < self._backoff.until)

    def clear(self) -> None:
        """It worked, or it is about something else now: the next failure is a first one again."""
        self._error = self._probe = None
        self._backoff.reset()


def repeated(error: E) -> E:
    """The failure as it is told to those who did not try themselves, and so have seen nothing."""
    fresh = copied(error, f"not tried again so soon: {error}")
    fresh.seen = ()
    return fresh


def copied(error: E, text: str) -> E:
    """Such an error with another text, and without traceback and cause, which would keep what is in them alive."""
    fresh = error.__class__.__new__(error.__class__)
    fresh.__dict__.update(error.__dict__)
    fresh.args = (text,)
    return fresh
