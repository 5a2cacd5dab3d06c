"""
POP3 clients that empty a mailbox: RETR, DELE, QUIT; and now and then one that goes without QUIT.
"""

from __future__ import annotations

import asyncio
import random
import re

from attrs import define

from tests.chaos.conversation import Conversation, Late, Lost
from tests.chaos.letters import find
from tests.chaos.plan import Tenant
from tests.chaos.records import Collected, Collection, Record

_MOST_AT_ONCE = 25
_GOES_WITHOUT_QUIT = 0.2


class Refused(Exception):
    """An -ERR."""


@define
class Collector:
    """The client that empties a tenant's mailbox through the listener at `port`."""

    tenant: Tenant
    port: int
    chance: random.Random
    record: Record
    stopping: asyncio.Event
    pause_seconds: float = 1.0

    async def run(self) -> None:
        """It collects until it is told to stop; then no session of it is open."""
        while not self.stopping.is_set():
            await self._session()
            await asyncio.sleep(self.chance.expovariate(1 / self.pause_seconds))

    async def _session(self) -> None:
        loop = asyncio.get_running_loop()
        collection = Collection(self.tenant.name, self.record.new_peer(), loop.time())
        self.record.collections.append(collection)
        try:
            conversation = await Conversation.open(self.port, collection.peer, self.record.waited)
        except OSError as error:
            self.record.incidents.append(f"a POP3 client was not let in: {error}")
            collection.end = "not let in"
            return
        try:
            await self._collect(conversation, collection)
        except Refused as refused:
            collection.end = f"refused: {refused}"
        except Lost:
            collection.end = "connection lost"
        except Late as late:
            collection.end = "no answer in time"
            self.record.incidents.append(f"POP3 client {collection.peer} waited in vain for {late}")
        finally:
            conversation.abort()

    async def _collect(self, conversation: Conversation, collection: Collection) -> None:
        _expect(await conversation.read_line("POP3 greeting"))
        _expect(await _ask(conversation, "UIDL"))
        listing = (await conversation.read_body("UIDL")).decode().splitlines()
        deletes = self.chance.random() < 0.9
        for line in listing[:_MOST_AT_ONCE]:
            number, unique_id = line.split(" ")
            await self._take(conversation, collection, int(number), unique_id, deletes=deletes)
        if self.chance.random() < _GOES_WITHOUT_QUIT:
            collection.end = "gone without QUIT"
            return
        collection.quit_said = True
        _expect(await _ask(conversation, "QUIT"))
        collection.confirmed = True
        collection.end = "QUIT"

    async def _take(
        self, conversation: Conversation, collection: Collection, number: int, unique_id: str, *, deletes: bool
    ) -> None:
        reply = await _ask(conversation, f"RETR {number}")
        if not reply.startswith(b"+OK"):
            if b"[SYS/" in reply:
                raise Refused(_words(reply))
            return  # another session has removed it
        found = find(await conversation.read_body("RETR"))
        if found is None:
            self.record.incidents.append(f"{collection.tenant}: a POP3 client got a message that nobody sent")
            return
        place = len(collection.got)
        collection.got.append(Collected(unique_id, found.marker, found.queue_id, found.digest, deleted=False))
        if deletes and (await _ask(conversation, f"DELE {number}")).startswith(b"+OK"):
            collection.got[place] = Collected(unique_id, found.marker, found.queue_id, found.digest, deleted=True)


async def _ask(conversation: Conversation, command: str) -> bytes:
    await conversation.write(command.encode() + b"\r\n")
    return await conversation.read_line(f"POP3 {command.partition(' ')[0]}")


def _expect(reply: bytes) -> None:
    if not reply.startswith(b"+OK"):
        raise Refused(_words(reply))


def _words(reply: bytes) -> str:
    """An -ERR without its numbers, for counting."""
    return re.sub(r"\d+", "n", reply.decode(errors="replace").strip())
