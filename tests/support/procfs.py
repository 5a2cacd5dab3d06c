"""
What the kernel says of a process.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from attrs import frozen


@frozen
class Memory:
    """Octets that processes hold: what each has, and what is each one's share of what they share."""

    resident: int = 0
    proportional: int = 0

    @classmethod
    def parse(cls, rollup: str) -> Memory:
        """What `smaps_rollup` says."""
        fields = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB$", rollup, re.MULTILINE))
        return cls(*(int(fields[name]) * 1024 for name in ("Rss", "Pss")))

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.resident + other.resident, self.proportional + other.proportional)

    def __sub__(self, other: Memory) -> Memory:
        return Memory(self.resident - other.resident, self.proportional - other.proportional)

    def __or__(self, other: Memory) -> Memory:
        """The larger of each."""
        return Memory(max(self.resident, other.resident), max(self.proportional, other.proportional))


@frozen
class Stat:
    """Whose child a process is, and the time of the processor that it and the children it has reaped have used."""

    parent: int
    ticks: int

    @classmethod
    def parse(cls, stat: str) -> Stat:
        """What `stat` says; the name in it may hold anything, parentheses and spaces too."""
        fields = stat.rpartition(")")[2].split()
        return cls(int(fields[1]), sum(map(int, fields[11:15])))


def family(pid: int) -> list[int]:
    """The process, its children, and theirs."""
    children = defaultdict(list)
    for number, stat in _stats().items():
        children[stat.parent].append(number)
    found = [pid]
    for each in found:
        found += children[each]
    return found


def cpu_seconds(pid: int) -> float:
    """The time of the processor that the process and those below it have used."""
    stats = _stats()
    return sum(stats[each].ticks for each in family(pid) if each in stats) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> Memory:
    """What the process and those below it hold now."""
    total = Memory()
    for each in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            total += Memory.parse(Path(f"/proc/{each}/smaps_rollup").read_text())
    return total


def _stats() -> dict[int, Stat]:
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found[int(path.name)] = Stat.parse((path / "stat").read_text())
    return found


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
