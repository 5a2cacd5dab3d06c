"""
Which processes have the other ends of connections.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path


def owners_of(connections: Sequence[socket.socket], processes: Iterable[int]) -> list[int]:
    """Those of these processes that have accepted the connections, which are of IPv4 and on this machine."""
    inodes = _inodes()
    owners = {inode: pid for pid in processes for inode in _sockets_of(pid)}
    return [owners[inodes[each.getpeername()[1], each.getsockname()[1]]] for each in connections]


def _inodes() -> dict[tuple[int, int], str]:
    """The number of each connection that is open, by its two ports."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_, inode = line.split()[:10]
        if state == "01":
            found[int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)] = inode
    return found


def _sockets_of(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(each.readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]
