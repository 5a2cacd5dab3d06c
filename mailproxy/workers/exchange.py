"""
All workers from one configuration to the next: every one of them, or none.

What can fail comes first.  Sockets are opened here, and each worker prepares itself; only when nobody has met a
problem, everybody changes over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailproxy.config import Config
from mailproxy.recipes import Order
from mailproxy.reload import Difference, those_in_the_way
from mailproxy.workers.crew import Crew
from mailproxy.workers.held import Held
from mailproxy.workers.mate import Answer, Mate
from mailproxy.workers.places import place_of

_log = Logger(namespace="mailproxy.listeners")


def hand_over(held: Held, mate: Mate) -> None:
    """The worker has the socket."""
    mate.tell({"do": "socket", "place": place_of(held.order), "outlives": held.outlives}, held.descriptor)


class Exchange:
    """
    Carries a difference out: `prepare`, and if that found no problem, `commit`.

    Args:
        difference: between the sockets that are held and those that are wanted.
        hold: makes one that does not listen yet.
        crew: the workers.
    """

    def __init__(self, difference: Difference[Held], hold: Callable[[Order], Held], crew: Crew) -> None:
        self._difference = difference
        self._crew = crew
        self._new = [hold(order) for order in difference.new]
        self._left: list[Held] = []
        """What was in the way of something new, and is closed."""
        self._told = False

    async def prepare(self, config: Config) -> list[str]:
        """Everybody could change over; else why not, and then all is as before."""
        try:
            problems = await self._open() or await self._tell(config)
        except BaseException:
            await self._undo()
            raise
        if problems:
            await self._undo()
        return problems

    async def commit(self) -> None:
        """Everybody has changed over; the last one of them closes the sockets that are gone."""
        for held in self._difference.gone:
            await held.close()
        for held, order in (*self._difference.kept, *self._difference.changed):
            held.order = order
        for answer in [self._commit(mate) for mate in self._crew.serving]:
            await answer

    def listeners(self, wanted: Sequence[Order]) -> list[Held]:
        """The sockets that are held then, in the order in which they are wanted."""
        kept = [held for held, _ in (*self._difference.kept, *self._difference.changed)]
        by_place = {held.order.place: held for held in (*kept, *self._new)}
        return [by_place[order.place] for order in wanted]

    def _commit(self, mate: Mate) -> Deferred[None]:
        """A worker that meets a problem now, by a mistake of ours, makes way for another one."""

        def done(problems: Answer) -> None:
            if problems:
                mate.tell({"do": "drain"})

        return mate.ask({"do": "commit"}).addCallback(done)

    async def _open(self) -> list[str]:
        """A socket that one to be gone has in its way is opened last, and only then that one closes everywhere."""
        in_the_way = those_in_the_way(self._new, self._difference.gone)
        problems = [problem for each in self._new if each not in in_the_way and (problem := each.listen())]
        closing = list(dict.fromkeys(other for others in in_the_way.values() for other in others))
        if problems or not closing:
            return problems
        self._told, self._left = True, closing
        problems = await self._crew.ask({"do": "leave", "places": [place_of(held.order) for held in closing]})
        for held in closing:
            await held.close()
        return problems or [problem for each in in_the_way if (problem := each.listen())]

    async def _tell(self, config: Config) -> list[str]:
        self._told = True
        for mate in self._crew.serving:
            for held in self._new:
                hand_over(held, mate)
        return await self._crew.ask({"do": "prepare", "source": config.source.decode()})

    async def _undo(self) -> None:
        for held in self._left:
            problem = held.listen()
            if problem is not None:
                _log.critical("{problem}", problem=problem)
                continue
            for mate in self._crew.serving:
                hand_over(held, mate)
        if self._told:
            for problem in await self._crew.ask({"do": "undo"}):
                _log.critical("{problem}", problem=problem)
        for held in self._new:
            await held.close()
