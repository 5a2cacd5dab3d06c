"""
How things are in all workers: pools, caches, what is left alone.

What was counted there, connections made and questions asked, outlives the worker.  It outlives the pool and the cache,
too, that a reload has put something new in the place of.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import evolve

from mailproxy.observe.observation import SourceFigures, State
from mailproxy.recipes import Identity
from mailproxy.workers.states import States, has_begun_anew, lasting, sources_together, together

_Place = tuple[str, str | None]


class Conditions:
    """
    Those of all listeners.
    """

    def __init__(self) -> None:
        self._alive: dict[int, States] = {}
        self._gone: dict[Identity, State] = {}
        self._gone_sources: dict[_Place, SourceFigures] = {}
        """Listeners share them, so that they are kept by themselves."""

    def note(self, worker: int, states: States) -> None:
        """A worker has told these; of any other listener it knows nothing any more."""
        before = self._alive.get(worker, {})
        self._bury(
            {who: before[who] for who, now in states.items() if who in before and has_begun_anew(before[who], now)}
        )
        self._alive[worker] = states

    def close(self, worker: int) -> None:
        """The worker is gone."""
        self._bury(self._alive.pop(worker, {}))

    def of(self, who: Identity) -> State | None:
        """How a listener is in all workers together; None where none has told."""
        known = [states[who] for states in self._alive.values() if who in states]
        state = together([*known, self._gone[who]] if who in self._gone else known)
        if state is None:
            return None
        place = who.service, who.tenant
        sources = [each for each in (state.source, self._gone_sources.get(place)) if each is not None]
        return evolve(state, source=sources_together(sources))

    def keep(self, present: Collection[Identity]) -> None:
        """What is known of others than these is forgotten."""
        places = {(who.service, who.tenant) for who in present}
        self._gone = {who: state for who, state in self._gone.items() if who in present}
        self._gone_sources = {place: each for place, each in self._gone_sources.items() if place in places}

    def _bury(self, states: States) -> None:
        sources: dict[_Place, SourceFigures] = {}
        for who, state in states.items():
            last = lasting(state)
            if last.source is not None:
                sources[who.service, who.tenant] = last.source
            pool = evolve(last, source=None)
            self._gone[who] = together([self._gone[who], pool]) or pool if who in self._gone else pool
        for place, source in sources.items():
            before = self._gone_sources.get(place)
            self._gone_sources[place] = sources_together([before, source] if before else [source]) or source
