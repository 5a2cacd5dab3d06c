"""
Octets in one direction between two transports, at the speed of the slower one.

A transport that is full asks its producer to pause.  Its producer is not the other transport itself but a
`Backpressure`, which holds the `Intake` of the other side: several may hold one intake for reasons of their own, and
losing one leg never closes the other behind the session's back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from mailproxy.deadline import Deadline


class Intake:
    """
    Reading from one transport, which goes on while nobody holds it.
    """

    __slots__ = ("__weakref__", "_holders", "_transport")

    def __init__(self, transport: IPushProducer) -> None:
        self._transport = transport
        self._holders: tuple[object, ...] = ()

    @property
    def held(self) -> bool:
        """Whether reading is paused."""
        return bool(self._holders)

    def hold(self, holder: object) -> None:
        """Reading pauses, if it has not; up to one socket read may still come in."""
        if not self._holders:
            self._transport.pauseProducing()
        if holder not in self._holders:
            self._holders += (holder,)

    def want(self, holder: object, *, wanted: bool) -> None:
        """Held or released, as it was perhaps already."""
        if wanted is (holder in self._holders):
            if wanted:
                self.release(holder)
            else:
                self.hold(holder)

    def release(self, holder: object) -> None:
        """Reading resumes once no holder is left."""
        if holder in self._holders:
            self._holders = tuple(each for each in self._holders if each != holder)
            if not self._holders:
                self._transport.resumeProducing()


@implementer(IPushProducer)
class Backpressure:
    """
    What a transport is given as its producer: while its buffer is full, the intakes that fill it are held.

    Args:
        clock: the reactor, or a test's.
        stall_seconds: a buffer that was not emptied for that long since it was full is as good as lost.
        stalled: called then.
        changed: called after each pause and resume.
    """

    __slots__ = ("__weakref__", "_changed", "_clock", "_deadline", "_intakes", "_stalled", "full", "stall_seconds")

    def __init__(
        self,
        clock: IReactorTime,
        *,
        stall_seconds: float,
        stalled: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._intakes: tuple[Intake, ...] = ()
        self._clock = clock
        self._deadline: Deadline | None = None
        """There is one while it is full; most never are."""
        self.stall_seconds = stall_seconds
        self._stalled = stalled
        self._changed = changed
        self.full = False

    def govern(self, intakes: Iterable[Intake]) -> None:
        """From now on these are the intakes that fill the transport."""
        before, self._intakes = self._intakes, tuple(intakes)
        if self.full:
            self._hold()
        for intake in before:
            if intake not in self._intakes:
                intake.release(self)

    def pauseProducing(self) -> None:
        """The transport's buffer is full; further writes into it do not move the deadline."""
        if self.full:
            return
        self.full = True
        self._deadline = Deadline(self._clock)
        self._deadline.set(self.stall_seconds, self._stalled)
        self._hold()
        self._changed()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again."""
        self._empty()
        self._changed()

    def stopProducing(self) -> None:
        """The transport is lost or not ours any more: it holds nobody back, and nobody will be called."""
        self._empty()
        self._intakes = ()
        self._stalled = self._changed = _nobody

    def _empty(self) -> None:
        self.full = False
        if self._deadline is not None:
            self._deadline.clear()
            self._deadline = None
        self._release()

    def _hold(self) -> None:
        for intake in self._intakes:
            intake.hold(self)

    def _release(self) -> None:
        for intake in self._intakes:
            intake.release(self)


def _nobody() -> None:
    """Whom a lost transport concerns: its owner hears of that by its `connectionLost`."""
