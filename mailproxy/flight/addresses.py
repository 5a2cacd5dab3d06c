"""
Senders and recipients taken out of a recording: of each address only the domain stays.
"""

from __future__ import annotations

from attrs import evolve

from mailproxy.errors import BadCommand
from mailproxy.flight.recording import Recording
from mailproxy.session.recording import Event, Frame
from mailproxy.wire.smtp import parse_command, parse_path_command

_PATHS = (b"MAIL", b"RCPT")


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
    local, at, domain = path.rpartition(b"@")
    hidden = b"x" * len(local) + at + domain if at else b"x" * len(path)
    return Frame(frame.event, frame.number, frame.text.replace(path, hidden, 1))
