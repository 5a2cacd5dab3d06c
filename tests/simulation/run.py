"""
Run the simulation from the command line; `docs/how-to/run-the-simulation.md` says how.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.simulation import site
from tests.simulation.world import LAST_EVENTS, World


def main(arguments=None):
    """0 when nothing happened that must not happen."""
    options = _parse(arguments)
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    failed, figures = [], Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        config = site.write(Path(folder))
        gc.freeze()
        for seed in seeds:
            world = World(seed, config, last_events=LAST_EVENTS if options.seed is None else None).run()
            figures += figures_of(world)
            if world.violations:
                failed.append(seed)
                _say(world.report())
            if len(failed) >= options.most_failures:
                break
    _say(
        f"{time.monotonic() - began:.1f} s: "
        + ", ".join(f"{number} {name}" for name, number in sorted(figures.items()))
    )
    if failed:
        _say(f"failed: {' '.join(map(str, failed))}")
    return 1 if failed else 0


def figures_of(world):
    """What happened in a world, in numbers."""
    outcomes = Counter()
    for factory in world.factories:
        outcomes.update(factory.log.counters.outcomes)
    figures = Counter({f"sessions that ended {name}": number for name, number in outcomes.items()})
    return figures + Counter(
        worlds=1, events=world.reactor.events, messages_delivered=world.delivered, responses_collected=world.collected
    )


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="make simulate", description="Simulate the whole proxy.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first one")
    parser.add_argument("--seed", type=int, help="this world only")
    parser.add_argument("--most-failures", type=int, default=3, help="end behind so many failed seeds")
    return parser.parse_args(arguments)


def _say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
