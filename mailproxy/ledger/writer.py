"""
The file: records are put behind each other, never changed, and another file is begun when one is full or old.

Every call may block, and raises OSError where the system says no; whoever calls knows what follows.  A record is one
write.  One that was written in part, on a full disk, is completed by the next call that finds room: nothing is ever
taken back.  What a crash has left of a record stays as it is, and the next record says so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from attrs import evolve, frozen

from mailproxy.ledger import files
from mailproxy.ledger.chain import START, Link, seal
from mailproxy.ledger.record import note, timestamp

_MODE = 0o600


@frozen
class Place:
    """Where a ledger is, and when another file is begun: `max_octets`, `max_age_seconds`."""

    path: Path
    max_octets: int
    max_age_seconds: float


class Writer:
    """
    Args:
        place: where.
        now: seconds since 1970.
    """

    def __init__(self, place: Place, now: Callable[[], float]) -> None:
        self._place = place
        self._now = now
        self._fd = self._head = -1
        self._part = files.Part(place.path, 1)
        self._size = 0
        self._born = 0.0
        self._rest = b""
        """Of a record that is written in part."""
        self._retired: list[int] = []
        """Files that are full, and may not be on disk yet."""
        self.link = START
        """The last record, whole or not."""
        self.write = os.write
        """As the system's; a simulation has another disk."""

    @property
    def whole(self) -> bool:
        """Whether the last record is written to its end."""
        return not self._rest

    # From the beginning

    def open(self) -> None:
        """The chain goes on behind its last record, or begins."""
        if self._fd >= 0:
            return
        self._lock()
        parts = files.parts(self._place.path)
        try:
            self._go_on(parts) if parts else self._begin()
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        """Nobody else writes this ledger; the lock is the system's, and ends with the process."""
        self._head = _open(files.head_path(self._place.path), os.O_RDWR)
        try:
            fcntl.flock(self._head, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._close_head()
            raise OSError(error.errno, "another process writes this ledger") from error

    def _begin(self) -> None:
        if (head := self._read_head()) is not None:
            raise OSError(errno.ENOENT, f"all files of this ledger are gone; its last record was {head.seq}")
        self._next_file(START, note("genesis", time=timestamp(self._now())))

    def _go_on(self, parts: list[files.Part]) -> None:
        """An empty file was made just before a crash, or on a full disk: what is before it counts."""
        filled = [part for part in parts if part.path.stat().st_size]
        if not filled:
            self._begin()
            return
        part = filled[-1]
        tail = files.read_tail(part.path)
        if tail.record is None:
            raise OSError(errno.EINVAL, f"{part.path.name} does not end with a record; look at it, and move it away")
        self._take_up(part, tail)
        self._recover(tail)

    def _take_up(self, part: files.Part, tail: files.Tail) -> None:
        assert tail.record is not None
        self._fd = _open(part.path, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._fd).st_size
        self._part = part
        self._born = _seconds(files.time_of(part.path), self._now())
        self.link = tail.record.link

    def _recover(self, tail: files.Tail) -> None:
        """What a crash has left is neither mended nor hidden."""
        head = self._read_head() or self.link
        missing = max(0, head.seq - self.link.seq)
        if tail.ended and not (tail.torn or missing):
            return
        fields = note(
            "recovered",
            time=timestamp(self._now()),
            torn_octets=len(tail.torn),
            torn_sha256=files.digest(tail.torn) if tail.torn else None,
            missing_records=missing,
            missing_head=str(head) if missing else None,
        )
        self._put(fields, before=b"" if tail.ended else b"\n")

    # One record after the other

    def append(self, fields: bytes) -> None:
        """One more record; it is in the file unless OSError is raised, but maybe not to its end yet: `whole`."""
        self.open()
        self.flush()
        if self._full(len(fields)):
            self._rotate()
            self.flush()
        self._put(fields)

    def flush(self) -> None:
        """What was written in part is whole."""
        while self._rest:
            written = self.write(self._fd, self._rest)
            self._rest = self._rest[written:]
            self._size += written
            if not self._rest:
                self._note_head()

    def _full(self, octets: int) -> bool:
        return self._size + octets > self._place.max_octets or self._now() - self._born >= self._place.max_age_seconds

    def _put(self, fields: bytes, *, before: bytes = b"") -> None:
        line, link = seal(self.link, fields)
        raw = before + line + b"\n"
        written = self.write(self._fd, raw)
        self._size += written
        self.link = link
        self._rest = raw[written:]
        if not self._rest:
            self._note_head()

    def _rotate(self) -> None:
        """Another file, which begins with the end of this one."""
        before = self._part.path.name
        old = self._fd
        self._next_file(self.link, note("carried", time=timestamp(self._now()), previous=before))
        self._retired.append(old)

    def _next_file(self, link: Link, fields: bytes) -> None:
        """A file whose first record is this; what is used until now stays in use if there is no room for it."""
        part = evolve(self._part, first=link.seq + 1)
        line, following = seal(link, fields)
        fd = _open(part.path, os.O_WRONLY | os.O_APPEND, empty=True)
        try:
            written = self.write(fd, line + b"\n")
            _sync_folder(part.path.parent)
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._part, self.link = fd, part, following
        self._size, self._rest = written, (line + b"\n")[written:]
        self._born = self._now()
        if not self._rest:
            self._note_head()

    # What outlives a loss of power

    def sync_job(self) -> Callable[[], None]:
        """What puts all that was written on disk; to be done in a thread, whatever becomes of the files meanwhile."""
        retired, self._retired = self._retired, []
        descriptors = [*retired, os.dup(self._fd)] if self._fd >= 0 else retired

        def sync() -> None:
            try:
                for descriptor in descriptors:
                    os.fsync(descriptor)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

        return sync

    def forget_retired(self) -> None:
        """Files that are full are closed, on disk or not."""
        retired, self._retired = self._retired, []
        for descriptor in retired:
            os.close(descriptor)

    # The head

    def _note_head(self) -> None:
        """The record is written already, and must not be written again because of this; the next one catches up."""
        with suppress(OSError):
            os.pwrite(self._head, files.format_head(self.link), 0)

    def _read_head(self) -> Link | None:
        return files.parse_head(os.pread(self._head, 1024, 0))

    # The end

    def close(self) -> None:
        """Others may write this ledger."""
        self.forget_retired()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._close_head()

    def _close_head(self) -> None:
        if self._head >= 0:
            os.close(self._head)
            self._head = -1


def _open(path: Path, flags: int, *, empty: bool = False) -> int:
    """A file of ours and nobody else's, made where there is none: no link, no device."""
    fd = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, _MODE)
    state = os.fstat(fd)
    if not stat.S_ISREG(state.st_mode) or (empty and state.st_size):
        os.close(fd)
        raise OSError(errno.EEXIST, f"{path.name} is there, and is not what belongs there")
    return fd


def _sync_folder(path: Path) -> None:
    """That there is another file, outlives a loss of power as well."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _seconds(text: str | None, otherwise: float) -> float:
    """A time as records have it; `otherwise` for what is none."""
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        return otherwise
