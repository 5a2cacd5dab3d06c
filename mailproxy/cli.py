"""
The command `mailproxy`: what there is to do beside a running proxy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from attrs import frozen

USAGE_STATUS = 2
"""The exit status for a command line that nobody understands."""


@frozen
class Command:
    """A command: what it does, in a line, and the program, which is given its arguments and returns an exit status."""

    summary: str
    run: Callable[[list[str]], int]


def _check(arguments: list[str]) -> int:
    from mailproxy.doctor.program import main  # noqa: PLC0415 - each command imports what it needs, and no more

    return main(arguments)


def _ledger(arguments: list[str]) -> int:
    from mailproxy.ledger.commands import run  # noqa: PLC0415 - nor does this one import more than it needs

    return run(arguments)


def _replay(arguments: list[str]) -> int:
    from mailproxy.flight.program import main  # noqa: PLC0415 - each command imports what it needs, and no more

    return main(arguments)


COMMANDS: dict[str, Command] = {
    "check": Command("try every destination, and explain what goes wrong", _check),
    "ledger": Command("verify and search the audit ledger", _ledger),
    "replay": Command("live through recorded sessions once more", _replay),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in COMMANDS:
        return COMMANDS[given[0]].run(given[1:])
    asked_for_help = given[:1] in (["--help"], ["-h"])
    (sys.stdout if asked_for_help else sys.stderr).write(_usage())
    return 0 if asked_for_help else USAGE_STATUS


def _usage() -> str:
    lines = [f"  {name:<10}{command.summary}\n" for name, command in sorted(COMMANDS.items())]
    return (
        f"usage: mailproxy COMMAND ...\n\n{''.join(lines)}\n"
        "mailproxy COMMAND --help says more; the proxy itself is started with twistd mailproxy.\n"
    )
