"""
Small files that others write and change while we run.
"""

from __future__ import annotations

import stat
import time
from pathlib import Path

MAX_FILE_OCTETS = 256 * 1024

_SETTLED_NANOSECONDS = 2_000_000_000
"""Two changes closer than that may leave the same times behind: file systems count in steps of up to two seconds."""

Stamp = tuple[int, ...]
"""Changes when the file does, or when a link leads to another one."""


def stamp(path: Path) -> Stamp:
    """
    What tells one state of a file, or of a directory's own list, from another.

    Raises:
        OSError: it cannot be looked at.
    """
    status = path.stat()
    return status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def stamp_if_settled(path: Path) -> Stamp | None:
    """
    The stamp of a file that was last changed long enough ago for its times to tell; None for any other, or where there
    is none.
    """
    try:
        found = stamp(path)
    except (OSError, ValueError):
        return None
    return found if time.time_ns() - max(found[-2:]) > _SETTLED_NANOSECONDS else None


def read_small(path: Path, most: int = MAX_FILE_OCTETS) -> bytes:
    """
    The content of a file of up to `most` octets.

    Raises:
        ValueError: it cannot be read, is no file (a pipe would block us), or is too long.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("is no file")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise ValueError(f"is longer than {most} octets")
    return content
