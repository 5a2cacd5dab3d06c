"""
Takes the guards of the proxy away, one at a time, and sees that somebody notices; `make mutants` runs it.

Each guard of `table.py` is tried in a copy of the tree: its text is replaced, then the tests that are said to notice
run there, in a process of their own.  First of all they run in an untouched copy, where all must pass.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

from attrs import frozen

from tests.mutants.table import GUARDS

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".*", "__pycache__", "build", "dist")

MOST_SECONDS = 180.0
"""For one process: a guard whose loss makes the tests hang is missed, too."""

REHEARSAL_SECONDS = 1800.0
"""For all the tests that are named, and the longest simulation, with nothing changed."""

_FAILED_TEST = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_FAILED_SEED = re.compile(r"^seed [0-9]+: .*", re.MULTILINE)
_NOTHING_RAN = (4, 5)
"""What pytest says when there is no such test: nobody has noticed anything then."""


def main(arguments=None, guards=GUARDS):
    """0 when somebody notices the loss of every guard."""
    options = _parse(arguments)
    chosen = [guard for guard in guards if options.only in guard.name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        problem = bench.rehearse(chosen) if chosen else f"no guard has {options.only!r} in its name"
        if problem is not None:
            _say(problem)
            return 1
        survivors = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for result in pool.map(bench.try_without, chosen):
                _say(result.words)
                survivors += [] if result.caught else [result.guard.name]
    _say(f"{time.monotonic() - began:.0f} s: {len(chosen)} guards, {len(survivors)} of them missed by nobody")
    return 1 if survivors else 0


@frozen
class Result:
    """How it went without a guard: what each of those who were to notice said, None where it said nothing."""

    guard: object
    seconds: float
    noticed: dict

    @property
    def caught(self):
        return None not in self.noticed.values()

    @property
    def words(self):
        lines = [f"{'caught' if self.caught else 'SURVIVED':9} {self.guard.name} ({self.seconds:.0f} s)"]
        lines += [f"          {witness}: {said or 'nothing'}" for witness, said in self.noticed.items()]
        return "\n".join(lines)


class Bench:
    """
    Where guards are tried.

    Args:
        folder: for the copies.
    """

    def __init__(self, folder):
        self._folder = folder

    def rehearse(self, guards):
        """What is wrong before anything was changed; None for nothing."""
        tree = self._copy("as it is")
        tests = sorted({test for guard in guards for test in guard.tests})
        seeds = max(guard.seeds for guard in guards)
        said = (tests and _ask_pytest(tree, tests, REHEARSAL_SECONDS)) or _simulate(tree, seeds, REHEARSAL_SECONDS)
        return f"with every guard in its place: {said}" if said else None

    def try_without(self, guard):
        """The guard is taken away, and everybody who is to notice is asked."""
        began = time.monotonic()
        tree = self._copy(guard.name)
        noticed = {}
        try:
            guard.take_away(tree)
            if guard.tests:
                noticed[" ".join(guard.tests)] = _ask_pytest(tree, guard.tests)
            if guard.seeds:
                noticed["simulation"] = _simulate(tree, guard.seeds)
        except LookupError as error:
            noticed[str(error)] = None
        finally:
            shutil.rmtree(tree)
        return Result(guard, time.monotonic() - began, noticed)

    def _copy(self, name):
        tree = self._folder / re.sub(r"\W+", "-", name)
        return Path(shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT)))


def _ask_pytest(tree, tests, seconds=MOST_SECONDS):
    """The first test that fails; None when all pass."""
    named = [f"tests/{test}" for test in tests]
    status, said = _run(seconds, tree, "pytest", "-x", "-q", "--no-header", "--tb=no", "-m", "not integration", *named)
    if status in _NOTHING_RAN:
        raise LookupError(f"{' '.join(tests)}: {said}")
    return _first(_FAILED_TEST, status, said)


def _simulate(tree, seeds, seconds=MOST_SECONDS):
    """The first world in which something is wrong; None when there is none, or none is asked for."""
    if not seeds:
        return None
    arguments = "--seeds", str(seeds), "--jobs", "1", "--most-failures", "1"
    status, said = _run(seconds, tree, "tests.simulation.run", *arguments)
    return _first(_FAILED_SEED, status, said)


def _first(pattern, status, said):
    if not status:
        return None
    found = pattern.search(said)
    return found.group(found.lastindex or 0)[:200] if found else f"ended with {status}: {said[-200:]!r}"


def _run(seconds, tree, module, *arguments):
    """A module's exit status and what it says, in a process group that is gone afterwards."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return "no end in time", ""
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, SIGKILL)
        process.wait()
    return process.returncode, said


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="make mutants", description="Take away one guard at a time.")
    parser.add_argument("--only", default="", help="guards with these words in their name")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    return parser.parse_args(arguments)


def _say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
