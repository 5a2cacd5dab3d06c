"""
Run the simulation from the command line; `docs/how-to/run-the-simulation.md` says how.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from attrs import frozen
from twisted.logger import globalLogBeginner

from tests.simulation import site
from tests.simulation.world import LAST_EVENTS, World

BATCH = 20
"""Worlds that one process lives through before it says how they went."""


def main(arguments=None):
    """0 when nothing happened that must not happen."""
    options = _parse(arguments)
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    last_events = LAST_EVENTS if options.seed is None else None
    failed, figures = [], Counter()
    began = time.monotonic()
    for batch in live(seeds, jobs=options.jobs, last_events=last_events):
        figures += batch.figures
        for seed, report in batch.failed[: options.most_failures - len(failed)]:
            failed.append(seed)
            _say(report)
        if len(failed) >= options.most_failures:
            break
    _say(words_of(figures))
    _say(f"{figures['worlds']} worlds in {time.monotonic() - began:.1f} s")
    if failed:
        _say(f"failed: {' '.join(map(str, failed))}")
    return 1 if failed else 0


@frozen
class Batch:
    """What happened in some worlds: figures, and the seed and story of each in which something must not have been."""

    figures: Counter
    failed: list


def live(seeds, *, jobs, last_events=LAST_EVENTS) -> Iterator[Batch]:
    """All the worlds of these seeds, batch by batch, in `jobs` processes; nothing goes on when nobody takes more."""
    batches = [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        if jobs == 1 or len(batches) == 1:
            _prepare(folder)
            for batch in batches:
                yield _live(batch, last_events)
            return
        afresh = get_context("spawn")  # whoever calls may have threads, of which a fork would take the locks along
        with ProcessPoolExecutor(jobs, mp_context=afresh, initializer=_prepare, initargs=(folder,)) as pool:
            futures = [pool.submit(_live, batch, last_events) for batch in batches]
            try:
                for future in futures:
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)


_configs = []


def _prepare(folder):
    """This process has a site of its own: worlds change files."""
    own = Path(folder) / str(os.getpid())
    own.mkdir()
    _configs[:] = [site.write(own)]
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)  # worlds listen themselves
    gc.freeze()


def _live(seeds, last_events):
    figures, failed = Counter(), []
    for seed in seeds:
        world = World(seed, _configs[0], last_events=last_events).run()
        figures += figures_of(world)
        if world.violations:
            failed.append((seed, world.report()))
    return Batch(figures, failed)


def figures_of(world):
    """What happened in a world, in numbers."""
    outcomes = Counter()
    for log in world.logs:
        outcomes.update(log.counters.outcomes)
    figures = Counter({f"sessions that ended {name}": number for name, number in outcomes.items()})
    figures["clients behind TLS"] = sum(client.tap.is_secured for client in world.clients)
    figures["clients whose listener went away"] = sum(client.drained_with is not None for client in world.clients)
    figures["transactions finished in spite of that"] = sum(client.kept_promise for client in world.clients)
    return figures + Counter(
        {
            "worlds": 1,
            "events": world.reactor.events,
            "messages delivered": world.delivered,
            "sessions replayed": world.replayed,
            "responses collected": world.collected,
            "logins refused": world.ledger.refusals,
            "connections used again": world.used_again,
            "changes of the configuration": world.operator.reloads,
        }
    )


def words_of(figures):
    """The figures, one below the other."""
    width = max((len(str(number)) for number in figures.values()), default=0)
    return "\n".join(f"{number:{width}} {name}" for name, number in sorted(figures.items()))


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="make simulate", description="Simulate the whole proxy.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first one")
    parser.add_argument("--seed", type=int, help="this world only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many processes share them")
    parser.add_argument("--most-failures", type=int, default=3, help="end behind so many failed seeds")
    return parser.parse_args(arguments)


def _say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
