"""
What is made of files, and made again when they change: certificates, keys, authorities.

Nobody watches them: they are looked at when somebody wants what was made of them, and at most once in
`LOOK_SECONDS`, so that a flood of connections costs no flood of system calls.  A link that leads to another file, as
in a mounted Secret where `..data` is swapped, is a change like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from twisted.logger import Logger

from mailproxy.destination.files import Stamp, stamp
from mailproxy.errors import ConfigError

LOOK_SECONDS = 1.0

T = TypeVar("T")

_log = Logger(namespace="mailproxy.tls")


class MadeOfFiles(Generic[T]):
    """
    A value made of files.  Once they change it is made anew as a whole, and the one before stays where that fails.

    Args:
        paths: all the files.
        make: makes it; raises a ConfigError that holds no secret.
        seconds: the time; it may jump.

    Raises:
        ConfigError: from `make`.
    """

    def __init__(self, paths: Iterable[Path], make: Callable[[], T], seconds: Callable[[], float]) -> None:
        self._paths = tuple(dict.fromkeys(paths))
        self._make = make
        self._seconds = seconds
        # Looked at before they are read: what changes in between is seen the next time.
        self._looked_at = seconds()
        self._stamps = self._look()
        self._value = make()

    def current(self) -> T:
        """The value for the files as they are, or as they last could be used; that is logged once for each change."""
        now = self._seconds()
        if abs(now - self._looked_at) >= LOOK_SECONDS:
            self._looked_at = now
            stamps = self._look()
            if stamps != self._stamps:
                self._stamps = stamps
                self._make_again()
        return self._value

    def _look(self) -> tuple[Stamp | None, ...]:
        return tuple(_stamp(path) for path in self._paths)

    def _make_again(self) -> None:
        try:
            self._value = self._make()
        except ConfigError as error:
            _log.warn(
                "files have changed and cannot be used, those before stay in use: {reason}",
                reason="; ".join(error.problems),
            )
            return
        _log.info("files have changed and are in use: {paths}", paths=", ".join(map(str, self._paths)))


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp(path)
    except OSError:
        return None
