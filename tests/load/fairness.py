"""
One tenant in trouble, or up to no good; another that sends small mails, and should not notice.

    python -m tests.load.fairness [--rounds 5] [--seconds 4]

Quiet and troubled times alternate, so that what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import chain

from tests.chaos.conversation import Late, Lost
from tests.load.clients import Mail, begin_mail, connected, expect, in_groups
from tests.load.neighbour import Neighbour
from tests.load.nuisances import Crowd
from tests.load.setting import Setting, open_setting
from tests.support.accounts import ACME, GLOBEX
from tests.support.ports import free_port
from tests.support.report import Report, milliseconds, ratio
from tests.support.routes import basic, oauth

_PROMISE = 1.25
_WARM_SECONDS, _CALM_SECONDS = 2.0, 1.0
_NICENESS = 10
"""Of the tenant in trouble: its clients and its mail server would not be on the proxy's machine."""

_CLIENTS_IN_TROUBLE = 50
_SLOW = 200
_FLOOD_A_SECOND = 200.0
_SLOW_OCTETS_A_SECOND = 4096
_HEAD = """\
server_name = "proxy.load.test"

[timeouts]
command_seconds = 60
"""

Trouble = Callable[[], AbstractAsyncContextManager[None]]


def main() -> int:
    """0 when no trouble of one tenant was felt by the other."""
    parser = argparse.ArgumentParser(description="Compare one tenant's latency with and without another's trouble.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", default="", help="the troubles with this in their name")
    parser.add_argument("--promise", type=float, default=_PROMISE, help="the largest ratio that will do")
    options = parser.parse_args()
    report = Report()
    with open_setting() as setting, _black_hole() as hole, _silent() as silent:
        setting.head = _HEAD
        troubles = _troubles(setting, hole, silent)
        sink = setting.sink("neighbour")
        other = setting.listen(GLOBEX.tenant, sink.destination(GLOBEX, "load", "smtps"))
        proxy = setting.start()
        neighbour = Neighbour.start(other, setting.folder)
        setting.stack.callback(neighbour.stop)
        os.nice(_NICENESS)
        chosen = {name: trouble for name, trouble in troubles.items() if options.only in name}
        asyncio.run(_run(report, neighbour, chosen, options))
        failed = len(neighbour.failures())
        report.promise(f"{failed} mails of the other tenant failed", kept=not failed)
        report.promise_clean_log(proxy.blunder())
    return report.status


def _troubles(setting: Setting, hole: int, silent: int) -> dict[str, Trouble]:
    sink = setting.sink(niceness=_NICENESS)
    url = f"https://tokens.localhost:{silent}/token"
    dead = setting.listen(ACME.tenant, basic("load-dead", "smtps", hole, ACME))
    waiting = setting.listen(ACME.tenant, oauth("load-token", "smtps", sink.smtp, ACME, url))
    smtp = setting.listen(ACME.tenant, sink.destination(ACME, "load", "smtps"))
    pop3 = setting.listen(ACME.tenant, sink.destination(ACME, "load-pop3", "pop3s"))
    return {
        "a dead mail server": partial(_asking, dead),
        "a token service that never answers": partial(_asking, waiting),
        f"a flood of {_FLOOD_A_SECOND:g} connections a second": partial(_flooding, smtp),
        f"{_SLOW} slow readers": partial(_crowding, partial(_read_slowly, pop3)),
        f"{_SLOW} slow senders": partial(_crowding, partial(_send_slowly, smtp)),
    }


async def _run(report: Report, neighbour: Neighbour, troubles: dict[str, Trouble], options: argparse.Namespace) -> None:
    await asyncio.sleep(_WARM_SECONDS)
    for name, trouble in troubles.items():
        for number in range(options.rounds):
            neighbour.phase(f"without {name} {number}")
            await asyncio.sleep(options.seconds)
            neighbour.phase("between")
            async with trouble():
                await asyncio.sleep(_CALM_SECONDS)
                neighbour.phase(f"with {name} {number}")
                await asyncio.sleep(options.seconds)
                neighbour.phase("between")
            await asyncio.sleep(_CALM_SECONDS)
        _compare(report, neighbour, name, options)
    neighbour.stop()
    for failure in neighbour.failures()[:5]:
        report.say(f"        {failure}")


