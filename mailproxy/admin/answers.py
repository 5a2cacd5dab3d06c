"""
Answers that are given to everybody who asks within a moment.

To make one may take a while, and others are served in between.  However many ask for the same, it is made once at a
time; and of one that takes long, no more than about a tenth of the process's time goes into it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from attrs import field, frozen
from twisted.internet.defer import Deferred

SHARE = 10
"""An answer that took some time to make is given again for so many times as long: however many ask, no more than about
that part of the process's time goes into it."""

QUICK_SECONDS = 0.1
"""An answer that took no longer is never given again: who asks hears what is so now."""

MOST_KEEP_SECONDS = 1.0
"""No answer that was made is given later."""


@frozen
class Answer:
    """An answer; for HEAD its body is not sent."""

    code: int
    kind: str
    body: bytes
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class _Kept:
    """An answer that may be given again."""

    answer: Answer
    made: float
    until: float


class Answers:
    """
    Those that were made a moment ago, or are being made.

    Args:
        seconds: the time.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._kept: dict[str, _Kept] = {}
        self._waiting: dict[str, list[Deferred[Answer]]] = {}

    async def get(self, key: str, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """
        The answer for all who ask for `key`.

        Args:
            key: one of a few.
            make: makes it; what it raises is raised for all who wait.
        """
        begun = self._seconds()
        kept = self._kept.get(key)
        if kept is not None and kept.made <= begun < kept.until:
            return kept.answer
        if key in self._waiting:
            waiting: Deferred[Answer] = Deferred()
            self._waiting[key].append(waiting)
            return await waiting
        return await self._make(key, make, begun)

    async def _make(self, key: str, make: Callable[[], Awaitable[Answer]], begun: float) -> Answer:
        self._waiting[key] = []
        try:
            answer = await make()
        except BaseException as error:
            for waiting in self._waiting.pop(key):
                waiting.errback(error)
            raise
        made = self._seconds()
        if made - begun > QUICK_SECONDS:
            self._kept[key] = _Kept(answer, made, made + min((made - begun) * SHARE, MOST_KEEP_SECONDS))
        for waiting in self._waiting.pop(key):
            waiting.callback(answer)
        return answer
