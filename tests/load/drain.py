"""
SIGTERM with thousands of sessions: whoever is idle is told, and whoever is sending finishes.

    python -m tests.load.drain [--idle 5000] [--busy 200]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from functools import partial

from attrs import define, field

from tests.chaos.conversation import Conversation, Late, Lost
from tests.load.clients import Mail, begin_mail, connected, expect, in_groups
from tests.load.setting import Sink, open_setting
from tests.support.accounts import ACME, GLOBEX
from tests.support.report import Report, Stopwatch, percentile
from tests.support.setting import Proxy

_OPENING_AT_A_TIME = 40
_UP_SECONDS = 300.0
_END_SECONDS = 120.0
_LAST_WORD = {"smtp": b"421 4.3.2 ", "pop3": b"-ERR [SYS/TEMP] "}
_SHARE_OF_POP3, _SHARE_BEHIND_EHLO, _SHARE_BEHIND_DOT = 0.1, 0.5, 0.2
_HEAD = """\
server_name = "proxy.load.test"

[timeouts]
command_seconds = 900
pop3_command_seconds = 900
drain_seconds = 60
"""


@define
class Trial:
    """All sessions, and what became of them."""

    ports: list[tuple[str, int]]
    chance: random.Random
    told_after: list[float] = field(factory=list)
    finished_after: list[float] = field(factory=list)
    wrong: list[str] = field(factory=list)
    mails: list[Mail] = field(factory=list)
    open: int = 0
    under_way: int = 0
    go: asyncio.Event = field(factory=asyncio.Event)
    asked: float = 0.0
    _tasks: list[asyncio.Task[None]] = field(factory=list)

    async def open_idle(self, count: int) -> None:
        """So many sessions are idle."""
        await in_groups((partial(self._start, self._idle, number) for number in range(count)), _OPENING_AT_A_TIME)

    async def open_busy(self, count: int) -> None:
        """So many sessions are inside a transaction."""
        await in_groups((partial(self._start, self._busy, number) for number in range(count)), _OPENING_AT_A_TIME)

    async def over(self, seconds: float) -> None:
        """Every session has ended."""
        done, pending = await asyncio.wait(self._tasks, timeout=seconds)
        for task in pending:
            task.cancel()
        self.wrong += [f"{len(pending)} sessions have not ended"] * bool(pending)
        self.wrong += [repr(task.exception()) for task in done if task.exception() is not None]

    async def _start(self, session, number: int) -> None:
        """The session is as it should be; it goes on by itself."""
        ready = asyncio.Event()
        task = asyncio.create_task(session(number, ready))
        self._tasks.append(task)
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _idle(self, number: int, ready: asyncio.Event) -> None:
        wanted = "pop3" if self.chance.random() < _SHARE_OF_POP3 else "smtp"
        ports = [port for protocol, port in self.ports if protocol == wanted]
        async with connected(ports[number % len(ports)], patience=_UP_SECONDS) as conversation:
            if wanted == "pop3":
                greeting = await conversation.read_line("greeting")
                assert greeting.startswith(b"+OK"), greeting
            else:
                await expect(conversation, "", b"220")
                if self.chance.random() < _SHARE_BEHIND_EHLO:
                    await expect(conversation, "EHLO client.test", b"250")
            self.open += 1
            ready.set()
            words = await conversation.closed("being sent away")
            self.told_after.append(time.monotonic() - self.asked)
            if not (words.startswith(_LAST_WORD[wanted]) and words.endswith(b"\r\n") and words.count(b"\n") == 1):
                self.wrong.append(f"an idle {wanted} session was closed with {words!r}")

    async def _busy(self, number: int, ready: asyncio.Event) -> None:
        """Some are done but for the reply when SIGTERM comes, the others anywhere in their message."""
        behind_dot = self.chance.random() < _SHARE_BEHIND_DOT
        hold = self.chance.uniform(2, 20) if behind_dot else 0.0
        mail = Mail(int(2 ** self.chance.uniform(12, 20)), hold)
        self.mails.append(mail)
        ports = [port for protocol, port in self.ports if protocol == "smtp"]
        async with connected(ports[number % len(ports)], patience=_UP_SECONDS) as conversation:
            await expect(conversation, "", b"220")
            await expect(conversation, "EHLO client.test", b"250")
            await begin_mail(conversation, mail)
            sent = len(mail.content) if behind_dot else self.chance.randrange(len(mail.content))
            await conversation.write(mail.content[:sent] + (b".\r\n" if behind_dot else b""))
            self.open += 1
            self.under_way += 1
            ready.set()
            await self._finish(conversation, mail, sent, behind_dot=behind_dot)

    async def _finish(self, conversation: Conversation, mail: Mail, sent: int, *, behind_dot: bool) -> None:
        """The rest goes in ten steps over some seconds; all but the reply is behind us when it is due anyway."""
        try:
            await self.go.wait()
            rest = mail.content[sent:]
            pause = self.chance.uniform(0.2, 1.5)
            step = 1 + len(rest) // 10
            for place in range(0, 0 if behind_dot else len(rest), step):
                await asyncio.sleep(pause)
                await conversation.write(rest[place : place + step])
            if not behind_dot:
                await conversation.write(b".\r\n")
            reply = await conversation.read_reply("final reply")
            self.finished_after.append(time.monotonic() - self.asked)
            if reply != f"250 2.0.0 taken {mail.marker}\r\n".encode():
                self.wrong.append(f"a transaction ended with {reply!r}")
            words = await conversation.closed("being sent away")
            if not words.startswith(_LAST_WORD["smtp"]):
                self.wrong.append(f"behind its transaction a session was closed with {words!r}")
        except (Lost, Late) as failure:
            self.wrong.append(f"a transaction was cut off: {failure!r}")


def main() -> int:
    """0 when nobody was cut off."""
    parser = argparse.ArgumentParser(description="Drain with many sessions.")
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--busy", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report = Report()
    with open_setting() as setting:
        setting.head = _HEAD
        sink = setting.sink()
        ports = [
            (kind.removesuffix("s"), setting.listen(account.tenant, sink.destination(account, f"load-{kind}", kind)))
            for account in (ACME, GLOBEX)
            for kind in ("smtps", "pop3s")
        ]
        proxy = setting.start()
        trial = Trial(ports, random.Random(options.seed))
        asyncio.run(_run(report, proxy, trial, options))
        _look_into(report, sink, trial, options)
        report.promise_clean_log(proxy.blunder())
    return report.status


async def _run(report: Report, proxy: Proxy, trial: Trial, options: argparse.Namespace) -> None:
    """All sessions have ended, and so has the proxy."""
    before, watch = proxy.resident_mebibytes(), Stopwatch()
    await trial.open_idle(options.idle)
    await trial.open_busy(options.busy)
    full = proxy.resident_mebibytes()
    report.say(f"{trial.open} sessions open after {watch.seconds:.1f} s, {trial.under_way} in a transaction")
    report.say(
        f"memory {before:.0f} MiB without sessions, {full:.0f} MiB with them:"
        f" {(full - before) * 1024 / max(1, trial.open):.1f} KiB each; {proxy.descriptors()} descriptors"
    )
    trial.asked = time.monotonic()
    proxy.daemon.process.send_signal(signal.SIGTERM)
    trial.go.set()
    ended = asyncio.create_task(asyncio.to_thread(proxy.daemon.process.wait, _END_SECONDS))
    await trial.over(_END_SECONDS)
    status = await ended
    report.say(f"the process has ended {time.monotonic() - trial.asked:.2f} s after SIGTERM")
    report.promise(f"exit status {status}", kept=status == 0)


def _look_into(report: Report, sink: Sink, trial: Trial, options: argparse.Namespace) -> None:
    """What clients and mail server say about it."""
    for name, values in (("told", trial.told_after), ("in a transaction finished", trial.finished_after)):
        if values:
            half, last = percentile(values, 0.5), max(values)
            report.say(f"{len(values)} {name}: half of them within {half:.2f} s, all within {last:.2f} s")
    for words in sorted(set(trial.wrong))[:10]:
        report.say(f"        {trial.wrong.count(words)} x {words}")
    arrived, wanted = sink.report(), options.idle + options.busy
    intact = sum(arrived["messages"].get(mail.marker) == mail.digest for mail in trial.mails)
    cut_off = arrived["figures"].get("connections lost inside a message", 0)
    report.promise(f"{trial.open} of {wanted} sessions were open", kept=trial.open == wanted)
    report.promise(f"{len(trial.told_after)} idle sessions were told before the close", kept=not trial.wrong)
    report.promise(f"{intact} of {options.busy} messages are in the mail server, intact", kept=intact == options.busy)
    report.promise(f"{cut_off} transactions were cut off at the mail server", kept=not cut_off)


if __name__ == "__main__":
    sys.exit(main())
