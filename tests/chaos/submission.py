"""
One SMTP session of a client, as far as it gets.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum

from attrs import define

from tests.chaos.conversation import Conversation, Late, Lost
from tests.chaos.letters import Letter
from tests.chaos.plan import Tenant
from tests.chaos.records import Attempt, End

ADDRESS = "sender@chaos.test"
_UNKNOWN = b"451 4.4.2 Delivery status unknown"
_SAYS_EHLO, _PIPELINES, _SLOW = 0.9, 0.5, 0.25
"""How often clients do so."""


class Whim(Enum):
    """What a client does that a patient one would not."""

    NONE = "none"
    RESET = "RSET behind RCPT"
    VANISH_IN_CONTENT = "gone in the middle of the message"
    VANISH_BEHIND_DOT = "gone without waiting for the reply"


_WHIMS = dict(zip(Whim, (91, 3, 3, 3), strict=True))
_VANISHES = {Whim.VANISH_IN_CONTENT, Whim.VANISH_BEHIND_DOT}


class Refused(Exception):
    """The reply was not what the client had hoped for; it stands in the attempt."""


@define
class Submission:
    """
    Sends messages of one tenant over one connection; what became of each is told in its attempt.
    """

    conversation: Conversation
    tenant: Tenant
    chance: random.Random
    _greeted: bool = False
    _pipelines: bool = False

    async def send(self, letter: Letter, attempt: Attempt) -> bool:
        """Whether the connection is good for another message."""
        whim = self.chance.choices(list(_WHIMS), list(_WHIMS.values()))[0]
        try:
            await self._begin(attempt)
            await self._send(letter, attempt, whim)
        except Refused:
            attempt.end = End.UNKNOWN if attempt.reply.startswith(_UNKNOWN) else End.REFUSED
        except Lost:
            attempt.end = End.LOST
        except Late:
            attempt.end = End.LATE
        gone = attempt.end in {End.LOST, End.LATE} or (attempt.end is End.WITHDRAWN and whim in _VANISHES)
        return not (gone or self.conversation.ended or attempt.reply.startswith(b"421"))

    async def leave(self) -> None:
        """QUIT was answered, if anybody was there to do so."""
        with suppress(Lost, Late):  # nothing is under way
            await self.conversation.ask("QUIT")

    async def _begin(self, attempt: Attempt) -> None:
        """Nothing of a transaction before is left."""
        if self._greeted:
            attempt.stage = "RSET"
            _expect(await self.conversation.ask("RSET"), b"250", attempt)
            return
        attempt.stage = "greeting"
        _expect(await self.conversation.read_reply("greeting"), b"220", attempt)
        if self.chance.random() < _SAYS_EHLO:
            attempt.stage = "EHLO"
            keywords = await self.conversation.ask("EHLO client.chaos.test")
            _expect(keywords, b"250", attempt)
            self._pipelines = b"PIPELINING" in keywords.upper() and self.chance.random() < _PIPELINES
        self._greeted = True

    async def _send(self, letter: Letter, attempt: Attempt, whim: Whim) -> None:
        recipients = [self.tenant.address(box, attempt.marker) for box in attempt.boxes]
        commands = [f"MAIL FROM:<{ADDRESS}>", *(f"RCPT TO:<{address}>" for address in recipients)]
        if whim is Whim.RESET:
            await self._envelope(attempt, commands)
            await self.conversation.ask("RSET")
            _withdraw(attempt, whim)
            return
        await self._envelope(attempt, [*commands, "DATA"])
        attempt.stage = "content"
        with suppress(Lost):  # perhaps it has said why
            await self._content(letter.wire, attempt, whim)
        if attempt.end is End.WITHDRAWN:
            return
        attempt.stage = "final reply" if attempt.dot else "content"
        _expect(await self.conversation.read_reply("final reply"), b"250", attempt)
        attempt.end = End.ACKNOWLEDGED

    async def _envelope(self, attempt: Attempt, commands: Sequence[str]) -> None:
        """All commands were answered well enough for a message; `attempt.boxes` are those that were accepted."""
        if self._pipelines:
            await self.conversation.write("".join(f"{command}\r\n" for command in commands).encode())
        boxes, accepted, refusal = iter(attempt.boxes), [], b""
        for command in commands:
            verb = command.partition(" ")[0]
            attempt.stage = attempt.stage if refusal else verb
            reply = await (self.conversation.read_reply(verb) if self._pipelines else self.conversation.ask(command))
            good = reply.startswith(b"354" if verb == "DATA" else b"250")
            box = next(boxes) if verb == "RCPT" else ""
            if good and box:
                accepted.append(box)
            if good and verb == "DATA" and not accepted:
                good, reply = False, await self.conversation.ask(".", "final reply")
            if not good:
                refusal = refusal or reply
            if reply.startswith(b"421") or not (good or self._pipelines or box):
                break
        attempt.boxes = tuple(accepted)
        if not accepted or not good:
            attempt.reply = refusal or reply
            raise Refused

    async def _content(self, wire: bytes, attempt: Attempt, whim: Whim) -> None:
        """The message and its end are sent, or as much of it as the client likes to."""
        slowly = self.chance.random() < _SLOW
        place, end = 0, len(wire)
        if whim is Whim.VANISH_IN_CONTENT:
            end = self.chance.randrange(end)
        while place < end:
            size = self.chance.choice((1, 100, 1460, 16384, 65536) if slowly else (16384, 65536))
            await self.conversation.write(wire[place : min(place + size, end)])
            place += size
            if slowly:
                await asyncio.sleep(self.chance.uniform(0, 0.5))
        if whim is Whim.VANISH_IN_CONTENT:
            _withdraw(attempt, whim)
            self.conversation.abort()
            return
        attempt.dot = True
        await self.conversation.write(b".\r\n")
        if whim is Whim.VANISH_BEHIND_DOT:
            _withdraw(attempt, whim)
            self.conversation.close()


def _withdraw(attempt: Attempt, whim: Whim) -> None:
    attempt.end, attempt.reply = End.WITHDRAWN, whim.value.encode()


def _expect(reply: bytes, code: bytes, attempt: Attempt) -> None:
    attempt.reply = reply
    if not reply.startswith(code):
        raise Refused
