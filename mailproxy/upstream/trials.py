"""
A login that may be wrong is tried by one attempt at a time: each refusal counts towards locking the account.

Theory of operation
-------------------

What a login is known to be decides who may try it:

    unknown    one attempt tries it, the others wait for what it finds
    good       everybody may
    refused    nobody may until the pause is over; then one attempt, and the others are refused here meanwhile

An attempt that finds out nothing about the login (it was given up, or the mail server refused it for the moment) lets
the next of those who wait try; any other failure would be theirs, too, so that they share it.  When a good login is
refused all of a sudden, attempts that have not shown it yet are ended.

A login is a destination with credentials; other credentials, and any other property, make another login.  Only those
with attempts under way and the one that was asked for last are remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mailproxy.destination.model import Login, Token
from mailproxy.errors import MailProxyError, RefusedLogin, RefusedSession
from mailproxy.upstream.holdoff import HoldOff, HoldOffSettings, copied, repeated

_PASSING = (RefusedLogin, RefusedSession)
"""Refusals of the moment, which may be over for who tries next; whoever it is would get any other failure."""


class Contender(Protocol):
    """An attempt with a login."""

    def refused(self, error: RefusedLogin) -> None:
        """The login was refused to another attempt; who has not shown it yet ends with this error."""


class Trials:
    """
    Says which attempt may try which login; for one destination of one tenant.

    Args:
        clock: tells the time.
        random: gives numbers from 0 to 1.
        settings: the pauses.
    """

    def __init__(self, clock: IReactorTime, random: Callable[[], float], settings: HoldOffSettings) -> None:
        self._clock = clock
        self._random = random
        self._settings = settings
        self._known: dict[Login, _Known] = {}

    @property
    def held_until(self) -> float | None:
        """When the longest pause of a refused login ends, or has ended; None where none was refused."""
        return max((until for known in self._known.values() if (until := known.held_until) is not None), default=None)

    async def enter(self, login: Login, who: Contender) -> None:
        """
        `who` may try the login; `leave` must follow.

        Raises:
            MailProxyError: it may not, or somebody else has just failed with it.
        """
        if login.credentials is not None:
            await self._about(_same(login)).enter(who)

    @property
    def held_off(self) -> bool:
        """Whether a login is left alone at the moment."""
        return any(about.held_off for about in self._known.values())

    def leave(self, login: Login, who: Contender, error: BaseException | None, *, late: bool = False) -> None:
        """The attempt is over; None is success.  `late` says that the mail server used up the time for it."""
        known = self._known.get(_same(login))
        if known is not None:
            known.leave(who, error, late=late)

    def _about(self, login: Login) -> _Known:
        known = self._known.get(login)
        if known is None:
            self._known = {each: about for each, about in self._known.items() if about.in_use}
            settings = self._settings
            hold_off = HoldOff(self._clock, self._random, settings.login_first_seconds, settings.login_longest_seconds)
            known = self._known[login] = _Known(hold_off)
        return known


class _Known:
    """What is known about one login, and who tries it."""

    def __init__(self, hold_off: HoldOff) -> None:
        self._hold_off = hold_off
        self._good = False
        self._probe: Contender | None = None
        self._trying: dict[Contender, None] = {}
        self._waiting: dict[Deferred[None], None] = {}
        self._waking = False

    @property
    def in_use(self) -> bool:
        """Whether an attempt tries it, or waits for one."""
        return bool(self._trying or self._waiting)

    @property
    def held_off(self) -> bool:
        """Whether nobody may try it, or but one to see."""
        return self._hold_off.active

    @property
    def held_until(self) -> float | None:
        """As `Trials.held_until`."""
        return self._hold_off.until

    async def enter(self, who: Contender) -> None:
        """As `Trials.enter`."""
        self._hold_off.enter(who)
        while self._probe is not None and not self._good:
            waiting: Deferred[None] = Deferred(self._waiting.pop)
            self._waiting[waiting] = None
            await waiting
            self._hold_off.enter(who)
        if not self._good:
            self._probe = who
        self._trying[who] = None

    def leave(self, who: Contender, error: BaseException | None, *, late: bool) -> None:
        """
        As `Trials.leave`.  Of somebody whom a refusal has been told already, only a success is news.
        """
        told = who not in self._trying
        self._trying.pop(who, None)
        probing = who is self._probe
        if probing:
            self._probe = None
        if error is None or _proves(error):
            self._good = True
            self._hold_off.clear()
        elif isinstance(error, RefusedLogin) and not error.temporary:
            if not told:
                self._refuse(who, error)
            return
        else:
            self._hold_off.leave(who)
            if probing and isinstance(error, MailProxyError) and (late or not isinstance(error, _PASSING)):
                self._fail_waiting(repeated(error))
        self._wake()

    def _refuse(self, who: Contender, error: RefusedLogin) -> None:
        """It is held off; nobody needs to try it any more."""
        self._good = False
        self._hold_off.fail(who, error)
        trying, self._trying = self._trying, {}
        error = repeated(error)
        for other in trying:
            other.refused(copied(error, str(error)))
        self._fail_waiting(error)

    def _fail_waiting(self, error: MailProxyError) -> None:
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            each.errback(copied(error, str(error)))

    def _wake(self) -> None:
        """Whoever may try now, does: one, or with a good login all.  Who fails at once does not begin another round."""
        if self._waking:
            return
        self._waking = True
        try:
            while self._waiting and (self._good or self._probe is None):
                each = next(iter(self._waiting))
                del self._waiting[each]
                each.callback(None)
        finally:
            self._waking = False


def _same(login: Login) -> Login:
    """The login, without what can differ though it is the same."""
    if isinstance(login.credentials, Token):
        return evolve(login, credentials=evolve(login.credentials, expires_at=0.0))
    return login


def _proves(error: BaseException) -> bool:
    """Whether it shows that the login was good all the same (RFC 2449 §8.1.2)."""
    return isinstance(error, RefusedLogin) and error.response_code == "IN-USE"
