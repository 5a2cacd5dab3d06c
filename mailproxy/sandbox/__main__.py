"""
The sandbox's command line: `python -m mailproxy.sandbox run | serve | demo`.
"""

from __future__ import annotations

import argparse
import io
import shlex
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from mailproxy.sandbox.demo import run_demo
from mailproxy.sandbox.run import Run, proxy_command, python_path
from mailproxy.sandbox.telnet import Unexpected
from mailproxy.sandbox.world import World


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked for; the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a transcript is read while it grows, also through a pipe
    options = _parser().parse_args(arguments)
    status: int = options.command(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mailproxy.sandbox", description="mailproxy's sandbox")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="start sandbox and proxy, show a transcript, and stay")
    run.add_argument("--once", action="store_true", help="end after the transcript")
    run.set_defaults(command=_run)
    serve = commands.add_parser("serve", help="the sandbox alone")
    serve.add_argument("--directory", type=Path, required=True, help="where the files for mailproxy are written")
    serve.set_defaults(command=_serve)
    demo = commands.add_parser("demo", help="the transcript alone, against a proxy that runs with a sandbox's files")
    demo.add_argument("--config", type=Path, required=True, help="the mailproxy.toml that the sandbox wrote")
    demo.set_defaults(command=_demo)
    return parser


def _run(options: argparse.Namespace) -> int:
    run = Run(reactor, once=options.once)
    reactor.callWhenRunning(lambda: ensureDeferred(run.start()))
    reactor.run()
    return run.status


def _serve(options: argparse.Namespace) -> int:
    directory: Path = options.directory.absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    world = World.open(reactor, directory)
    command = shlex.join(proxy_command(world.config))
    print(f"The sandbox is up.  The proxy for it:\n\n  PYTHONPATH={shlex.quote(python_path())} {command}\n")
    reactor.run()
    return 0


def _demo(options: argparse.Namespace) -> int:
    try:
        run_demo(options.config, print)
    except Unexpected as failure:
        print(f"\nThe demonstration failed: {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
