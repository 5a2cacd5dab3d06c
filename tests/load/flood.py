"""
Thousands of connections that only keep a place: half-open TLS handshakes, silence, one octet now and then.

    python -m tests.load.flood [--count 10000] [--wait 30]

Another tenant sends mail meanwhile.  The proxy's own waits are shortened to `--wait` seconds, or the program would run
for an hour: an octet every fourth part of that stands for one a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator

from attrs import frozen

from tests.load.neighbour import Neighbour
from tests.load.nuisances import Crowd
from tests.load.setting import Sink, open_setting
from tests.support.accounts import ACME, GLOBEX
from tests.support.report import Report, Stopwatch, milliseconds, ratio
from tests.support.routes import basic
from tests.support.setting import Proxy

_NICENESS = 10
"""Of the nuisances, which would not be on the proxy's machine."""

_WARM_SECONDS = 2.0
_HALF_A_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(120))
"""The beginning of a record of 512 octets."""

_HEAD = """\
server_name = "proxy.load.test"

[timeouts]
handshake_seconds = {wait}
command_seconds = {wait}
line_seconds = {wait}
overload_command_seconds = {half}

[limits]
max_sessions = {most}
max_sessions_per_tenant = {of_tenant}

[listener_tls.plain-tls]
mode = "implicit"
certificates = [{{ certificate = "sink.pem", key = "sink.key" }}]
"""


@frozen
class Attack:
    """One kind of nuisance."""

    name: str
    port: int
    first: bytes = b""
    more: bytes = b""


def main() -> int:
    """0 when the other tenant lost nothing and every descriptor came back."""
    parser = argparse.ArgumentParser(description="Hold places without using them.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--wait", type=float, default=30.0)
    parser.add_argument("--quiet", type=float, default=5.0, help="seconds to compare with, before each attack")
    parser.add_argument("--rate", type=float, default=1000.0, help="connections that come in a second")
    options = parser.parse_args()
    report = Report()
    with open_setting() as setting:
        most, of_tenant = options.count + 400, options.count + 100
        setting.head = _HEAD.format(wait=options.wait, half=options.wait / 2, most=most, of_tenant=of_tenant)
        sink = setting.sink()
        plain = setting.listen(ACME.tenant, basic("load-plain", "smtps", sink.smtp, ACME))
        secured = setting.listen(ACME.tenant, basic("load-secured", "smtps", sink.smtp, ACME), tls="plain-tls")
        other = setting.listen(GLOBEX.tenant, basic("load-plain", "smtps", sink.smtp, GLOBEX))
        proxy = setting.start()
        neighbour = Neighbour.start(other, setting.folder)
        setting.stack.callback(neighbour.stop)
        os.nice(_NICENESS)
        attacks = list(_attacks(plain, secured))
        asyncio.run(_run(report, proxy, sink, neighbour, attacks, options))
        report.promise("the proxy is still there", kept=proxy.daemon.process.poll() is None)
        report.promise_clean_log(proxy.blunder())
    return report.status


def _attacks(plain: int, secured: int) -> Iterator[Attack]:
    yield Attack("TLS, not an octet", secured)
    yield Attack("TLS, half a ClientHello", secured, first=_HALF_A_HELLO)
    yield Attack("no TLS, nothing said", plain)
    yield Attack("no TLS, an octet now and then", plain, more=b"EHLO client.test and so on and so on")


async def _run(
    report: Report, proxy: Proxy, sink: Sink, neighbour: Neighbour, attacks: list[Attack], options: argparse.Namespace
) -> None:
    await asyncio.sleep(_WARM_SECONDS)
    for attack in attacks:
        await _attack(report, proxy, neighbour, attack, options)
    neighbour.stop()
    taken, sent, failures = sink.report()["messages"], neighbour.sent(), neighbour.failures()
    lost = [marker for marker, digest in sent.items() if taken.get(marker) != digest]
    for failure in failures[:5]:
        report.say(f"        {failure}")
    report.promise(f"{len(sent)} mails of the other tenant went through, {len(failures)} failed", kept=not failures)
    report.promise(f"{len(lost)} of them are not in the mail server", kept=not lost)


async def _attack(
    report: Report, proxy: Proxy, neighbour: Neighbour, attack: Attack, options: argparse.Namespace
) -> None:
    report.say(f"\n{options.count} x {attack.name}")
    phases = {name: f"{name} {attack.name}" for name in ("before", "coming", "during")}
    neighbour.phase(phases["before"])
    await asyncio.sleep(options.quiet)
    descriptors, memory = proxy.descriptors(), proxy.resident_mebibytes()
    crowd = Crowd(attack.port, attack.first, attack.more, every_seconds=options.wait / 4, a_second=options.rate)
    neighbour.phase(phases["coming"])
    watch = Stopwatch()
    await crowd.come(options.count)
    neighbour.phase(phases["during"])
    report.say(
        f"        came within {watch.seconds:.1f} s, {crowd.most} at a time; {proxy.descriptors()} descriptors,"
        f" memory {proxy.resident_mebibytes() - memory:+.0f} MiB"
    )
    await crowd.stay(options.wait * 3 + 10)
    gone, left = watch.seconds, len(crowd.open)
    crowd.go()
    neighbour.phase("after")
    back = await _returned(proxy, descriptors)
    took = {name: neighbour.took(phase) for name, phase in phases.items()}
    for name, values in took.items():
        report.say(f"        other tenant {name:7}: {milliseconds(values)}")
    report.say(f"        ratio of the medians {ratio(took['during'], took['before'], 0.5):.2f}")
    report.say(f"        last words {dict(crowd.last_words.most_common(4))}")
    report.promise(f"all sent away by the proxy within {gone:.1f} s ({left} left)", kept=not left and not crowd.failed)
    report.promise(f"descriptors {descriptors} before, {back} afterwards", kept=back <= descriptors + _OF_NEIGHBOUR)
    report.say(f"        memory {proxy.resident_mebibytes() - memory:+.0f} MiB afterwards")


_OF_NEIGHBOUR = 4
"""What the other tenant's sessions take, more at one time and less at another."""


async def _returned(proxy: Proxy, wanted: int) -> int:
    """The descriptors that are open when it has had some seconds."""
    for _ in range(50):
        if (count := proxy.descriptors()) <= wanted:
            break
        await asyncio.sleep(0.2)
    return count


if __name__ == "__main__":
    sys.exit(main())
