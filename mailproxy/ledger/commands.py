"""
What people ask of a ledger: `mailproxy ledger verify FILE...` and `mailproxy ledger search ... FILE...`.

Exit status: 0 all is well, 1 something is wrong with a file, 2 the command was not understood.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mailproxy.ledger.chain import Link
from mailproxy.ledger.keyed import NO_KEY, AddressKey, BadKey, read_key
from mailproxy.ledger.search import Hit, Question, parse_address, parse_time, search
from mailproxy.ledger.verify import Finding, verify

_OK, _WRONG, _USAGE = 0, 1, 2


def run(arguments: list[str]) -> int:
    """Carry out `mailproxy ledger` with these arguments; the exit status."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:  # argparse has said why
        return _USAGE if end.code else _OK
    deed: Callable[[argparse.Namespace], int] = options.deed
    try:
        return deed(options)
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}")
        return _WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mailproxy ledger", description="Reads the files of an audit ledger.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verifying = commands.add_parser("verify", help="find the first record that is not as it was written")
    verifying.add_argument("files", nargs="+", type=Path, metavar="FILE")
    verifying.add_argument(
        "--last", type=_link, metavar="SEQ:HASH", help="the last record, as it is known from elsewhere"
    )
    verifying.set_defaults(deed=_verify)
    searching = commands.add_parser("search", help="show records, each as the line that it is")
    searching.add_argument("files", nargs="+", type=Path, metavar="FILE")
    searching.add_argument("--address", type=parse_address, help="of a sender, a recipient, or a POP3 user")
    searching.add_argument("--message-id", help="with or without its brackets")
    searching.add_argument("--since", type=parse_time, metavar="TIME", help="ended then or later: 2026-11-21T14:00")
    searching.add_argument("--until", type=parse_time, metavar="TIME", help="ended before then; UTC unless it says so")
    searching.add_argument("--tenant", help="its name")
    searching.add_argument("--session", help="its number, as the log has it")
    searching.add_argument("--key-file", type=_key, default=NO_KEY, metavar="FILE", help="for hidden addresses")
    searching.set_defaults(deed=_search)
    return parser


def _link(text: str) -> Link:
    found = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text)
    if found is None:
        raise argparse.ArgumentTypeError("must be SEQ:HASH")
    return Link(int(found[1]), found[2])


def _key(text: str) -> AddressKey:
    try:
        return read_key(Path(text))
    except BadKey as bad:
        raise argparse.ArgumentTypeError(f"{text}: {bad}") from bad


def _verify(options: argparse.Namespace) -> int:
    findings = verify(options.files, options.last)
    for finding in findings:
        _say("".join(f"{note}\n" for note in finding.notes))
        _say(f"{_verdict(finding)}\n")
    return _WRONG if any(finding.problem for finding in findings) else _OK


def _verdict(finding: Finding) -> str:
    if finding.problem is not None:
        return str(finding.problem)
    if not finding.records:
        return f"{finding.of}: ok, no records"
    return f"{finding.of}: ok, {finding.records} records, the last one is {finding.last}"


def _search(options: argparse.Namespace) -> int:
    wanted: dict[str, Any] = {
        name: getattr(options, name) for name in ("address", "message_id", "since", "until", "tenant", "session")
    }
    hidden = 0
    for line, hit in search(options.files, Question(**wanted, key=options.key_file)):
        if hit is Hit.FITS:
            _say(line.octets.decode("ascii", "replace") + "\n")
        elif hit is Hit.HIDDEN:
            hidden += 1
        else:  # what a crash has left, most often; whether that is so, verify says
            _complain(f"{line.file}:{line.number}: is no record of a ledger")
    if hidden:
        _complain(f"records with hidden addresses, which only --key-file can find: {hidden}")
    return _OK


def _say(text: str) -> None:
    sys.stdout.write(text)


def _complain(text: str) -> None:
    sys.stderr.write(f"mailproxy ledger: {text}\n")
