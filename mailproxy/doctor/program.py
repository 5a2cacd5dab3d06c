"""
The command `mailproxy check`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailproxy.config import load
from mailproxy.doctor.document import document
from mailproxy.doctor.examination import Subject
from mailproxy.doctor.run import Patient, Report, UnknownSubject, check_all, patients
from mailproxy.doctor.show import report_text
from mailproxy.doctor.steps import STEPS
from mailproxy.doctor.talk import is_mail_address
from mailproxy.doctor.visiting import Wishes
from mailproxy.errors import ConfigError
from mailproxy.process import forget_threads, wait_for_no_thread
from mailproxy.service import own_names

CONFIG = Path("/etc/mailproxy/mailproxy.toml")
"""Where the unit and the image look for it."""

MAX_SECONDS = 600.0

_FAILED = 1
_OF_NO_USE = 2
_INTERRUPTED = 130

_ABOUT = """\
Tries every destination of every tenant as the proxy would, step by step, and explains what goes wrong: its cause, and
what to do.  Nothing is changed at the mail server.

exit status: 0 all is well, 1 something failed, 2 the command line or the configuration cannot be used,
or the report cannot be written, 130 it was interrupted"""


def main(arguments: list[str]) -> int:
    """Every check was made and shown; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        config = load(options.config)
        subjects = patients(config, own_names(), options.subject)
    except ConfigError as error:
        return _refuse(*error.problems)
    except UnknownSubject as error:
        return _refuse(f"{options.config}: {error}")
    wishes = Wishes(options.timeout, options.send_to, options.send_from)
    run = _Run(config, subjects, wishes, Progress(sys.stderr))
    try:
        report = run.to_the_end()
    except ConfigError as error:
        return _refuse(*error.problems)
    if report is None:
        return _INTERRUPTED
    problem = _show(f"{document(report)}\n" if options.json else report_text(report))
    if problem is not None:
        return _refuse(f"the report cannot be written: {problem}")
    return 0 if report.ok else _FAILED


class _Run:
    """The checks, and the reactor for as long as they take."""

    def __init__(self, config: Any, subjects: list[Patient], wishes: Wishes, progress: Progress) -> None:
        self._arguments = config, subjects, wishes, progress.tell
        self._progress = progress
        self._result: Report | Failure | None = None
        self._ended = False

    def to_the_end(self) -> Report | None:
        """What was found; None when somebody did not want to know it any more."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it chooses it

        wait_for_no_thread(reactor)
        reactor.callWhenRunning(self._start, reactor)
        reactor.run()
        self._progress.clear()
        if isinstance(self._result, Failure):
            self._result.raiseException()
        return self._result

    def _start(self, reactor: Any) -> None:
        reactor.addSystemEventTrigger("before", "shutdown", self._end, reactor)
        checks = Deferred.fromCoroutine(check_all(reactor, *self._arguments))
        checks.addBoth(self._done, reactor)

    def _done(self, result: Report | Failure, reactor: Any) -> None:
        if self._ended:
            return  # what is found while everything is taken down is not what there is to find
        self._result = result
        reactor.stop()

    def _end(self, reactor: Any) -> None:
        self._ended = True
        forget_threads(reactor)


class Progress:
    """One line that says what is under way; on a terminal only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream if stream.isatty() else None
        self._shown = 0

    def tell(self, subject: Subject, step: str) -> None:
        """This step begins; none is the end of a check."""
        self._show(f"{subject}: {STEPS[step]} ..." if step else "")

    def clear(self) -> None:
        """Nothing is under way."""
        self._show("")

    def _show(self, words: str) -> None:
        if self._stream is not None:
            self._stream.write("\r" + words.ljust(self._shown) + ("" if words else "\r"))
            self._stream.flush()
            self._shown = len(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mailproxy check", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help=f"by default {CONFIG}")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="for a login; by default login_seconds")
    parser.add_argument("--send-to", type=_address, metavar="ADDRESS", help="send a test mail through each SMTP one")
    parser.add_argument("--send-from", type=_address, metavar="ADDRESS", help="its sender; by default mail.user")
    parser.add_argument("subject", nargs="*", metavar="DESTINATION[/TENANT]", help="by default all of them")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, more than 0 and up to {MAX_SECONDS:g}")
    return seconds


def _address(text: str) -> str:
    if not is_mail_address(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no mail address")
    return text


def _show(text: str) -> str | None:
    """Whoever reads the text has it, or has read enough; else why nobody can have it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is left of it would be tried again when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return None if isinstance(error, BrokenPipeError) else error.strerror
    return None


def _refuse(*problems: str) -> int:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return _OF_NO_USE
