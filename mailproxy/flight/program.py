"""
`mailproxy replay`: sessions that were recorded are lived through once more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mailproxy.flight.recording import NoRecording, Recording, read
from mailproxy.flight.replay import replay, told
from mailproxy.observe.text import printable

SAME, ANOTHER, UNUSABLE = 0, 1, 2
"""The exit statuses: every session came to its recorded end, one came to another, there is nothing to replay."""

MAX_FILE_OCTETS = 64 * 1024 * 1024
"""No larger file is read."""


class _Unusable(Exception):
    """There is nothing to replay; `str()` says why."""


def main(arguments: Sequence[str]) -> int:
    """Replay what the command line names; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        recordings = _chosen(_recordings(_read(options.file)), options.session)
    except (_Unusable, NoRecording) as error:
        sys.stderr.write(f"mailproxy replay: {options.file}: {error}\n")
        return UNUSABLE
    results = [_show(recording) for recording in recordings]
    return SAME if all(results) else ANOTHER


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mailproxy replay",
        description="Live through recorded sessions once more, and see whether they end as they did.",
        epilog="Exit status: 0 if they do, 1 if one does not, 2 if there is nothing to replay.",
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help="what /status of the admin endpoint has answered, or one of its recordings; - is standard input",
    )
    parser.add_argument("--session", metavar="NUMBER", help="only the session with this number")
    return parser


def _read(name: str) -> Any:
    try:
        with sys.stdin.buffer if name == "-" else Path(name).open("rb") as file:
            content = file.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        raise _Unusable(error.strerror or "cannot be read") from None
    if len(content) > MAX_FILE_OCTETS:
        raise _Unusable(f"is larger than {MAX_FILE_OCTETS} octets")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _Unusable(f"is no JSON: {error}") from None


def _recordings(given: Any) -> list[Recording]:
    """Those in an answer of /status, in a list, or one by itself."""
    if isinstance(given, dict) and "recordings" in given:
        given = given["recordings"]
    found = [read(each) for each in (given if isinstance(given, list) else [given])]
    if not found:
        raise _Unusable("holds no recordings")
    return found


def _chosen(recordings: list[Recording], session: str | None) -> list[Recording]:
    chosen = [each for each in recordings if session in (None, each.session)]
    if not chosen:
        raise _Unusable(f"holds no session {session}")
    return chosen


def _show(recording: Recording) -> bool:
    """One session on standard output; whether it came to its recorded end."""
    say = sys.stdout.write
    who = (recording.session, recording.listener, recording.client, recording.ended)
    say("session {} of {}, client {}, ended {}\n".format(*map(printable, who)))
    if not recording.whole:
        say("".join(f"  {line}\n" for line in told(recording)))
        say(f"ended then: {printable(recording.outcome)}\nits beginning is lost: it cannot be replayed\n")
        return False
    played = replay(recording)
    say("".join(f"  {line}\n" for line in played.lines))
    say(f"ended then: {printable(recording.outcome)}\nended now:  {played.outcome or 'not at all'}\n")
    if played.mistake is not None:
        say(f"by a mistake of mailproxy's: {type(played.mistake).__name__}: {printable(str(played.mistake))}\n")
    return played.outcome == recording.outcome
