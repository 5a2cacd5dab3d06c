"""
What of a client's line may be kept in words.

It is a closed list: a password that came where a command should be, or mail data behind a DATA that was refused, is
no command of it.
"""

from __future__ import annotations

import re

from mailproxy.errors import BadCommand
from mailproxy.session.recording import MAX_KEPT_TEXT_OCTETS, Event, Measure, NoRecorder
from mailproxy.session.smtp_input import CHUNK, ENDLESS, STRANGER, TOO_LONG, Complaint
from mailproxy.session.strangers import begins_other_protocol
from mailproxy.wire import pop3, smtp
from mailproxy.wire.lines import LineBuffer

Line = smtp.Command | Complaint

_SMTP_WHOLE = frozenset({b"EHLO", b"HELO", b"BDAT"})
_SMTP_PATHS = frozenset({b"MAIL", b"RCPT"})
_USUAL = re.compile(
    rb"(?:FROM|TO):<[^<>\s@\"\\]*(?:@[A-Za-z0-9.-]+)?>(?: (?:SIZE=[0-9]{1,20}|BODY=(?:7BIT|8BITMIME)|SMTPUTF8))*",
    re.IGNORECASE,
)
"""What most of them are, and is told quickly."""

_ADDRESS = re.compile(rb"(?:FROM|TO): *(?:<|[^<> ]+@)", re.IGNORECASE)
"""Without brackets, a word that is no address may be anything."""

_SMTP_VERBS = frozenset(
    {b"DATA", b"RSET", b"QUIT", b"NOOP", b"VRFY", b"EXPN", b"HELP", b"STARTTLS", b"AUTH", b"ETRN", b"TURN"}
)
_POP3_VERBS = frozenset({"USER", "PASS", "APOP", "AUTH", "CAPA", "STLS", "UTF8"})
_CHUNK_SIZE = re.compile(rb"[0-9]+( +LAST)?", re.IGNORECASE)
_NAME = re.compile(rb"[A-Za-z0-9._:\[\]-]+")
_REMEMBERED = frozenset({b"EHLO", b"HELO", b"STARTTLS"})


def note_smtp(recorder: NoRecorder, before: Measure, taken: Line | None) -> None:
    """This was taken of the lines of a client of SMTP; None where no line is complete."""
    octets, skipped = before.taken()
    if isinstance(taken, Complaint):
        if taken.kind in (TOO_LONG, CHUNK, ENDLESS):
            octets, skipped = octets + skipped, 0
        _skip(recorder, skipped)
        recorder.note(Event.COMPLAINT, octets, taken.kind.encode())
        return
    _skip(recorder, skipped)
    if taken is not None:
        _note_smtp(recorder, octets, taken)


def _note_smtp(recorder: NoRecorder, octets: int, command: smtp.Command) -> None:
    verb, argument = command.verb, command.argument
    if verb in _REMEMBERED:
        recorder.changed()
    if _may_be_shown(command):
        _note(recorder, octets, b" ".join([verb, argument]) if argument else verb, verb)
    else:
        known = verb in _SMTP_WHOLE or verb in _SMTP_PATHS or verb in _SMTP_VERBS
        recorder.note(Event.WITHHELD, octets, verb if known else b"")


def note_pop3(recorder: NoRecorder, before: Measure, line: bytes | None, *, secret: bool) -> None:
    """The same for POP3; a `secret` line is an answer in a login."""
    octets, skipped = before.taken()
    _skip(recorder, skipped)
    if line is not None:
        _note_pop3(recorder, octets, None if secret else pop3.parse_command(line))


def note_long_pop3(recorder: NoRecorder, before: Measure, lines: LineBuffer) -> None:
    """The same for a line that is too long."""
    kind = STRANGER if begins_other_protocol(lines.beginning) else TOO_LONG
    recorder.note(Event.COMPLAINT, sum(before.taken()), kind.encode())


def _note_pop3(recorder: NoRecorder, octets: int, command: pop3.Command | None) -> None:
    if command is None:
        recorder.changed()
        recorder.note(Event.WITHHELD, octets)
        return
    verb = command.keyword.encode()
    if command.keyword in _POP3_VERBS:
        recorder.changed()
    if command.fits or (command.keyword in _POP3_VERBS and not command.argument):
        words = b" ".join([verb, command.argument]) if command.argument else verb
        _note(recorder, octets, words, verb)
    elif begins_other_protocol(verb):
        recorder.note(Event.COMPLAINT, octets, STRANGER.encode())
    else:
        known = command.keyword in _POP3_VERBS or command.keyword in pop3.RELAYED
        recorder.note(Event.WITHHELD, octets, verb if known else b"")


def _skip(recorder: NoRecorder, octets: int) -> None:
    if octets:
        recorder.changed()
        recorder.note(Event.SKIPPED, octets)


def _note(recorder: NoRecorder, octets: int, words: bytes, verb: bytes) -> None:
    if len(words) > MAX_KEPT_TEXT_OCTETS:
        recorder.note(Event.WITHHELD, octets, verb)
    else:
        recorder.note(Event.LINE, octets, words)


def _may_be_shown(command: smtp.Command) -> bool:
    if not command.argument:
        return command.verb in _SMTP_VERBS or command.verb in _SMTP_WHOLE
    if command.verb in _SMTP_WHOLE:
        return (_CHUNK_SIZE if command.verb == b"BDAT" else _NAME).fullmatch(command.argument) is not None
    return command.verb in _SMTP_PATHS and (
        _USUAL.fullmatch(command.argument) is not None
        or (_ADDRESS.match(command.argument) is not None and _is_path(command))
    )


def _is_path(command: smtp.Command) -> bool:
    try:
        smtp.parse_path_command(command)
    except BadCommand:
        return False
    return True
