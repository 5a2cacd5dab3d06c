"""
The deadline of whatever a session waits for.  There is always one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime

from mailproxy.deadline import Deadline
from mailproxy.downstream.allowance import Allowance
from mailproxy.session.actions import Waiting

UPSTREAM_WAITS = frozenset(
    {
        Waiting.UPSTREAM_REPLY,
        Waiting.UPSTREAM_DATA_REPLY,
        Waiting.UPSTREAM_FINAL_REPLY,
        Waiting.UPSTREAM_RSET_REPLY,
        Waiting.UPSTREAM_QUIT_REPLY,
        Waiting.UPSTREAM_BODY,
    }
)
"""The waits for octets of the mail server."""

NOBODY_SECONDS = 60.0
"""
For a wait that has no timeout of its own.  A session that waits for nobody and does not end is a mistake of ours, and
this is how long it may last.
"""

_CONTENT = frozenset({Waiting.DOWNSTREAM_CONTENT, Waiting.UPSTREAM_BODY})
"""Waits that octets put off, by as much as they are worth."""

_BOUNDED_ELSEWHERE = frozenset({Waiting.UPSTREAM_LOGIN})

_NEXT_TO_NOTHING = 0.001
"""Seconds that are not worth another timer."""

_NOTHING = Allowance(0, 0, 0)
"""What there is while no content is on its way: nobody earns or spends it."""


class Waits:
    """
    Watches over the current wait.

    Content is one wait from its first octet to its last.  Its deadline moves with each chunk, but the timer does not:
    it is set anew, if need be, when it fires.

    Args:
        clock: the reactor, or a test's.
        timeouts: seconds for each wait; may be replaced, which counts from the next wait on.
        rate: octets per second that content has to have on average, 0 for none.
        expired: called when the current wait has lasted for too long.
    """

    __slots__ = (
        "__weakref__",
        "_allowance",
        "_armed",
        "_clock",
        "_deadline",
        "_expired",
        "_flowing",
        "_held",
        "_rate",
        "timeouts",
    )

    def __init__(
        self, clock: IReactorTime, timeouts: Mapping[Waiting, float], rate: float, expired: Callable[[], None]
    ) -> None:
        self.timeouts = timeouts
        self._clock = clock
        self._rate = rate
        self._expired = expired
        self._deadline = Deadline(clock)
        self._armed: tuple[int, bool] | None = None
        self._flowing: Waiting | None = None
        """The content that is on its way, if there is any; then there is an allowance."""
        self._allowance = _NOTHING
        self._held = False

    def heard(self, content: Waiting, octets: int) -> None:
        """Octets came that may be this content."""
        if content is self._flowing:
            self._allowance.earn(octets, self._clock.seconds())

    def look(self, waiting: Waiting, serial: int, *, held: bool) -> None:
        """
        This is the current wait, which `serial` tells from others of its kind.

        `held` says that the octets it waits for are held back by us: then its time stands still.
        """
        if waiting is self._flowing:
            if held is not self._held:
                self._hold(held=held)
        elif (serial, held) != self._armed:
            self._armed = (serial, held)
            self._begin(waiting, held=held)

    def stop(self) -> None:
        """Nothing is waited for any more, and nobody will be called."""
        self.pause()
        self._expired = _nobody

    def pause(self) -> None:
        """Somebody else watches over the wait, until the next `look`."""
        self._deadline.clear()
        self._armed = self._flowing = None

    def _begin(self, waiting: Waiting, *, held: bool) -> None:
        seconds = self.timeouts.get(waiting, NOBODY_SECONDS)
        self._flowing = waiting if waiting in _CONTENT else None
        if self._flowing:
            self._allowance = Allowance(seconds, self._rate, self._clock.seconds())
            self._hold(held=held)
        elif held or waiting in _BOUNDED_ELSEWHERE:
            self._deadline.rest()
        else:
            self._deadline.set(seconds, self._expired)

    def _hold(self, *, held: bool) -> None:
        now = self._clock.seconds()
        self._held = held
        if held:
            self._allowance.hold(now)
            self._deadline.rest()
        else:
            self._allowance.go_on(now)
            self._deadline.set(max(0.0, self._allowance.left(now)), self._look_again)

    def _look_again(self) -> None:
        left = self._allowance.left(self._clock.seconds())
        if left > _NEXT_TO_NOTHING:
            self._deadline.set(left, self._look_again)
        else:
            self._expired()


def _nobody() -> None:
    """Whom the end of a wait concerns that nobody waits for."""
