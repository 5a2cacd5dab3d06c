"""
Chaos on real servers; `docs/how-to/chaos.md` says what it does.

Everything runs in network, process and mount namespaces of its own, so that no other server is disturbed and nothing
is left behind, however it ends.  Needs root.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.support.programs import program

_UNSHARE = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--net",
    "--pid",
    "--mount",
    "--mount-proc",
    "--fork",
    "--kill-child",
)
_ALLOWANCE_SECONDS = 300
"""For start, healing and judgement."""


def main(arguments: list[str] | None = None) -> int:
    """0 when nothing was lost, doubled, altered or left unsaid."""
    options = _parse(arguments)
    if os.geteuid() != 0:
        sys.stderr.write("chaos needs root, for Postfix and for network namespaces\n")
        return 2
    for name in ("ip", "ss", "setpriv", "unshare", "nsenter", "mount", "postfix", "dovecot"):
        program(name)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    sys.stdout.write(f"chaos for {options.seconds:g} s, seed {seed}\n")
    sys.stdout.flush()
    folder = Path(tempfile.mkdtemp(prefix="mpchaos"))
    folder.chmod(0o755)
    status = _run(options, seed, folder)
    if status and not options.remove:
        sys.stdout.write(f"logs and mailboxes are in {folder}\n")
    else:
        shutil.rmtree(folder)
    return status


def _run(options: argparse.Namespace, seed: int, folder: Path) -> int:
    """The exit status of the chaos; it is gone with all that belongs to it."""
    limit = int(options.seconds) + _ALLOWANCE_SECONDS
    command = [
        *(*_UNSHARE, sys.executable, "-m", "tests.chaos.inside", "--folder", str(folder), "--seed", str(seed)),
        *("--seconds", str(options.seconds), "--senders", str(options.senders), "--limit", str(limit)),
        *("--gap-seconds", str(options.gap_seconds)),
        *(["--verbose"] if options.verbose else []),
    ]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            return process.wait(limit + 10)
        except (KeyboardInterrupt, subprocess.TimeoutExpired) as reason:
            process.kill()  # and with it the first process of the namespace, and with that all others
            interrupted = isinstance(reason, KeyboardInterrupt)
            sys.stdout.write("interrupted\n" if interrupted else "the chaos did not end in time\n")
            return 130 if interrupted else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description="Kill, stop and cut off real mail servers.")
    parser.add_argument("--seconds", type=float, default=600, help="how long")
    parser.add_argument("--seed", type=int, help="the chance that decides; printed")
    parser.add_argument("--senders", type=int, default=24, help="SMTP clients at a time")
    parser.add_argument("--gap-seconds", type=float, default=2.5, help="between two faults, on average")
    parser.add_argument("--verbose", action="store_true", help="tell each fault")
    parser.add_argument("--remove", action="store_true", help="leave no logs behind, even when it has failed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
