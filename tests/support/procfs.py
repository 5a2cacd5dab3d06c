"""
What the kernel says of a process.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path


def descriptors(pid: int) -> list[str]:
    """Its open files by name, and a `socket` for each of its sockets."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed while we look
            found.append(str(link.readlink()).partition(":[")[0])
    return sorted(found)


def resident(pid: int) -> int:
    """Octets of memory that it holds now."""
    return _status(pid, "VmRSS")


def peak(pid: int) -> int:
    """The most octets that it has held since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """The peak is what it holds now.  Needs the process's own user, or root."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found, field
    return int(found[1]) * 1024
