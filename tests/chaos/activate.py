"""
Start a program with open sockets, as systemd does: `python -m tests.chaos.activate NAME=FD ... -- PROGRAM ...`.
"""

from __future__ import annotations

import fcntl
import os
import sys

_FIRST = 3
_ASIDE = 200


def main(arguments: list[str]) -> None:
    """This process has become the program."""
    place = arguments.index("--")
    names, numbers = zip(*(each.rsplit("=", 1) for each in arguments[:place]), strict=True)
    aside = [fcntl.fcntl(int(number), fcntl.F_DUPFD, _ASIDE) for number in numbers]
    for place_of_socket, number in enumerate(aside, _FIRST):
        os.dup2(number, place_of_socket)
    os.closerange(_FIRST + len(aside), _ASIDE + len(aside) + 64)
    os.environ |= {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(names)),
        "LISTEN_FDNAMES": ":".join(names),
    }
    program = arguments[place + 1 :]
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
