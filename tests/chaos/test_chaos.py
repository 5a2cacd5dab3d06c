"""
A short run of the chaos: enough that every kind of fault occurs.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.tools import CHECKOUT

SECONDS, SEED, LIMIT_SECONDS = 25, 7, 280


@pytest.mark.integration
def test_nothing_is_lost_in_a_short_chaos():
    command = [sys.executable, "-m", "tests.chaos.run", "--seconds", str(SECONDS), "--seed", str(SEED), "--remove"]
    options = ["--gap-seconds", "1", "--senders", "12", "--verbose"]
    done = subprocess.run(
        [*command, *options], cwd=CHECKOUT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for figure in ("restarts of the proxy", "reloads", "kills of a mail server", "stops of a mail server", "cuts"):
        assert figure in done.stdout
