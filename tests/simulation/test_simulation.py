"""
Nothing that must not happen happens to the proxy, in any of some hundred small worlds; `make simulate` runs more.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest

from tests.simulation import site
from tests.simulation.run import figures_of
from tests.simulation.world import World
from tests.support.pages import ROOT

SEEDS = range(200)
BATCH = 20

KEPT = [
    int(line.split()[0])
    for line in (ROOT / "tests/simulation/seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
"""Worlds in which something was wrong once."""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return site.write(tmp_path_factory.mktemp("site"))


def run(seed, config):
    world = World(seed, config).run()
    assert not world.violations, world.report()
    return world


@pytest.fixture(scope="module")
def batch(config):
    """Runs some worlds, once, and says what happened in them."""

    @cache
    def live(first):
        return sum((figures_of(run(seed, config)) for seed in range(first, first + BATCH)), Counter())

    return live


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_nothing_happens_that_must_not(first, batch):
    assert batch(first)["worlds"] == BATCH


def test_what_was_mended_stays_so(config):
    for seed in KEPT:
        run(seed, config)


def test_these_worlds_see_successes_and_failures_of_most_kinds(batch):
    figures = sum(map(batch, SEEDS[::BATCH]), Counter())
    assert figures["messages_delivered"] > 3 * len(SEEDS)
    assert figures["responses_collected"] > len(SEEDS)
    outcomes = {name.removeprefix("sessions that ended ") for name in figures}
    assert {
        "quit",
        "downstream_lost",
        "downstream_closed",
        "downstream_timeout",
        "downstream_desync",
        "bad_content",
        "bad_pipeline",
        "not_smtp",
        "too_many_sessions",
        "shutdown",
        "destination_unavailable",
        "upstream_421",
        "upstream_desync",
        "upstream_lacks_tls",
        "upstream_lost",
        "upstream_name_lookup_failed",
        "upstream_protocol_error",
        "upstream_refused_login",
        "upstream_refused_session",
        "upstream_timeout",
        "upstream_tls_failed",
        "upstream_unreachable",
    } <= outcomes


def story(seed, config):
    """Everything that happened in a world, in a word."""
    world = World(seed, config, last_events=None).run()
    return hashlib.sha256(repr(list(world.trace)).encode()).hexdigest()


TELL = """
import sys, tempfile
from pathlib import Path
from tests.simulation import site
from tests.simulation.test_simulation import story
with tempfile.TemporaryDirectory() as folder:
    sys.stdout.write(" ".join(story(seed, site.write(Path(folder))) for seed in (5, 27, 111)))
"""


def test_a_seed_makes_the_same_world_again_in_another_process(config):
    command = [sys.executable, "-c", TELL]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120, text=True).stdout
    assert told.split() == [story(seed, config) for seed in (5, 27, 111)]


def test_a_failed_world_says_its_seed_and_what_came_before(config):
    world = World(2, config)
    world.reactor.later(1.0, lambda: world.forbid("it rains"))
    report = world.run().report().splitlines()
    assert report[0] == "seed 2: it rains"
    assert report[-1].split() == ["again:", "make", "simulate", "SEED=2"]
    assert len(report) > 10
