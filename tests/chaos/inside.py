"""
The chaos as the first process of a namespace: whatever happens, nothing of it is left when this one ends.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.chaos.world import Options, World


def main() -> int:
    """The exit status of the chaos; all children of it are reaped here, adopted ones as well."""
    options, limit = _parse()
    child = os.fork()
    if not child:
        os._exit(_live(options))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("the chaos did not end in time"))
    signal.alarm(limit)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _live(options: Options) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    try:
        return asyncio.run(World(options).run())
    finally:
        sys.stdout.flush()


def _parse() -> tuple[Options, int]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--senders", type=int, required=True)
    parser.add_argument("--gap-seconds", type=float, required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--verbose", action="store_true")
    given = vars(parser.parse_args())
    limit = given.pop("limit")
    return Options(**given), limit


if __name__ == "__main__":
    sys.exit(main())
