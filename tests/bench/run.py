"""
How fast the proxy is, and what it costs, compared with no proxy at all.

    python -m tests.bench.run [--cases smtp-small-20,bulk] [--rounds 5] [--scale quick] [--json FILE]
    python -m tests.bench.run --soak 1000000

No figure decides how this ends: 0 when nothing was lost, no session failed, and the proxy's log has no traceback.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import ssl
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.bench.cases import CASES, chosen
from tests.bench.figures import Figures, medians
from tests.bench.kinds import LeftOut
from tests.bench.scales import SCALES, Scale
from tests.bench.soak import soak
from tests.bench.stage import KEPT_LOG, Stage
from tests.bench.table import table
from tests.support.report import Report
from tests.support.setting import open_setting

_SMALL_GROWTH_MEBIBYTES = 8.0

Results = dict[str, dict[str, Figures]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = _parse(arguments)
    report = Report()
    with open_setting() as setting:
        stage = Stage.open(setting)
        if options.soak:
            soak(report, stage, options.soak, options.growth)
        else:
            rounds = _measure(report, stage, options.cases, options.rounds, SCALES[options.scale])
            _show(report, rounds, options.cases)
            if options.json:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(_document(options, rounds), indent=1) + "\n")
    for wrong in dict.fromkeys(stage.wrong):
        report.promise(wrong, kept=False)
    if stage.wrong:
        report.say(f"        the proxy's log is kept as {KEPT_LOG}")
    report.promise("nothing lost, no failed session, no traceback in the log", kept=not stage.wrong)
    return report.status


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the proxy.")
    parser.add_argument(
        "--cases", type=chosen, default="", help=f"some of {', '.join(CASES)}, or what is in their names"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", choices=SCALES, default="full", help="how much is done in each case")
    parser.add_argument("--quick", dest="scale", action="store_const", const="quick", help="the same as --scale quick")
    parser.add_argument("--json", type=Path, help="a file for all figures of all rounds")
    parser.add_argument("--soak", type=int, nargs="?", const=100_000, default=0, help="so many small sessions instead")
    parser.add_argument("--growth", type=float, default=_SMALL_GROWTH_MEBIBYTES, help="MiB that will do in a soak")
    return parser.parse_args(arguments)


def _measure(report: Report, stage: Stage, names: Sequence[str], count: int, scale: Scale) -> list[Results]:
    """As many rounds, each with every case; every second one backwards, for a machine that gets slower."""
    rounds: list[Results] = []
    for number in range(count):
        found: Results = {}
        backwards = bool(number % 2)
        for name in reversed(names) if backwards else names:
            try:
                found[name] = dict(CASES[name].measure(stage, scale, backwards=backwards))
            except LeftOut as reason:
                report.say(f"{name} is left out: {reason}")
            else:
                report.say(f"round {number + 1} of {count}: {name} {_brief(found[name])}")
        rounds.append(found)
    return rounds


def _brief(found: dict[str, Figures]) -> str:
    """The first figures of each, to see that it goes on."""
    return "; ".join(
        f"{who} " + ", ".join(f"{name} {value:.4g}" for name, value in list(figures.items())[:6])
        for who, figures in found.items()
    )


def _show(report: Report, rounds: Sequence[Results], names: Sequence[str]) -> None:
    """A table for each kind of case."""
    tables = defaultdict(list)
    for name in names:
        tables[tuple(CASES[name].columns)].append(name)
    for columns, cases in tables.items():
        report.say("")
        for line in table(rounds, cases, columns):
            report.say(line)
    report.say("")


def _document(options: argparse.Namespace, rounds: Sequence[Results]) -> dict[str, object]:
    whos = {name: dict.fromkeys(who for each in rounds for who in each.get(name, {})) for name in options.cases}
    return {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "scale": options.scale,
        "medians": {name: {who: medians(rounds, name, who) for who in found} for name, found in whos.items()},
        "rounds": rounds,
    }


if __name__ == "__main__":
    sys.exit(main())
