"""
The command line: `twistd mailproxy --config FILE [--check]`.

The file is read while the command line is, before twistd looks for a running daemon, changes directory, umask or
user, and forks: a mistake is told on the terminal, and `--check` works beside a running proxy.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.python.logfile import LogFile
from twisted.python.usage import Options as UsageOptions

from mailproxy.config import Config, examine, load
from mailproxy.errors import ConfigError
from mailproxy.observe.logs import LogWriter
from mailproxy.process import Process, Proxy
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

    try:
        proxy = _proxy(options, reactor)
        return Process(proxy, reactor, options.seen, os.environ, observer=_observer(options.parent))
    except ConfigError as error:
        _exit(error.problems)


def _proxy(options: Options, reactor: Any) -> Proxy:
    """The proxy itself, or what watches over the workers in which it runs."""
    if options.configuration.workers == 1:
        from mailproxy.service import make_service  # noqa: PLC0415 - it imports parts that import the reactor

        return make_service(options.configuration)
    from mailproxy.workers.supervisor import make_supervisor  # noqa: PLC0415 - nobody else needs it

    through_us = options.parent is None or not logs_to_stdout(options.parent)
    return make_supervisor(options.configuration, reactor, os.environ, log_through_us=through_us)


def _observer(twistd: Mapping[str, Any] | None) -> LogWriter | None:
    """What writes the log to where these options of twistd want it; None if that is for others to do."""
    if twistd is None or twistd["logger"] or twistd.get("syslog"):
        return None
    if logs_to_stdout(twistd):
        return LogWriter(sys.stdout)
    if twistd["logfile"] == "-":
        return None  # twistd itself refuses that for a daemon
    file = LogFile.fromFullPath(twistd["logfile"] or "twistd.log")
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: file.rotate())
    return LogWriter(file)


def logs_to_stdout(twistd: Mapping[str, Any]) -> bool:
    """Whether these options of twistd make it write its log to the standard output, by the rules of its own."""
    elsewhere = twistd["logger"] or twistd.get("syslog") or twistd["logfile"] not in (None, "-")
    return bool(twistd["nodaemon"]) and not elsewhere


def _all_problems(path: Path) -> tuple[str, ...]:
    """What is wrong in the file, and in everything it names."""
    from mailproxy.service import check  # noqa: PLC0415 - it imports parts that import the reactor

    examined = examine(path)
    return (*examined.problems, *check(examined.config))


def _exit(problems: Iterable[str]) -> NoReturn:
    """The process ends, with one line for each problem."""
    lines = list(problems)
    sys.stderr.write("".join(f"{line}\n" for line in lines or ["configuration ok"]))
    sys.stderr.flush()
    raise SystemExit(1 if lines else 0)
