"""
Answers that cost a round trip, kept for one tenant.

Theory of operation
-------------------

An entry passes through four times of life:

    fresh          handed out
    ageing         handed out; the first who asks starts the renewal, and does not wait for it
    expired        everybody waits for the renewal; if it fails for the moment, the old value is handed out
    beyond use     everybody waits for the renewal, and gets its error when it fails

There is at most one fetch in flight for a key.  Its waiters share what it brings, value or error; a waiter who gives up
takes nobody along.  After a failure there is a pause in which nothing is fetched: the old value is handed out as long
as it may be, else the error again.  A value that the service takes back (unknown, unusable) is forgotten at once.

No timer runs: an entry that nobody asks for is not renewed, and goes when its place is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.backoff import Backoff
from mailproxy.destination.pauses import Pauses, pauses_after
from mailproxy.errors import DestinationError, DestinationUnavailable, DestinationUnknown, DestinationUnusable
from mailproxy.observe.observation import CacheFigures

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_AGEING_FROM = 0.8  # of the lifetime
_JITTER = 0.1  # of the time until then, at most, so that what was fetched together is not renewed together

_log = Logger(namespace="mailproxy.destination")


@frozen
class Fetched(Generic[V]):
    """
    A value and how many seconds it is good for.

    With a lifetime of 0 or less it is handed to those who wait for it and not kept.  When it has expired and cannot
    be renewed for the moment, it is good for `stale_seconds` more.
    """

    value: V = field(repr=False)
    lifetime: float
    stale_seconds: float = 0.0


Fetch = Callable[[], Coroutine[Deferred[Any], Any, Fetched[V]]]
"""Brings a value; it has to end by itself."""


class Cache(Generic[K, V]):
    """
    Keeps values by key, for one tenant.

    Args:
        clock: tells the time.
        random: gives numbers from 0 to 1.
        observe: is told how every fetch went, also those that nobody waits for.
        lead_seconds: renewal starts this long before expiry at the latest, yet not in the first half of the lifetime.
        max_entries: the entry that was asked for longest ago gives way.
        pauses: how long nothing is fetched after an error.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Callable[[], float],
        *,
        observe: Callable[[K, DestinationError | None], None] = lambda _key, _error: None,
        lead_seconds: float = 0.0,
        max_entries: int = 64,
        pauses: Pauses = pauses_after,
    ) -> None:
        self._clock = clock
        self._random = random
        self._observe = observe
        self._lead = lead_seconds
        self._max_entries = max_entries
        self._pauses = pauses
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._flights: dict[Deferred[None], None] = {}
        self._hits = self._fetches = self._failures = 0

    def __len__(self) -> int:
        return len(self._entries)

    def figures(self) -> CacheFigures:
        """What is kept, and how often it was of use."""
        return CacheFigures(len(self._entries), self._hits, self._fetches, self._failures)

    async def get(self, key: K, fetch: Fetch[V]) -> V:
        """
        The value of the key, fetched if need be.

        Raises:
            DestinationError: it could not be fetched, now or a short while ago.
        """
        entry = self._entry(key)
        now = self._clock.seconds()
        may_fetch = entry.waiters is None and now >= entry.backoff.until
        if entry.held is not None and now < entry.held.expires_at:
            value = entry.held.value
            self._hits += 1
            if may_fetch and now >= entry.held.ageing_at:
                self._start(key, entry, fetch, [])
            return value
        if entry.waiters is None and not may_fetch:
            assert entry.error is not None, "there is no pause without an error"
            return entry.fall_back(now, entry.error)
        return await self._wait(key, entry, fetch)

    def peek(self, key: K) -> V | None:
        """The value that is held, however old it is."""
        entry = self._entries.get(key)
        return entry.held.value if entry is not None and entry.held is not None else None

    def drop(self, key: K, refused: Callable[[V], bool]) -> None:
        """The value of this key is forgotten if it is the one that was refused, not if another took its place."""
        entry = self._entries.get(key)
        if entry is not None and entry.held is not None and refused(entry.held.value):
            entry.held = None

    def close(self) -> None:
        """Every fetch is cancelled and everything is forgotten."""
        self._entries.clear()
        for flight in tuple(self._flights):
            flight.cancel()

    def _entry(self, key: K) -> _Entry[V]:
        """The entry of the key, the most recently used one from now on."""
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self._max_entries:
                self._make_room()
            entry = self._entries[key] = _Entry(Backoff(self._random))
        self._entries.move_to_end(key)
        return entry

    def _make_room(self) -> None:
        """The entry that nobody asked for for the longest time is gone; one in flight keeps its place."""
        oldest = next((key for key, entry in self._entries.items() if entry.waiters is None), None)
        if oldest is not None:
            del self._entries[oldest]

    async def _wait(self, key: K, entry: _Entry[V], fetch: Fetch[V]) -> V:
        """What the fetch in flight will bring; if there is none, it starts."""
        # Without a canceller: who gives up gets his CancelledError, the fetch goes on.
        waiter: Deferred[V] = Deferred()
        if entry.waiters is not None:
            entry.waiters.append(waiter)
        else:
            self._start(key, entry, fetch, [waiter])
        try:
            return await waiter
        except DestinationError as error:
            return entry.fall_back(self._clock.seconds(), error)

    def _start(self, key: K, entry: _Entry[V], fetch: Fetch[V], waiters: list[Deferred[V]]) -> None:
        """A fetch is on its way; these wait for it, and others may join them."""
        entry.waiters = waiters
        self._fetches += 1
        flight = Deferred.fromCoroutine(self._fly(key, entry, fetch, waiters))
        if not flight.called:
            self._flights[flight] = None
            flight.addBoth(lambda _: self._flights.pop(flight))

    async def _fly(self, key: K, entry: _Entry[V], fetch: Fetch[V], waiters: list[Deferred[V]]) -> None:
        """Ends when the fetch has ended and everybody knows; never fails."""
        try:
            fetched = await fetch()
        except DestinationError as error:
            self._failures += 1
            kept = self._keep_error(entry, error)
            self._observe(key, kept)
            self._tell(entry, waiters, lambda: Failure(again(kept)))
        except CancelledError:
            self._tell(entry, waiters, lambda: Failure(DestinationUnavailable("mailproxy is stopping")))
        except Exception:  # noqa: BLE001 - a mistake of ours, which those who wait for it have to learn
            failure = Failure()
            if not waiters:
                _log.failure("a renewal in the background failed", failure=failure)
            self._tell(entry, waiters, lambda: failure)
        else:
            self._keep(entry, fetched)
            self._observe(key, None)
            self._tell(entry, waiters, lambda: fetched.value)

    def _tell(self, entry: _Entry[V], waiters: list[Deferred[V]], result: Callable[[], V | Failure]) -> None:
        entry.waiters = None
        for waiter in waiters:
            waiter.callback(result())

    def _keep(self, entry: _Entry[V], fetched: Fetched[V]) -> None:
        entry.error = None
        entry.backoff.reset()
        entry.held = None
        if fetched.lifetime > 0:
            now = self._clock.seconds()
            ageing = max(min(_AGEING_FROM * fetched.lifetime, fetched.lifetime - self._lead), fetched.lifetime / 2)
            ageing *= 1.0 - _JITTER * self._random()
            expires_at = now + fetched.lifetime
            entry.held = _Held(fetched.value, now + ageing, expires_at, expires_at + fetched.stale_seconds)

    def _keep_error(self, entry: _Entry[V], error: DestinationError) -> DestinationError:
        entry.error = again(error)
        first, longest, at_least = self._pauses(error)
        entry.backoff.fail(self._clock.seconds(), first, longest, at_least)
        if isinstance(error, (DestinationUnknown, DestinationUnusable)):
            entry.held = None
        return entry.error


@frozen
class _Held(Generic[V]):
    """A value with the times of its life, in seconds of the clock."""

    value: V = field(repr=False)
    ageing_at: float
    expires_at: float
    useless_at: float


@define(eq=False)
class _Entry(Generic[V]):
    """All that is known for one key; `waiters` is None while nothing is in flight."""

    backoff: Backoff
    held: _Held[V] | None = None
    error: DestinationError | None = None
    waiters: list[Deferred[V]] | None = None

    def fall_back(self, now: float, error: DestinationError) -> V:
        """
        The old value, if the error is one that passes and the value may still be used.

        Raises:
            DestinationError: the error, if not.
        """
        if self.held is not None and error.temporary and now < self.held.useless_at:
            return self.held.value
        raise again(error) from None


E = TypeVar("E", bound=DestinationError)


def again(error: E) -> E:
    """The same error without traceback and cause, which would keep frames and what is in them alive."""
    fresh = error.__class__.__new__(error.__class__, *error.args)
    fresh.__dict__.update(error.__dict__)
    return fresh
