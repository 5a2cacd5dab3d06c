"""
The configuration file while we run: what changes in it is put into effect, or else told.

What counts is the content of the file, looked at every few seconds.  Whoever waits for events of one file hears nothing
where an editor puts another in its place, or where Kubernetes exchanges the directory behind a link.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.config import Config, examine
from mailproxy.config.source import MAX_FILE_OCTETS
from mailproxy.deadline import Deadline

_log = Logger(namespace="mailproxy.process")

RETRY_SECONDS = 60.0
"""How long a content that cannot be used is left alone at least."""


class Reloads(Protocol):
    """What can change over to another configuration while it runs."""

    config: Config
    complaints: Sequence[str]

    def reload(self, config: Config) -> Deferred[list[str]]:
        """The configuration is in use, or else fires with its problems."""


def fingerprint(path: Path) -> bytes | None:
    """What tells one content of a file from another; None where there is none to be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return hashlib.sha256(file.read(MAX_FILE_OCTETS + 1)).digest()
    except OSError:
        return None


class Watch:
    """
    Keeps a service at what its configuration file says.

    A content that cannot be used is told once, and tried again now and then: what it lacks may be another file, or a
    port that is taken.

    Args:
        clock: says when to look.
        service: to be kept up to date.
        seen: the fingerprint of the file when the service's configuration was loaded; None for a file that cannot be
            looked at a second time, like a pipe.
        loading: called before a configuration is loaded, other than for another try.
        loaded: called behind it, with whether the service is up to date now.
    """

    def __init__(
        self,
        clock: IReactorTime,
        service: Reloads,
        seen: bytes | None,
        *,
        loading: Callable[[], object],
        loaded: Callable[[bool], object],
    ) -> None:
        self._clock = clock
        self._service = service
        self._seen = seen
        self._next = Deadline(clock)
        self._loading = loading
        self._loaded = loaded
        self._watchable = seen is not None
        self._lacking = False
        self._problems: list[str] = []
        self._next_try = 0.0
        self._running = self._busy = self._again = False

    def start(self) -> None:
        """The file is looked at from now on."""
        self._running = True
        self._look_later()

    def stop(self) -> None:
        """Nothing is loaded any more."""
        self._running = False
        self._next.clear()

    def load(self) -> None:
        """The file is loaded, whether or not it has changed, with all files that it names."""
        self._again = self._busy
        if self._running and not self._busy:
            self._problems = []
            self._load(fingerprint(self._path), tell=True)

    @property
    def _path(self) -> Path:
        return self._service.config.path

    def _look_later(self) -> None:
        seconds = self._service.config.watch_seconds
        if self._running and self._watchable and seconds:
            self._next.set(seconds, self._look)

    def _look(self) -> None:
        seen = fingerprint(self._path)
        if seen is None and not self._lacking:
            _log.warn("configuration {path} cannot be read, the one before stays in use", path=str(self._path))
        self._lacking = seen is None
        due = self._problems and self._clock.seconds() >= self._next_try
        if seen is not None and (seen != self._seen or due):
            self._load(seen, tell=seen != self._seen)
        else:
            self._look_later()

    def _load(self, seen: bytes | None, *, tell: bool) -> None:
        self._next.clear()
        self._busy = True
        self._seen = seen
        if tell:
            self._loading()
        trying = Deferred.fromCoroutine(self._try())
        trying.addCallbacks(self._tried, self._crashed, callbackKeywords={"tell": tell}).addBoth(self._over)

    async def _try(self) -> list[str]:
        examined = examine(self._path)
        return list(examined.problems) or await self._service.reload(examined.config)

    def _tried(self, problems: list[str], *, tell: bool) -> None:
        if problems != self._problems:
            for problem in problems:
                _log.error("not loaded, the configuration before stays in use: {problem}", problem=problem)
        self._problems = self._service.complaints = problems
        self._next_try = self._clock.seconds() + RETRY_SECONDS
        if tell or not problems:
            self._loaded(not problems)

    def _crashed(self, failure: Failure) -> None:
        """A mistake of ours: another try would end in the same way."""
        _log.failure("internal error while a configuration was loaded", failure)
        self._problems = []
        self._loaded(False)

    def _over(self, _: None) -> None:
        self._busy = False
        self._look_later()
        if self._again:
            self.load()
