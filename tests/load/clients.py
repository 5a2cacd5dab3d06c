"""
Mail clients, many at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from attrs import field, frozen

from tests.chaos.conversation import Conversation

_numbers = itertools.count(1)
_LINE = b"All work and no play makes Jack a dull boy. " * 2 + b"\r\n"


@frozen
class Mail:
    """A message with a marker that the sink reports; `raw` is all of it with the end of mail data."""

    octets: int = 2048
    hold_seconds: float = 0.0
    marker: str = field(factory=lambda: f"load-{next(_numbers)}")

    @property
    def content(self) -> bytes:
        """Without the end of mail data."""
        head = f"X-Load: {self.marker}\r\nSubject: load\r\n\r\n".encode()
        return head + _LINE * (1 + self.octets // len(_LINE))

    @property
    def digest(self) -> str:
        """What the sink should find."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def recipient(self) -> str:
        """It tells the sink what to do."""
        return f"hold-{self.hold_seconds:g}@sink.test"


@asynccontextmanager
async def connected(port: int, *, patience: float = 60.0) -> AsyncIterator[Conversation]:
    """A connection, the greeting not read."""
    conversation = await Conversation.open(port, "127.0.0.1", _ignore, patience)
    try:
        yield conversation
    finally:
        conversation.abort()


async def expect(conversation: Conversation, command: str, code: bytes) -> bytes:
    """The reply, which begins with `code`; no command is the greeting."""
    reply = await (conversation.ask(command) if command else conversation.read_reply("greeting"))
    assert reply.startswith(code), f"{command or 'greeting'}: {reply!r}"
    return reply


async def begin_mail(conversation: Conversation, mail: Mail) -> None:
    """The content may come."""
    await expect(conversation, "MAIL FROM:<load@client.test>", b"250")
    await expect(conversation, f"RCPT TO:<{mail.recipient}>", b"250")
    await expect(conversation, "DATA", b"354")


async def send(port: int, mail: Mail, patience: float = 60.0) -> float:
    """One mail in a session of its own; how many seconds it took."""
    began = time.monotonic()
    async with connected(port, patience=patience) as conversation:
        await expect(conversation, "", b"220")
        await expect(conversation, "EHLO client.test", b"250")
        await begin_mail(conversation, mail)
        await conversation.write(mail.content + b".\r\n")
        reply = await conversation.read_reply("final reply")
        assert reply.startswith(b"250"), reply
        took = time.monotonic() - began
        await conversation.ask("QUIT")
    return took


async def in_groups(work: Iterable[Callable[[], Awaitable[None]]], most: int) -> None:
    """All of it is done, so many at a time."""
    waiting = iter(work)

    async def run() -> None:
        for each in waiting:
            await each()

    await asyncio.gather(*(run() for _ in range(most)))


def _ignore(seconds: float, what: str) -> None:
    """Nobody wants to know how long a wait was."""