def _compare(report: Report, neighbour: Neighbour, name: str, options: argparse.Namespace) -> None:
    """The ratio is that of the middle round: a round in which the machine was busy otherwise does not count much."""
    without, during = (
        [neighbour.took(f"{word} {name} {number}") for number in range(options.rounds)] for word in ("without", "with")
    )
    report.say(f"\n{name}")
    report.say(f"        without: {milliseconds(list(chain(*without)))}")
    report.say(f"        with:    {milliseconds(list(chain(*during)))}")
    middle = {
        share: statistics.median(ratio(*pair, share) for pair in zip(during, without, strict=True))
        for share in (0.5, 0.95)
    }
    kept = all(each < options.promise for each in middle.values())
    report.promise(f"ratio of the medians {middle[0.5]:.2f}, of the 95th percentiles {middle[0.95]:.2f}", kept=kept)


# Troubles


@asynccontextmanager
async def _asking(port: int) -> AsyncIterator[None]:
    """Clients want to send again and again, and cannot."""

    async def ask() -> None:
        while True:
            with suppress(AssertionError, Lost, Late, OSError):
                async with connected(port) as conversation:
                    await expect(conversation, "", b"220")
                    await conversation.ask("MAIL FROM:<load@client.test>")
            await asyncio.sleep(0.5)

    tasks = [asyncio.create_task(ask()) for _ in range(_CLIENTS_IN_TROUBLE)]
    try:
        yield
    finally:
        await _cancel(tasks)


@asynccontextmanager
async def _flooding(port: int) -> AsyncIterator[None]:
    """Connections come and stay."""
    crowd = Crowd(port, a_second=_FLOOD_A_SECOND)
    coming = asyncio.create_task(crowd.come(1_000_000))
    try:
        yield
    finally:
        await _cancel([coming])
        crowd.go()


@asynccontextmanager
async def _crowding(session: Callable[[asyncio.Event], object]) -> AsyncIterator[None]:
    """So many slow sessions are under way."""
    started = [asyncio.Event() for _ in range(_SLOW)]
    tasks = [asyncio.create_task(session(event)) for event in started]
    await in_groups((event.wait for event in started), _SLOW)
    try:
        yield
    finally:
        await _cancel(tasks)


async def _read_slowly(port: int, started: asyncio.Event) -> None:
    """A large message is read so slowly that it takes minutes."""
    connection = socket.socket()
    connection.setblocking(False)
    # Otherwise the kernel takes megabytes at full speed on the reader's behalf, and what is seen is a fast reader.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _SLOW_OCTETS_A_SECOND)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=_SLOW_OCTETS_A_SECOND)
    try:
        assert (await reader.readline()).startswith(b"+OK")
        writer.write(b"RETR 1\r\n")
        await reader.readline()
        started.set()
        while True:
            await reader.readexactly(_SLOW_OCTETS_A_SECOND)
            await asyncio.sleep(1)
    finally:
        started.set()
        writer.transport.abort()


async def _send_slowly(port: int, started: asyncio.Event) -> None:
    """A large message is sent so slowly that it takes minutes."""
    mail = Mail(octets=4 << 20)
    content = mail.content
    try:
        async with connected(port) as conversation:
            await expect(conversation, "", b"220")
            await begin_mail(conversation, mail)
            started.set()
            for place in range(0, len(content), _SLOW_OCTETS_A_SECOND):
                await conversation.write(content[place : place + _SLOW_OCTETS_A_SECOND])
                await asyncio.sleep(1)
    finally:
        started.set()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """They are over; one that had ended by itself was not the trouble that it should have been."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


@contextmanager
def _black_hole() -> Iterator[int]:
    """A port whose queue of connections is full: nothing comes back from it."""
    with ExitStack() as stack:
        port = free_port()
        listener = stack.enter_context(socket.create_server(("127.0.0.1", port), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield port


@contextmanager
def _silent() -> Iterator[int]:
    """A port at which every connection is taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        yield listener.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
