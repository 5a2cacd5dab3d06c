"""
SMTP clients that keep at it: each message is tried until it is acknowledged, each attempt under a name of its own.
"""

from __future__ import annotations

import asyncio
import random

from attrs import define, field, frozen

from tests.chaos.conversation import Conversation
from tests.chaos.letters import Stationery
from tests.chaos.plan import KEPT, TAKEN, Tenant
from tests.chaos.records import Attempt, End, Record
from tests.chaos.submission import ADDRESS, Submission

_MOST_ATTEMPTS = 8
_PAUSE_SECONDS = 0.5
_PATIENCE_BEHIND_FAILURE = 4
_MESSAGES_OF_A_SESSION = (1, 1, 2, 4)
_TRIES_AGAIN = 0.7
"""How often a client takes up a message that failed, rather than a new one."""


@define
class Work:
    """A message to be sent: `number` of its sender, and how often it was tried."""

    sender: int
    number: int
    boxes: tuple[str, ...]
    tries: int = 0

    def next_marker(self) -> str:
        """The name of the next attempt."""
        self.tries += 1
        return f"m{self.sender}-{self.number}.{self.tries}"


@frozen
class Door:
    """A listener of the proxy; `steady` ones are never closed, so that nobody may be refused there."""

    tenant: Tenant
    port: int
    steady: bool = True


@define
class Sender:
    """One client of one listener."""

    number: int
    door: Door
    chance: random.Random
    stationery: Stationery
    record: Record
    stopping: asyncio.Event
    _numbers: int = 0
    _waiting: list[Work] = field(factory=list)

    async def run(self) -> None:
        """It sends until it is told to stop; then nothing of it is under way."""
        while not self.stopping.is_set():
            failed = not await self._session()
            pause = _PAUSE_SECONDS * (_PATIENCE_BEHIND_FAILURE if failed else 1)
            await asyncio.sleep(self.chance.expovariate(1 / pause))

    async def _session(self) -> bool:
        """Whether all went well."""
        peer = self.record.new_peer()
        work = self._next_work()
        try:
            conversation = await Conversation.open(self.door.port, peer, self.record.waited)
        except OSError as error:
            self._not_let_in(work, peer, error)
            return False
        submission = Submission(conversation, self.door.tenant, self.chance)
        try:
            for _ in range(self.chance.choice(_MESSAGES_OF_A_SESSION)):
                if not await self._send(submission, work, peer):
                    return False
                if self.stopping.is_set():
                    break
                work = self._next_work()
            else:
                self._waiting.insert(0, work)
            await submission.leave()
            return True
        finally:
            conversation.abort()

    async def _send(self, submission: Submission, work: Work, peer: str) -> bool:
        """One attempt; False when the connection is of no use any more."""
        marker, tenant = work.next_marker(), self.door.tenant
        letter = self.stationery.letter(marker, ADDRESS, [tenant.address(box, marker) for box in work.boxes])
        attempt = Attempt(marker, tenant.name, work.boxes, letter.digest, peer)
        self.record.attempts.append(attempt)
        usable = await submission.send(letter, attempt)
        if attempt.end is not End.ACKNOWLEDGED:
            self._again(work)
        return usable

    def _not_let_in(self, work: Work, peer: str, error: OSError) -> None:
        self._waiting.insert(0, work)
        self.record.figures["clients not let in by a listener that was taken away"] += 1
        if self.door.steady:
            self.record.incidents.append(f"the client at {peer} was not let in: {error}")

    def _next_work(self) -> Work:
        if self._waiting and self.chance.random() < _TRIES_AGAIN:
            return self._waiting.pop(0)
        self._numbers += 1
        self.record.figures["messages"] += 1
        boxes = self.chance.choice(((TAKEN,), (KEPT,), (TAKEN, KEPT)))
        return Work(self.number, self._numbers, boxes)

    def _again(self, work: Work) -> None:
        """It is tried once more some time, unless it was tried often enough."""
        if work.tries < _MOST_ATTEMPTS:
            self._waiting.append(work)
        else:
            self.record.figures["messages given up"] += 1
