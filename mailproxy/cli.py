"""
The command line beside twistd's: `mailproxy COMMAND ...`, with a program of its own behind each command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from mailproxy.ledger import commands as ledger


@frozen
class Command:
    """What can be asked for: `summary` is one line for people, `run` takes the arguments and gives the exit status."""

    summary: str
    run: Callable[[list[str]], int]


COMMANDS: dict[str, Command] = {
    "ledger": Command("verify and search the audit ledger", ledger.run),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] in (["-h"], ["--help"]):
        sys.stdout.write(usage(COMMANDS))
        return 0
    if not given or given[0] not in COMMANDS:
        sys.stderr.write(usage(COMMANDS))
        return 2
    return COMMANDS[given[0]].run(given[1:])


def usage(commands: Mapping[str, Command]) -> str:
    """What there is."""
    lines = [f"  {name:10} {command.summary}\n" for name, command in commands.items()]
    start = "twistd mailproxy --config FILE"
    return f"usage: mailproxy COMMAND ...\n\n{''.join(lines)}\nThe proxy itself is started with: {start}\n"
