"""
Network namespaces: each site has its own, joined to the proxy's by a pair of virtual Ethernet devices.

What iptables would do is done by neighbour entries and routes, so that `ip` and `ss` are all it needs:

- Silence (DROP): a wrong hardware address for the other end.  Packets of that direction are lost, nothing comes back.
- Refusal (REJECT): an unreachable route.  New connections fail at once.
- Reset: the sockets of the established connections are destroyed on the site's side, which sends a RST.
"""

from __future__ import annotations

import asyncio
import subprocess
from enum import Enum
from pathlib import Path

from attrs import define

from tests.chaos.plan import Place

_NOBODY = "02:00:00:00:00:99"


class Direction(Enum):
    """Which packets are lost."""

    BOTH = "both directions"
    TO_SITE = "towards the mail server"
    FROM_SITE = "from the mail server"


@define
class Wire:
    """The connection to one site; `holder` is a process that keeps the site's namespace."""

    place: Place
    holder: subprocess.Popen[bytes]

    @classmethod
    def lay(cls, place: Place) -> Wire:
        """A new namespace with an address in it, which we reach."""
        holder = subprocess.Popen(["unshare", "--net", "--", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdin.write(b"ready\n")
        holder.stdin.flush()
        holder.stdout.readline()  # `cat` runs, and with it the namespace is there
        wire = cls(place, holder)
        number = place.number
        _run("ip", "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _run("ip", "address", "add", f"{place.our_address}/30", "dev", f"to{number}")
        _run("ip", "link", "set", f"to{number}", "up")
        _run(*wire.inside, "ip", "link", "set", "lo", "up")
        _run(*wire.inside, "ip", "address", "add", f"{place.address}/30", "dev", "eth0")
        _run(*wire.inside, "ip", "link", "set", "eth0", "up")
        return wire

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command has to begin with to run at the site."""
        return ("nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--")

    @property
    def namespace(self) -> int:
        """The number of the site's namespace."""
        return Path(f"/proc/{self.holder.pid}/ns/net").stat().st_ino

    async def silence(self, direction: Direction) -> None:
        """Packets are lost."""
        if direction is not Direction.FROM_SITE:
            await _ip("neighbour", "replace", self.place.address, "lladdr", _NOBODY, "dev", self._device)
        if direction is not Direction.TO_SITE:
            await _ip("neighbour", "replace", self.place.our_address, "lladdr", _NOBODY, "dev", "eth0", at=self.inside)

    async def refuse(self) -> None:
        """New connections fail at once."""
        await _ip("route", "replace", "unreachable", f"{self.place.address}/32")

    async def reset(self) -> None:
        """Every connection between proxy and site has got a RST."""
        await _execute(*self.inside, "ss", "--no-header", "--kill", "dst", self.place.our_address)

    async def heal(self) -> None:
        """All is well again; harmless when it is already."""
        await _ip("neighbour", "delete", self.place.address, "dev", self._device, may_fail=True)
        await _ip("neighbour", "delete", self.place.our_address, "dev", "eth0", at=self.inside, may_fail=True)
        await _ip("route", "delete", "unreachable", f"{self.place.address}/32", may_fail=True)

    @property
    def _device(self) -> str:
        return f"to{self.place.number}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=10)


async def _ip(*words: str, at: tuple[str, ...] = (), may_fail: bool = False) -> None:
    await _execute(*at, "ip", *words, may_fail=may_fail)


async def _execute(*command: str, may_fail: bool = False) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, words = await process.communicate()
    assert may_fail or process.returncode == 0, f"{' '.join(command)}: {words.decode()}"
