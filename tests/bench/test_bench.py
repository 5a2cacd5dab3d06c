"""
The bench at a small scale: it measures, and what it holds the proxy to is so.

No figure is judged here: what else a machine does that runs tests is in them.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.tools import CHECKOUT

pytestmark = pytest.mark.integration

LIMIT_SECONDS = 120
TINY = {
    "smtp-small-20": {"direct", "mailproxy"},
    "pop3-bulk-8": {"direct", "mailproxy"},
    "idle-1000": {"mailproxy"},
    "latency-50ms": {"direct", "mailproxy, first", "mailproxy, then"},
}


def _run(*arguments):
    command = [sys.executable, "-m", "tests.bench.run", *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BROKEN" not in done.stdout
    return done.stdout


def test_cases_are_measured_and_nothing_is_lost(tmp_path):
    results = tmp_path / "results.json"
    output = _run("--scale", "tiny", "--rounds", "1", "--cases", ",".join(TINY), "--json", str(results))
    medians = json.loads(results.read_text())["medians"]
    assert {case: set(found) for case, found in medians.items()} == TINY
    assert medians["smtp-small-20"]["mailproxy"]["sessions"] > 0
    assert "| smtp-small-20 | mailproxy | " in output


def test_a_long_run_ends_with_every_mail_in_its_place():
    output = _run("--soak", "200", "--growth", "100")
    assert "200 mails sent, 0 missing, 0 doubled" in output
