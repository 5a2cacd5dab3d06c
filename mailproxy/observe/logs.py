"""
The log as lines: text for people, or one JSON object in each line for programs; which lines, and in which of the two
forms, can be changed while the process runs.

In JSON there is nothing that the sentence does not say: of an event's fields only those are shown that have a place in
its text, and those of a session, which are escaped and quoted where they are reported.

    {"time": "2026-11-21T14:00:17.204Z", "level": "info", "event": "ended", "namespace": "mailproxy.session",
     "text": "acme/mail: session 000001 from 127.0.0.1:49202: ended: quit", "destination": "mail", "tenant": "acme",
     "session": "000001", "client": "127.0.0.1:49202", "outcome": "quit"}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from string import Formatter
from typing import Any

from attrs import define, field
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    formatEventAsClassicLogText,
    formatTime,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.observe.text import printable

_ORDER = {level: place for place, level in enumerate(LogLevel.iterconstants())}
_TOP = ("destination", "tenant", "session", "client", "outcome", "count")
"""Fields that every program wants to find in the same place."""

_SUBJECT = re.compile(r"^(?:\{\w+\}: |destination \{destination\}, tenant \{tenant\}: )+")
"""Whom a line is about: a listener, or a destination."""

_MAX_TEXT = 4096
"""Characters of one value; what peers say is cut far earlier."""

_json = json.JSONEncoder(separators=(",", ":")).encode


@define
class LogSettings:
    """
    What is told, and how.

    `form` is text, json or auto: text on a terminal.  `level` is the least level, `levels` that of single namespaces
    and all below them.  `fold_seconds` is for how long lines that repeat themselves are folded, 0 for not at all.
    """

    form: str = "auto"
    level: str = "info"
    levels: Mapping[str, str] = field(factory=dict)
    fold_seconds: float = 60.0
    _least: dict[str, int] = field(factory=dict, init=False)
    """The level of each namespace that has said something, as a number."""

    def follow(self, form: str, level: str, levels: Mapping[str, str], fold_seconds: float) -> None:
        """From now on it is so."""
        self.form, self.level, self.levels, self.fold_seconds = form, level, levels, fold_seconds
        self._least.clear()

    def tells(self, namespace: str, level: Any) -> bool:
        """Whether such a line is told."""
        least = self._least.get(namespace)
        if least is None:
            least = self._least[namespace] = self._look_up(namespace)
        return _ORDER[level] >= least

    def _look_up(self, namespace: str) -> int:
        """Of all names that are the namespace, or above it, the longest one counts."""
        above = [name for name in self.levels if f"{namespace}.".startswith(f"{name}.")]
        name = self.levels[max(above, key=len)] if above else self.level
        return _ORDER[LogLevel.levelWithName(name)]


settings = LogSettings()
"""Those of this process."""


@implementer(ILogObserver)
class LogWriter:
    """
    Writes the lines of a process.

    Args:
        file: takes them.
        settings: say which, and in which form.
        form: this one, whatever they say.
    """

    def __init__(self, file: Any, settings: LogSettings = settings, *, form: str | None = None) -> None:
        self._file = file
        self._settings = settings
        self._form = form
        self._terminal = is_terminal(file)

    def __call__(self, event: LogEvent) -> None:
        """The event is written, or not worth it."""
        if not self._settings.tells(event.get("log_namespace") or "", event.get("log_level", LogLevel.info)):
            return
        form = self._form or self._settings.form
        as_text = self._terminal if form == "auto" else form == "text"
        line = text_line(event) if as_text else json_line(event)
        if line:
            self._file.write(line)
            self._file.flush()


def is_terminal(file: Any) -> bool:
    """Whether a person reads it."""
    isatty = getattr(file, "isatty", None)
    return isatty is not None and bool(isatty())


def text_line(event: LogEvent) -> str:
    """The event as twistd writes it; empty if it says nothing."""
    sentence = event.get("log_sentence")
    if sentence is None:
        return formatEventAsClassicLogText(event) or ""
    return f"{formatTime(event['log_time'])} [{event['log_namespace']}#{event['log_level'].name}] {sentence}\n"


def json_line(event: LogEvent) -> str:
    """The event as one JSON object; empty if it says nothing.  A worker's line stays what it was."""
    if "log_line" in event:
        return _json(event["log_line"]) + "\n"
    text, failure = event.get("log_sentence") or formatEvent(event), event.get("log_failure")
    if not text and failure is None:
        return ""
    namespace = event.get("log_namespace") or ""
    line: dict[str, object] = {
        "time": _time(event),
        "level": event.get("log_level", LogLevel.info).name,
        "event": event.get("log_event") or event_name(event.get("log_format") or "", namespace),
        "namespace": namespace,
        "text": text,
    }
    line |= {name: _plain(event[name]) for name in _TOP if event.get(name) is not None}
    fields = event.get("log_fields") or _shown(event)
    if fields:
        line["fields"] = fields
    if isinstance(failure, Failure):
        line["traceback"] = failure.getTraceback()
    return _json(line) + "\n"


@lru_cache(maxsize=1024)
def event_name(sentence: str, namespace: str) -> str:
    """
    The name of an event that has none of its own: what its sentence says of whatever it is about, up to the first
    punctuation mark; where that is nothing, the last part of its namespace.
    """
    said = re.sub(r"\{[^}]*\}", " ", _SUBJECT.sub("", sentence))
    words = re.findall(r"\w+", re.split(r"[;:,(]", said)[0].lower())
    return "_".join(words) or namespace.rpartition(".")[2] or "other"


def _shown(event: LogEvent) -> dict[str, object]:
    """What the sentence of an event has in it, unless it was put together before."""
    if "log_sentence" in event:
        return {}
    names = _places(event.get("log_format") or "")
    return {name: _plain(event[name]) for name in names if name in event and name not in _TOP}


@lru_cache(maxsize=1024)
def _places(sentence: str) -> tuple[str, ...]:
    """The names of the fields in a sentence."""
    try:
        names = [name for _, name, _, _ in Formatter().parse(sentence) if name]
    except ValueError:
        return ()
    return tuple(name for name in names if name.isidentifier() and not name.startswith("log_"))


def _plain(value: object) -> object:
    """As JSON has it, if it has it; else as its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return printable(str(value), _MAX_TEXT)


def _time(event: LogEvent) -> str:
    time = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
