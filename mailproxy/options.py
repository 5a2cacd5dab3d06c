"""
The command line: `twistd mailproxy --config FILE [--check]`.

The file is read while the command line is, before twistd looks for a running daemon, changes directory, umask or
user, and forks: a mistake is told on the terminal, and `--check` works beside a running proxy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from twisted.application.service import IService
from twisted.python.usage import Options as UsageOptions

from mailproxy.config import Config, examine, load
from mailproxy.errors import ConfigError
from mailproxy.process import Process
from mailproxy.watch import fingerprint


class Options(UsageOptions):
    """Options after `twistd mailproxy`."""

    synopsis = "--config FILE [--check]"
    longdesc = """\
Listens for SMTP and POP3 without login, and relays each session to the mail server of its destination and tenant:
logged in there, over verified TLS, with credentials from a destination service or a directory of files.

twistd's own options stand before the word mailproxy: --nodaemon (-n) stays in the foreground, --pidfile FILE,
--logfile FILE and --umask MASK say what they say for every twistd.

SIGTERM or SIGINT: nobody new is let in, sessions may finish what they are in the middle of, within drain_seconds; a
second one ends them at once. SIGHUP loads the configuration anew, without ending any session.

Exit status: 0, or 1 when the configuration cannot be used."""

    optParameters = (("config", "c", None, "The configuration, a TOML file (required)."),)
    optFlags = (("check", None, "Judge the configuration and all files it names, open no port, and exit."),)

    configuration: Config
    seen: bytes | None
    """What the file was when it was read."""

    def postOptions(self) -> None:
        """
        The configuration is read; with `--check`, or when it cannot be used, the process ends here.
        """
        if not self["config"]:
            _exit(["--config FILE is missing; twistd mailproxy --help says more"])
        path = Path(self["config"])
        if self["check"]:
            _exit(_all_problems(path))
        self.seen = fingerprint(path)
        try:
            self.configuration = load(path)
        except ConfigError as error:
            _exit(error.problems)


def makeService(options: Options) -> IService:
    """The whole proxy as a process."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it chooses it, and -r may still do that

    from mailproxy.service import make_service  # noqa: PLC0415 - it imports parts that import it

    try:
        return Process(make_service(options.configuration), reactor, options.seen, os.environ)
    except ConfigError as error:
        _exit(error.problems)


def _all_problems(path: Path) -> tuple[str, ...]:
    """What is wrong in the file, and in everything it names."""
    from mailproxy.service import check  # noqa: PLC0415 - as above

    examined = examine(path)
    return (*examined.problems, *check(examined.config))


def _exit(problems: Iterable[str]) -> NoReturn:
    """The process ends, with one line for each problem."""
    lines = list(problems)
    sys.stderr.write("".join(f"{line}\n" for line in lines or ["configuration ok"]))
    sys.stderr.flush()
    raise SystemExit(1 if lines else 0)
