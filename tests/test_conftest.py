"""The tests' own rules: each run here is a pytest of its own, and has to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(tmp_path):
    """Runs one test file under our rules; its exit status and what it printed."""

    def run(text, **environment):
        shutil.copy(ROOT / "tests/conftest.py", tmp_path)
        (tmp_path / "test_it.py").write_text(text)
        arguments = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
        clean = {key: value for key, value in os.environ.items() if key != "CI"}
        done = subprocess.run(
            arguments, cwd=tmp_path, env=clean | environment, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stdout

    return run


def test_an_error_that_nobody_handles_fails_the_test(run):
    status, output = run("""
from twisted.internet.defer import fail
def test(): fail(ValueError("unheard"))
""")
    assert status == 1
    assert "unheard" in output


def test_a_failure_in_the_log_fails_the_test(run):
    status, output = run("""
from twisted.logger import Logger
def test(): Logger().critical("the end is near")
""")
    assert status == 1
    assert "the end is near" in output


def test_a_failure_on_purpose_is_taken_out(run):
    status, _ = run("""
from twisted.logger import Logger
def test(logged_failures):
    Logger().critical("as planned")
    logged_failures.clear()
""")
    assert status == 0


@pytest.mark.parametrize(
    "left",
    ["reactor.callLater(60, print)", "reactor.listenTCP(0, Factory(), interface='127.0.0.1')"],
)
def test_what_is_left_in_the_reactor_fails_the_test(run, left):
    status, output = run(f"""
from twisted.internet import reactor
from twisted.internet.protocol import Factory
def test(): {left}
""")
    assert status == 1
    assert "left in the reactor" in output


def test_what_is_on_its_way_out_may_take_a_turn(run):
    status, _ = run("""
from twisted.internet import reactor
from twisted.internet.protocol import Factory
def test():
    reactor.callLater(0.02, int)
    reactor.listenTCP(0, Factory(), interface="127.0.0.1").stopListening()
""")
    assert status == 0


@pytest.mark.parametrize(
    "text",
    [
        "import pytest\ndef test(): pytest.skip('no time')\n",
        "import pytest\n@pytest.mark.skip('no time')\ndef test(): pass\n",
        "import pytest\npytest.importorskip('nothing_of_that_name', reason='no time')\ndef test(): pass\n",
    ],
)
def test_a_skip_counts_as_a_failure_in_ci_alone(run, text):
    status, output = run(text, CI="true")
    assert status != 0
    assert "no time" in output
    status, output = run(text)
    assert status in {0, 5}
    assert "1 skipped" in output
