"""
A session that has ended, as a value that can be written down as JSON and read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import cattrs
from attrs import field, frozen

from mailproxy.flight.flights import Flight
from mailproxy.flight.octets import made_up
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.recording import MAX_TAPE_FRAMES, MAX_THINGS, Event, Frame, ToldError
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.wire.pop3 import POP3Capabilities
from mailproxy.wire.smtp import Extensions

Object = dict[str, Any]
Thing = Extensions | POP3Capabilities | ToldError | None

_POLICIES: Mapping[str, type[SMTPPolicy | POP3Policy]] = {"smtp": SMTPPolicy, "pop3": POP3Policy}


class NoRecording(Exception):
    """Something that is no recording; `str()` says what is wrong with it, and where."""


@frozen
class Recording:
    """
    All that is needed to live through a session once more.

    `whole` is False where its beginning was lost; `things` are what frames refer to.
    """

    listener: str
    session: str
    client: str
    ended: str
    outcome: str
    trouble: str | None
    policy: SMTPPolicy | POP3Policy = field(hash=False)
    ledger: bool
    whole: bool
    frames: tuple[Frame, ...] = field(hash=False)
    things: tuple[Thing, ...] = field(hash=False)

    @property
    def protocol(self) -> str:
        """As `smtp`."""
        return next(name for name, kind in _POLICIES.items() if isinstance(self.policy, kind))


def recording_of(flight: Flight, listener: str) -> Recording:
    """A session of this listener."""
    return Recording(
        listener=listener,
        session=flight.session,
        client=flight.client,
        ended=datetime.fromtimestamp(flight.ended, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        outcome=flight.outcome,
        trouble=flight.trouble,
        policy=flight.policy,
        ledger=flight.ledger,
        whole=flight.recorder.whole,
        frames=tuple(flight.recorder.frames()),
        things=tuple(flight.recorder.things),
    )


# Writing


def written(recording: Recording) -> Object:
    """As JSON has it."""
    return {
        "listener": recording.listener,
        "session": recording.session,
        "client": recording.client,
        "ended": recording.ended,
        "protocol": recording.protocol,
        "outcome": recording.outcome,
        "trouble": recording.trouble,
        "whole": recording.whole,
        "ledger": recording.ledger,
        "policy": cattrs.unstructure(recording.policy),
        "things": [_thing(each) for each in recording.things],
        "events": [_event(each) for each in recording.frames],
    }


def _event(frame: Frame) -> Object:
    event: Object = {"event": frame.event.name.lower()}
    if frame.number:
        event["number"] = frame.number
    if frame.text:
        event["text"] = _text(frame.text)
    return event


def _thing(thing: Thing) -> Object | None:
    if thing is None:
        return None
    if isinstance(thing, ToldError):
        return {
            "error": thing.kind,
            "text": thing.text,
            "temporary": thing.temporary,
            "response_code": thing.response_code,
        }
    if isinstance(thing, Extensions):
        return {"domain": _text(thing.domain), "keywords": dict(thing.keywords)}
    listed = None if thing.listed is None else {name: list(each) for name, each in thing.listed.items()}
    return {"listed": listed, "logged_in": thing.logged_in}


def _text(octets: bytes) -> str:
    """Octets that are no UTF-8 become halves of surrogate pairs, and are read as the same octets again."""
    return octets.decode("utf-8", "surrogateescape")


# Reading


def read(given: object) -> Recording:
    """
    The recording that was written so.

    Raises:
        NoRecording: it is none.
    """
    known = _object(given, "a recording")
    kind = _POLICIES.get(_take(known, "protocol", str))
    if kind is None:
        raise NoRecording(f"protocol: is neither of {', '.join(sorted(_POLICIES))}")
    try:
        policy = cattrs.structure(_object(known.get("policy"), "policy"), kind)
    except (cattrs.BaseValidationError, ValueError, TypeError, KeyError):
        raise NoRecording("policy: is not that of a session") from None
    things = tuple(_read_thing(each, f"things[{at}]") for at, each in enumerate(_take(known, "things", list)))
    recording = Recording(
        listener=_take(known, "listener", str),
        session=_take(known, "session", str),
        client=_take(known, "client", str),
        ended=_take(known, "ended", str),
        outcome=_take(known, "outcome", str),
        trouble=None if known.get("trouble") is None else _take(known, "trouble", str),
        policy=policy,
        ledger=_take(known, "ledger", bool),
        whole=_take(known, "whole", bool),
        frames=tuple(
            _read_event(each, f"events[{at}]", things) for at, each in enumerate(_take(known, "events", list))
        ),
        things=things,
    )
    if not is_modest(recording):
        raise NoRecording("events: are more than a session can have")
    return recording


def is_modest(recording: Recording) -> bool:
    """Whether it takes no more than a tape may have to live through it once more."""
    frames, things = recording.frames, recording.things
    if len(frames) > MAX_TAPE_FRAMES or len(things) > MAX_THINGS:
        return False
    return sum(map(made_up, frames)) <= MAX_STANDING_IN_OCTETS


MAX_STANDING_IN_OCTETS = 64 << 20
"""So many are made up at once for those that a session has heard, when it is lived through once more."""

MAX_PIECE_OCTETS = 4 * 1024 * 1024
"""No chunk is larger."""

_LARGEST = 2**32 - 1
_BOUNDLESS = frozenset({Event.CLIENT_CONTENT, Event.SERVER_CONTENT, Event.LEFT_OUT})
_REFERRING = frozenset({Event.OPENED, Event.FAILED, Event.LOST, Event.KNOWN})


def _read_event(given: object, where: str, things: Sequence[Thing]) -> Frame:
    known = _object(given, where)
    name = _take(known, "event", str, where)
    try:
        event = Event[name.upper()]
    except KeyError:
        raise NoRecording(f"{where}.event: {name!r} is not known") from None
    number = _take({"number": 0, **known}, "number", int, where)
    most = len(things) - 1 if event in _REFERRING else MAX_PIECE_OCTETS
    if not 0 <= number <= (_LARGEST if event in _BOUNDLESS else most):
        raise NoRecording(f"{where}.number: is out of range")
    return Frame(event, number, _octets(_take({"text": "", **known}, "text", str, where), where))


def _read_thing(given: object, where: str) -> Thing:
    if given is None:
        return None
    known = _object(given, where)
    if "error" in known:
        code = None if known.get("response_code") is None else _take(known, "response_code", str, where)
        return ToldError(
            _take(known, "error", str, where),
            _take(known, "text", str, where),
            temporary=_take(known, "temporary", bool, where),
            response_code=code,
        )
    if "keywords" in known:
        keywords = _object(known["keywords"], f"{where}.keywords")
        domain = _octets(_take(known, "domain", str, where), where)
        return Extensions(domain, {str(name): str(each) for name, each in keywords.items()})
    listed = known.get("listed")
    capabilities = None
    if listed is not None:
        named = _object(listed, f"{where}.listed")
        capabilities = {str(name): tuple(map(str, _take(named, name, list, where))) for name in named}
    return POP3Capabilities(capabilities, _take(known, "logged_in", bool, where))


def _object(given: object, where: str) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise NoRecording(f"{where}: is no JSON object")
    return given


def _take(known: Mapping[str, Any], key: str, kind: type[Any], where: str = "") -> Any:
    path = f"{where}.{key}" if where else key
    if key not in known:
        raise NoRecording(f"{path}: is missing")
    if not isinstance(known[key], kind) or (kind is int and isinstance(known[key], bool)):
        raise NoRecording(f"{path}: is no {kind.__name__}")
    return known[key]


def _octets(text: str, where: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise NoRecording(f"{where}: holds characters that stand for no octets") from None
