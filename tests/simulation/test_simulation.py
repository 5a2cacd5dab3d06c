"""
Nothing that must not happen happens to the proxy, in any of some thousand small worlds; `make simulate` runs more.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation import site
from tests.simulation.run import live, words_of
from tests.simulation.world import World
from tests.support.pages import ROOT

SEEDS = range(2000)

KEPT = [
    int(line.split()[0])
    for line in (ROOT / "tests/simulation/seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
"""Worlds in which something was wrong once."""


@pytest.fixture(autouse=True)
def _full_disks(logged_failures):
    """In some worlds the disk of the ledger is full for a while, and the log says so."""
    yield
    logged_failures[:] = [each for each in logged_failures if each["log_namespace"] != "mailproxy.ledger"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return site.write(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def batches():
    return list(live(SEEDS, jobs=os.cpu_count()))


@pytest.fixture(scope="module")
def figures(batches):
    """What happened in all these worlds."""
    return sum((batch.figures for batch in batches), Counter())


def test_nothing_happens_that_must_not(batches):
    assert not [report for batch in batches for _, report in batch.failed]


def test_what_was_mended_stays_so(config):
    for seed in KEPT:
        world = World(seed, config).run()
        assert not world.violations, world.report()


def test_these_worlds_see_much_of_everything(figures):
    assert figures["worlds"] == len(SEEDS)
    for name, at_least in {
        "messages delivered": 3,
        "sessions replayed": 2,
        "responses collected": 1.5,
        "connections used again": 0.15,
        "clients behind TLS": 3,
        "clients whose listener went away": 0.5,
        "transactions finished in spite of that": 0.02,
        "changes of the configuration": 0.3,
        "logins refused": 0.1,
    }.items():
        assert figures[name] > at_least * len(SEEDS), words_of(figures)


def test_these_worlds_see_failures_of_most_kinds(figures):
    outcomes = {name.removeprefix("sessions that ended ") for name in figures}
    assert outcomes >= {
        "bad_content",
        "bad_line",
        "bad_pipeline",
        "destination_unavailable",
        "destination_unusable",
        "downstream_closed",
        "downstream_desync",
        "downstream_lost",
        "downstream_timeout",
        "downstream_tls_failed",
        "ledger_unavailable",
        "not_smtp",
        "quit",
        "shutdown",
        "too_many_errors",
        "too_many_sessions",
        "upstream_421",
        "upstream_desync",
        "upstream_host_not_found",
        "upstream_lacks_mechanism",
        "upstream_lacks_tls",
        "upstream_lost",
        "upstream_name_lookup_failed",
        "upstream_protocol_error",
        "upstream_refused_login",
        "upstream_refused_session",
        "upstream_timeout",
        "upstream_tls_failed",
        "upstream_unreachable",
    }


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
