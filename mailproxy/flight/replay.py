"""
A recorded session, lived through once more: the same logic, told the same things, comes to the same end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from mailproxy import errors
from mailproxy.errors import MailProxyError, RefusedLogin
from mailproxy.flight.octets import MOST_AT_ONCE, made_up, of_client, of_server
from mailproxy.flight.recording import Recording
from mailproxy.flight.transcript import decided, heard
from mailproxy.session.actions import AbortDownstream, CloseDownstream
from mailproxy.session.pop3 import POP3Session
from mailproxy.session.recording import Event, Frame, ToldError
from mailproxy.session.smtp import SMTPSession
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.smtp import number

CRASHED = "internal_error"
"""How a session ends that meets a mistake of ours."""


MAX_REPLAYED_OCTETS = 256 * 1024 * 1024
"""So much content is made up for one recording; what comes behind it is left out."""

MAX_TOLD_OCTETS = 2 * 1024 * 1024
"""With more content, a session is told as it was heard: to live through it would take some milliseconds."""


_FLOWS = frozenset({Event.CLIENT_CONTENT, Event.SERVER_CONTENT})


@frozen
class Played:
    """
    A session that was lived through.

    `lines` is what happened, for people; `outcome` is None where it came to no end, `mistake` is ours where there was
    one.
    """

    lines: tuple[str, ...]
    outcome: str | None
    mistake: BaseException | None = None


def replay(recording: Recording) -> Played:
    """Tell a new session what the recorded one was told, until it ends."""
    try:
        player = _Player(recording)
    except Exception as mistake:  # noqa: BLE001 - what can be read need not make sense
        return Played((), CRASHED, mistake)
    return player.play()


def told(recording: Recording) -> tuple[str, ...]:
    """What happened, for people; where the beginning is lost, or there is much content, only what was heard."""
    if recording.whole and sum(frame.number for frame in recording.frames if frame.event in _FLOWS) <= MAX_TOLD_OCTETS:
        return replay(recording).lines
    return tuple(line for frame in recording.frames if (line := heard(frame, recording.things)) is not None)


class _Player:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._frames = recording.frames
        self._client = of_client(self._frames)
        self._server = of_server(self._frames)
        self._read = 0
        self._room = MAX_REPLAYED_OCTETS
        self._known = self._answers(Event.KNOWN, lambda frame: recording.things[frame.number])
        self._recordable = self._answers(Event.RECORDABLE, lambda frame: bool(frame.number))
        self._session = self._new_session()
        self._outcome: str | None = None
        self._lines: list[str] = []

    def play(self) -> Played:
        """To the end."""
        for place, frame in enumerate(self._frames):
            if self._outcome is not None:
                break
            try:
                self._tell(place, frame)
            except Exception as mistake:  # noqa: BLE001 - whatever it was: it is what there is to be found out
                return Played(tuple(self._lines), CRASHED, mistake)
        return Played(tuple(self._lines), self._outcome)

    def _answers(self, event: Event, answer: Callable[[Frame], Any]) -> Callable[[], Any]:
        answers = deque(answer(frame) for frame in self._frames if frame.event is event)
        return lambda: answers.popleft() if answers else None

    def _new_session(self) -> SMTPSession | POP3Session:
        policy, may_record = self._recording.policy, None
        if self._recording.ledger:
            may_record = self._recordable
        if isinstance(policy, SMTPPolicy):
            return SMTPSession(policy, self._known, may_record=may_record)
        return POP3Session(policy, may_record=may_record)

    def _tell(self, place: int, frame: Frame) -> None:
        """One thing that was told; where content flowed, most of it is made up as it goes."""
        if frame.event is Event.OWNER:
            self._hear(place)
            self._outcome = frame.text.decode("ascii", "replace")
        elif frame.event in _TELLING:
            tell, told = _TELLING[frame.event], self._told(frame)
            self._hear(place)
            more = min(frame.number - made_up(frame), self._room)
            self._room -= more
            for begin in range(0, more, MOST_AT_ONCE):
                tell(self._session, told, b"x" * min(MOST_AT_ONCE, more - begin))
                self._decide()
            tell(self._session, told, self._octets(place, frame))
            self._decide()

    def _hear(self, place: int) -> None:
        """The lines about what was told, and about what it was taken for."""
        things, frames = self._recording.things, self._frames
        self._say(heard(frames[place], things))
        for frame in frames[place + 1 :]:
            if frame.event in _TELLING or frame.event is Event.OWNER:
                break
            self._say(heard(frame, things))

    def _say(self, line: str | None) -> None:
        """The same line over and over is content that goes on."""
        if line is not None and self._lines[-1:] != [line]:
            self._lines.append(line)

    def _octets(self, place: int, frame: Frame) -> bytes:
        """Those that came; of the client, they may be more than were taken for anything."""
        if frame.event not in (Event.CLIENT, Event.CLIENT_CONTENT):
            return self._server.get(place, b"")
        begin, self._read = self._read, self._read + made_up(frame)
        return self._client[begin : self._read].ljust(made_up(frame), b"x")

    def _told(self, frame: Frame) -> Any:
        if frame.event is Event.OPENED:
            return self._recording.things[frame.number], frame.text.partition(b" ")
        if frame.event in (Event.FAILED, Event.LOST):
            return _error(self._recording.things[frame.number])
        return frame.number

    def _decide(self) -> None:
        while self._outcome is None and (action := self._session.next_action()) is not None:
            for line in decided(action):
                self._say(line)
            if isinstance(action, CloseDownstream | AbortDownstream):
                self._outcome = action.outcome


def _error(told: object) -> MailProxyError:
    assert isinstance(told, ToldError), "an error was told of"
    kind = getattr(errors, told.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, MailProxyError)):
        kind = MailProxyError
    error = kind.__new__(kind)
    error.args = (told.text,)
    error.temporary = told.temporary
    if isinstance(error, RefusedLogin):
        error.response_code = told.response_code
    return error


def _open(session: Any, offered: object, used: tuple[bytes, bytes, bytes]) -> None:
    word, _, messages = used
    session.upstream_opened(offered, reused=word == b"reused", messages=number(messages.decode("ascii", "replace")))


Telling = Callable[[Any, Any, bytes], None]

_TELLING: Mapping[Event, Telling] = {
    Event.START: lambda session, _, __: session.start(),
    Event.SECURED: lambda session, _, __: session.downstream_secured(),
    Event.CLIENT: lambda session, _, octets: session.receive_downstream(octets),
    Event.CLIENT_CONTENT: lambda session, _, octets: session.receive_downstream(octets),
    Event.CLIENT_ENDED: lambda session, _, __: session.downstream_ended(),
    Event.CLIENT_LOST: lambda session, _, __: session.downstream_lost(),
    Event.OPENED: lambda session, told, _: _open(session, *told),
    Event.FAILED: lambda session, told, _: session.upstream_failed(told),
    Event.LOST: lambda session, told, _: session.upstream_lost(told),
    Event.WANTED: lambda session, _, __: session.upstream_wanted(),
    Event.SERVER: lambda session, _, octets: session.receive_upstream(octets),
    Event.SERVER_CONTENT: lambda session, _, octets: session.receive_upstream(octets),
    Event.EXPIRED: lambda session, _, __: session.expired(),
    Event.DRAIN: lambda session, _, __: session.drain(),
    Event.CUT: lambda session, told, _: session.cut(last=bool(told)),
}
