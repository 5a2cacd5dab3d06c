"""
A link with a delay: `python -m tests.bench.relay LISTEN TARGET CONTROL SECONDS`, where octets take so long either way.

A connection costs a round trip, too, before its first octet.  Who says a line to CONTROL gets one of JSON: how many
connections there were, and how many flights went up.  What is sent up without anything having come down since belongs
to one flight, and each flight is a round trip for who waits for the answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

from attrs import define, frozen

_CHUNK_OCTETS = 64 << 10


@define
class Counted:
    """What has gone over the link."""

    connections: int = 0
    flights: int = 0


@define
class Turns:
    """Whose turn it is on one connection."""

    counted: Counted
    _upwards: bool = False

    def up(self) -> None:
        """Octets for the mail server."""
        self.counted.flights += not self._upwards
        self._upwards = True

    def down(self) -> None:
        """Octets from it."""
        self._upwards = False


@frozen
class Link:
    """Between the proxy and one port."""

    target: int
    seconds: float
    counted: Counted

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self.counted.connections += 1
        turns = Turns(self.counted)
        await asyncio.sleep(2 * self.seconds)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(
            self._delay(reader, server_writer, turns.up), self._delay(server_reader, writer, turns.down)
        )

    async def _delay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: Callable[[], None]
    ) -> None:
        """Octets keep their order, and those that came while others were under way are not held up by them."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(_deliver(waiting.get, writer))
        chunk = b"-"
        while chunk:
            try:
                chunk = await reader.read(_CHUNK_OCTETS)
            except ConnectionError:
                chunk = b""
            if chunk:
                sent()
            waiting.put_nowait((loop.time() + self.seconds, chunk))
        await delivery


async def _deliver(take: Callable[[], Awaitable[tuple[float, bytes]]], writer: asyncio.StreamWriter) -> None:
    """Each chunk at its time, and the end."""
    while True:
        due, chunk = await take()
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        if not chunk:
            writer.close()
            return
        writer.write(chunk)


async def main(listen: int, target: int, control: int, seconds: float) -> None:
    """It carries until it is ended."""
    counted = Counted()
    link = Link(target, seconds, counted)

    async def report(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()  # what was not read when a connection is closed can cost the other side the answer
        words = {"connections": counted.connections, "flights": counted.flights}
        writer.write(json.dumps(words).encode() + b"\n")
        writer.close()

    await asyncio.start_server(link.carry, "127.0.0.1", listen)
    await asyncio.start_server(report, "127.0.0.1", control)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:4]), float(sys.argv[4])))
