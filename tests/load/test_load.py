"""
The load programs at a small scale: they work, and what they hold the proxy to is so.

Latencies are not judged here: what else a machine does that runs tests is in them.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.tools import CHECKOUT

LIMIT_SECONDS = 120
SMALL = {
    "drain": ("--idle", "100", "--busy", "10"),
    "flood": ("--count", "100", "--wait", "2", "--quiet", "1"),
    "fairness": ("--rounds", "1", "--seconds", "1", "--promise", "1000"),
    "reload": ("--sessions", "50", "--reloads", "2"),
}


@pytest.mark.integration
@pytest.mark.parametrize("program", SMALL)
def test_every_promise_is_kept_at_a_small_scale(program):
    command = [sys.executable, "-m", f"tests.load.{program}", *SMALL[program]]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BROKEN" not in done.stdout
