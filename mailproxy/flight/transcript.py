"""
A recorded session in lines for people: `->` is what a peer said, `<-` what it was told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mailproxy.observe.text import printable
from mailproxy.session.actions import (
    AbortDownstream,
    AbortUpstream,
    Action,
    CloseDownstream,
    OpenUpstream,
    ReleaseUpstream,
    SendDownstream,
    SendUpstream,
    StartTLS,
)
from mailproxy.session.recording import Event, Frame, ToldError

MAX_SHOWN_LINES = 20
"""So many lines of one answer are shown."""

_MADE_UP = re.compile(rb"x*|\.")
"""What stands in for content; no command and no reply looks like that."""


def heard(frame: Frame, things: Iterable[object]) -> str | None:
    """What was heard, in a line; None where that says nothing to people."""
    say = _HEARD.get(frame.event)
    if say is not None:
        return say(frame)
    if frame.event in _OF_THINGS:
        thing = list(things)[frame.number]
        text = printable(thing.text) if isinstance(thing, ToldError) else ""
        return _OF_THINGS[frame.event](frame, text)
    return None


def decided(action: Action) -> list[str]:
    """What was decided, in lines."""
    say = _DECIDED.get(type(action))
    return [] if say is None else say(action)


def _shown(frame: Frame) -> str:
    return printable(frame.text)


def _withheld(frame: Frame) -> str:
    words = f"{_shown(frame)} " if frame.text else ""
    return f"client -> {words}(a line of {frame.number} octets, withheld)"


def _content(frame: Frame) -> str:
    return f"client -> ({frame.number} octets of mail data)"


def _body(frame: Frame) -> str:
    return f"server -> ({frame.number} octets of a response)"


_HEARD: Mapping[Event, Callable[[Frame], str]] = {
    Event.START: lambda _: "client is connected",
    Event.SECURED: lambda _: "client is behind TLS",
    Event.LINE: lambda frame: f"client -> {_shown(frame)}",
    Event.WITHHELD: _withheld,
    Event.COMPLAINT: lambda frame: f"client -> (no command: {_shown(frame)}, {frame.number} octets)",
    Event.SKIPPED: lambda frame: f"client -> ({frame.number} octets that were read past)",
    Event.CONTENT: _content,
    Event.CONTENT_END: lambda frame: f"client -> ({frame.number} octets of mail data, and its end)",
    Event.CLIENT_CONTENT: _content,
    Event.SPOILED: lambda frame: f"client -> (there was {_shown(frame)} in the mail data)",
    Event.CLIENT_ENDED: lambda _: "client has closed its side",
    Event.CLIENT_LOST: lambda _: "client is gone",
    Event.WANTED: lambda _: "others wait for the connection to the mail server",
    Event.REPLY: lambda frame: f"server -> {frame.number} {_shown(frame)}".rstrip(),
    Event.STATUS: lambda frame: f"server -> {_shown(frame)}",
    Event.BODY: _body,
    Event.BODY_END: lambda frame: f"server -> ({frame.number} octets of a response, and its end)",
    Event.SERVER_CONTENT: _body,
    Event.MALFORMED: lambda _: "server -> (what it may not say there)",
    Event.EXPIRED: lambda _: "the time for that is up",
    Event.DRAIN: lambda _: "mailproxy is being stopped, or the listener removed",
    Event.CUT: lambda _: "the time to drain is over",
    Event.OWNER: lambda frame: f"ended from outside: {_shown(frame)}",
    Event.LEFT_OUT: lambda frame: f"({frame.number} events without consequences are left out)",
}

_OF_THINGS: Mapping[Event, Callable[[Frame, str], str]] = {
    Event.OPENED: lambda frame, _: f"server is ready{', used before' if frame.text else ''}",
    Event.FAILED: lambda _, text: f"server is not to be had: {text}",
    Event.LOST: lambda _, text: f"server is lost: {text}",
}


def _said(peer: str, raw: bytes) -> list[str]:
    """Lines that a peer was told, or how much where they are content."""
    lines = raw.removesuffix(b"\r\n").split(b"\r\n")
    shown = [printable(line) for line in lines if not _MADE_UP.fullmatch(line)]
    said = [f"{peer} <- {line}" for line in shown[:MAX_SHOWN_LINES]]
    if len(shown) > MAX_SHOWN_LINES:
        said.append(f"{peer} <- ({len(shown) - MAX_SHOWN_LINES} lines more)")
    content = sum(len(line) + 2 for line in lines if _MADE_UP.fullmatch(line))
    return [*said, f"{peer} <- (content)"] if content else said


_DECIDED: Mapping[type[Any], Callable[[Any], list[str]]] = {
    SendDownstream: lambda action: _said("client", action.raw),
    SendUpstream: lambda action: _said("server", action.raw),
    OpenUpstream: lambda action: [f"server is asked for{', a fresh connection' if action.fresh else ''}"],
    ReleaseUpstream: lambda _: ["server is let go"],
    AbortUpstream: lambda _: ["server is hung up on"],
    StartTLS: lambda _: ["client is to begin TLS"],
    CloseDownstream: lambda action: [f"client is parted with: {action.outcome}"],
    AbortDownstream: lambda action: [f"client is hung up on: {action.outcome}"],
}
