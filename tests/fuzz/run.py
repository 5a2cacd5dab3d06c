"""
Fuzzing from the command line; `docs/how-to/fuzz.md` says how.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz.targets import TARGETS

MEMORY_MIB = 1024
"""What one target may hold at a time; more is a finding."""

INPUT_SECONDS = 10
"""How long one input may take; more is a finding, too."""

LAST_LINES = 50
"""Of what the fuzzer says: the traceback is among them."""

WORK = Path("build/fuzz")

CHILD = (sys.executable, "-m", "tests.fuzz.child")


def main(arguments=None):
    """0 when no target found anything."""
    options = _parse(arguments)
    if options.replay:
        return _replay(TARGETS[options.target], options.replay)
    chosen = [TARGETS[options.target]] if options.target else list(TARGETS.values())
    shares = sum(each.share for each in chosen)
    found = [each for each in chosen if not _fuzz(each, max(1, round(options.seconds * each.share / shares)))]
    for each in found:
        _say(f"{each.name} found something: look for `make fuzz TARGET={each.name} REPLAY=...` above")
    _say(f"{len(chosen)} targets, {len(found)} of them with findings")
    return 1 if found else 0


def _fuzz(target, seconds):
    """Whether the target stood its time."""
    grown, findings, words = (
        WORK / "corpus" / target.name,
        WORK / "findings" / target.name,
        WORK / f"{target.name}.dict",
    )
    for folder in (grown, findings):
        folder.mkdir(parents=True, exist_ok=True)
    words.write_text("".join(f'"{"".join(f"{chr(92)}x{octet:02x}" for octet in word)}"\n' for word in target.words))
    before = set(findings.iterdir())
    command = [
        *(*CHILD, target.name, str(grown), str(target.corpus)),
        *(f"-max_total_time={seconds}", f"-max_len={target.longest}", f"-timeout={INPUT_SECONDS}"),
        *(f"-rss_limit_mb={MEMORY_MIB}", f"-artifact_prefix={findings}/", f"-dict={words}"),
        *("-print_final_stats=1", "-verbosity=1", "-reload=0"),
    ]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:  # the fuzzer ends without cleaning up
        surroundings = {**os.environ, "TMPDIR": scratch}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=surroundings, check=False)
    output = done.stdout.decode(errors="replace")
    new = sorted(set(findings.iterdir()) - before)
    _say(f"{target.name}: {time.monotonic() - began:.0f} s, {_figure(output, 'number_of_executed_units')} inputs")
    if done.returncode == 0 and not new:
        return True
    _say("\n".join(output.splitlines()[-LAST_LINES:]))
    for path in new:
        _say(f"  again: make fuzz TARGET={target.name} REPLAY={path}")
    return False


def _replay(target, path):
    """The target with the octets of one file, or of each file in a folder; no fuzzer is needed for that."""
    failed = 0
    for each in sorted(path.iterdir()) if path.is_dir() else [path]:
        try:
            target.check(each.read_bytes())
        except Exception:  # noqa: BLE001 - whatever it is, it is what was found
            failed += 1
            _say(f"{each}:\n{traceback.format_exc()}")
    _say(f"{target.name}: {failed} of the inputs show a mistake")
    return 1 if failed else 0


def _figure(output, name):
    found = re.search(rf"stat::{name}:\s*(\d+)", output)
    return found[1] if found else "?"


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzz the parsers of octets that others send.")
    parser.add_argument("--seconds", type=float, default=60, help="of all targets together")
    parser.add_argument("--target", choices=sorted(TARGETS), help="this one only")
    parser.add_argument("--replay", type=Path, help="give the target the octets of this file, and nothing else")
    options = parser.parse_args(arguments)
    if options.replay and not options.target:
        parser.error("--replay needs --target")
    return options


def _say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
