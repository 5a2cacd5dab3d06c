"""
SIGHUP with hundreds of sessions open: none breaks, and each goes on where it was.

    python -m tests.load.reload [--sessions 500] [--reloads 6]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from functools import partial

from attrs import define, field

from tests.chaos.conversation import Conversation, Late, Lost
from tests.chaos.waiting import comes_true
from tests.load.clients import Mail, begin_mail, connected, expect, in_groups
from tests.load.neighbour import Neighbour
from tests.load.setting import Setting, Sink, open_setting
from tests.support.accounts import ACME, GLOBEX
from tests.support.report import Report
from tests.support.setting import Proxy
from tests.support.waiting import listens

_OPENING_AT_A_TIME = 40
_APPLIED_SECONDS = 10.0
_BETWEEN_SECONDS = 1.0
_HEAD = """\
server_name = "proxy.load.test"

[timeouts]
command_seconds = {command_seconds}
pop3_command_seconds = {command_seconds}

[smtp]
max_recipients = {max_recipients}
"""
_KINDS = ("greeted", "behind EHLO", "behind RCPT", "in content", "pop3")


@define
class Trial:
    """All sessions."""

    smtp: list[int]
    pop3: list[int]
    over: asyncio.Event = field(factory=asyncio.Event)
    open: Counter[str] = field(factory=Counter)
    fine: Counter[str] = field(factory=Counter)
    wrong: list[str] = field(factory=list)
    mails: list[Mail] = field(factory=list)
    _tasks: list[asyncio.Task[None]] = field(factory=list)

    async def start(self, count: int) -> None:
        """So many sessions are open, some of each kind."""
        await in_groups((partial(self._start, number) for number in range(count)), _OPENING_AT_A_TIME)

    async def finish(self) -> None:
        """Each has done what it was about to do."""
        self.over.set()
        await asyncio.gather(*self._tasks)

    async def _start(self, number: int) -> None:
        ready = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._session(_KINDS[number % len(_KINDS)], number, ready)))
        await ready.wait()

    async def _session(self, kind: str, number: int, ready: asyncio.Event) -> None:
        ports = self.pop3 if kind == "pop3" else self.smtp
        try:
            async with connected(ports[number % len(ports)]) as conversation:
                await (self._collect if kind == "pop3" else self._send)(conversation, kind, ready)
            self.fine[kind] += 1
        except (AssertionError, Lost, Late, OSError) as failure:
            self.wrong.append(f"{kind}: {failure!r}")
        finally:
            ready.set()

    async def _send(self, conversation: Conversation, kind: str, ready: asyncio.Event) -> None:
        """Up to where the kind says, then a pause, then the rest."""
        mail = Mail(octets=200_000)
        half = len(mail.content) // 2
        await expect(conversation, "", b"220")
        if kind != "greeted":
            await expect(conversation, "EHLO client.test", b"250")
        if kind in {"behind RCPT", "in content"}:
            await expect(conversation, "MAIL FROM:<load@client.test>", b"250")
            await expect(conversation, f"RCPT TO:<{mail.recipient}>", b"250")
        if kind == "in content":
            await expect(conversation, "DATA", b"354")
            await conversation.write(mail.content[:half])
        self.open[kind] += 1
        ready.set()
        await self._wait(conversation, mail.content[half : half + 10_000] if kind == "in content" else b"")
        if kind in {"greeted", "behind EHLO"}:
            await begin_mail(conversation, mail)
        if kind == "behind RCPT":
            await expect(conversation, "DATA", b"354")
        rest = mail.content[half + 10_000 :] if kind == "in content" else mail.content
        await conversation.write(rest + b".\r\n")
        reply = await conversation.read_reply("final reply")
        assert reply.startswith(b"250"), reply
        self.mails.append(mail)
        await expect(conversation, "QUIT", b"221")

    async def _wait(self, conversation: Conversation, trickle: bytes) -> None:
        """Until all reloads are done; some content goes over meanwhile."""
        waiting = asyncio.create_task(self.over.wait())
        for place in range(0, len(trickle), 1000):
            await asyncio.wait([waiting], timeout=0.3)
            await conversation.write(trickle[place : place + 1000])
        await waiting

    async def _collect(self, conversation: Conversation, kind: str, ready: asyncio.Event) -> None:
        assert (await conversation.read_line("greeting")).startswith(b"+OK")
        await conversation.write(b"STAT\r\n")
        before = await conversation.read_line("STAT")
        self.open[kind] += 1
        ready.set()
        await self.over.wait()
        await conversation.write(b"STAT\r\n")
        after = await conversation.read_line("STAT")
        assert before == after, after
        await conversation.write(b"QUIT\r\n")
        assert (await conversation.read_line("QUIT")).startswith(b"+OK")


def main() -> int:
    """0 when no session broke."""
    parser = argparse.ArgumentParser(description="Reload with many sessions.")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--reloads", type=int, default=6)
    options = parser.parse_args()
    report = Report()
    with open_setting() as setting:
        setting.head = _head(0)
        sink = setting.sink()
        ports = {
            (account.tenant, kind): setting.listen(account.tenant, sink.destination(account, f"load-{kind}", kind))
            for account in (ACME, GLOBEX)
            for kind in ("smtps", "pop3s")
        }
        proxy = setting.start()
        trial = Trial(
            [port for (_, kind), port in ports.items() if kind == "smtps"],
            [port for (_, kind), port in ports.items() if kind == "pop3s"],
        )
        asyncio.run(_run(report, setting, sink, proxy, trial, options))
        report.promise_clean_log(proxy.blunder())
    return report.status


async def _run(
    report: Report, setting: Setting, sink: Sink, proxy: Proxy, trial: Trial, options: argparse.Namespace
) -> None:
    await trial.start(options.sessions)
    report.say(f"open: {dict(trial.open)}")
    neighbour = Neighbour.start(trial.smtp[0], setting.folder)
    setting.stack.callback(neighbour.stop)
    applied = 0
    for number in range(1, options.reloads + 1):
        await asyncio.sleep(_BETWEEN_SECONDS)
        applied += await _reload(setting, sink, proxy, number)
    neighbour.stop()
    await trial.finish()
    taken = sink.report()["messages"]
    mails = {mail.marker: mail.digest for mail in trial.mails} | neighbour.sent()
    intact = sum(taken.get(marker) == digest for marker, digest in mails.items())
    failures = neighbour.failures()
    for words in sorted(set(trial.wrong))[:10]:
        report.say(f"        {trial.wrong.count(words)} x {words}")
    for words in failures[:5]:
        report.say(f"        {words}")
    report.promise(f"{applied} of {options.reloads} reloads took effect", kept=applied == options.reloads)
    open_then, fine = trial.open.total(), trial.fine.total()
    report.promise(f"{open_then} sessions were open", kept=open_then == options.sessions)
    report.promise(f"{fine} of them did what they were about to do: {dict(trial.fine)}", kept=fine == options.sessions)
    report.promise(f"{intact} of {len(mails)} messages arrived intact", kept=intact == len(mails))
    report.promise(f"{len(neighbour.sent())} new sessions meanwhile, {len(failures)} in vain", kept=not failures)


async def _reload(setting: Setting, sink: Sink, proxy: Proxy, number: int) -> bool:
    """Other timeouts and limits for all, and one listener more, or less; whether that took effect."""
    setting.head = _head(number)
    if number % 2:
        port = setting.listen(ACME.tenant, sink.destination(ACME, "load-extra", "smtps"))
    else:
        port = setting.listeners.pop().port
    setting.write()
    proxy.reload()
    return await comes_true(lambda: listens(port) == bool(number % 2), _APPLIED_SECONDS)


def _head(number: int) -> str:
    return _HEAD.format(command_seconds=300 + number, max_recipients=100 + number)


if __name__ == "__main__":
    sys.exit(main())
