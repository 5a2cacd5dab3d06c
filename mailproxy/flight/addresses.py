"""
Senders and recipients taken out of a recording: of each address only the domain stays.
"""

from __future__ import annotations

import re

from attrs import evolve

from mailproxy.errors import BadCommand
from mailproxy.flight.recording import Recording
from mailproxy.session.recording import Event, Frame
from mailproxy.wire.smtp import parse_command, parse_path_command

_PATHS = (b"MAIL", b"RCPT")
_TELLING = re.compile(rb"(?<= )((?:AUTH|ORCPT|ENVID)=)(\S+)", re.IGNORECASE)
"""Parameters that are addresses, or made of them (RFC 4954 §5, RFC 3461 §4)."""


def without_addresses(recording: Recording) -> Recording:
    """The same session, with as many letters in the place of each local part (RFC 5321 §4.1.2)."""
    return evolve(recording, frames=tuple(map(_hidden, recording.frames)))


def _hidden(frame: Frame) -> Frame:
    if frame.event is not Event.LINE:
        return frame
    try:
        command = parse_command(frame.text)
        if command.verb not in _PATHS:
            return frame
        path = parse_path_command(command).path[1:-1]
    except BadCommand:
        return Frame(Event.WITHHELD, frame.number)
    begin = frame.text.index(path, frame.text.index(b":") + 1)
    words, parameters = frame.text[:begin], frame.text[begin + len(path) :]
    shown = _TELLING.sub(lambda found: found[1] + _without_local_part(found[2]), parameters)
    return Frame(frame.event, frame.number, words + _without_local_part(path) + shown)


def _without_local_part(address: bytes) -> bytes:
    local, at, domain = address.rpartition(b"@")
    return b"x" * len(local) + at + domain if at else b"x" * len(address)
