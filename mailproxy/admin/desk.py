"""
Which answer belongs to which question.  Pure: what is asked for is a value, and so is what is answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.resources import files
from typing import Any

from attrs import field, frozen

from mailproxy.admin import sap
from mailproxy.admin.guard import Guard
from mailproxy.admin.status import readiness, status
from mailproxy.admin.values import Explain, Picture

SHARE = 10
"""An answer that took some time to make is given again for so many times as long: however many ask, no more than about
that part of the process's time goes into it."""

MOST_KEEP_SECONDS = 1.0
"""No answer is older."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer: it is for who asked, and for nobody else's page."""

STATIC = {"/": "index.html"} | {
    f"/{name}": name for name in ("app.js", "dom.js", "plot.js", "rows.js", "words.js", "style.css", "icon.svg")
}
"""The page, and what it consists of."""

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


@frozen
class Asked:
    """A question; header names are in lower case, and what was said twice stands with a comma between."""

    method: str
    path: str
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class Answer:
    """An answer; for HEAD its body is not sent."""

    code: int
    kind: str
    body: bytes
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class Pages:
    """
    Where answers come from; all of it is made when somebody asks.

    `stats` is Envoy's text.  `metrics` is given what the client accepts, and gives type and text.  `explain` says what
    an error means.
    """

    picture: Callable[[], Picture]
    history: Callable[[], Mapping[str, Any]]
    stats: Callable[[], str]
    metrics: Callable[[str], tuple[str, bytes]]
    explain: Explain


@frozen
class _Path:
    """One that is answered; `private` where a token is asked for, if there is one."""

    answer: Callable[[Asked], Answer]
    private: bool = True


@frozen
class _Kept:
    """An answer that may be given again."""

    answer: Answer
    made: float
    until: float


class Desk:
    """
    Answers.

    Args:
        pages: where answers come from.
        guard: says who may ask; it may change.
        seconds: the time.
    """

    def __init__(self, pages: Pages, guard: Guard, seconds: Callable[[], float]) -> None:
        self._pages = pages
        self.guard = guard
        self._seconds = seconds
        self._kept: dict[str, _Kept] = {}
        self._was_ready = False
        self.paths = self._table()
        """What is answered, by path."""

    def answer(self, asked: Asked) -> Answer:
        """What is said to that."""
        if not self.guard.knows_host(asked.headers.get("host")):
            return _words(421, "This host name is not in admin.host_names.")
        path = self.paths.get(asked.path)
        if path is None:
            return _words(404, "There is nothing here; the paths are in the documentation.")
        if asked.method not in ("GET", "HEAD"):
            return _words(405, "Only GET and HEAD.", Allow="GET, HEAD")
        if path.private and not self._admitted(asked):
            return _words(401, "A token is needed.", **{"WWW-Authenticate": 'Bearer realm="mailproxy"'})
        return path.answer(asked)

    def _table(self) -> dict[str, _Path]:
        return {
            **{path: _Path(partial(_static, name), private=False) for path, name in STATIC.items()},
            "/live": _Path(_live, private=False),
            "/livez": _Path(_live, private=False),
            "/ready": _Path(self._ready, private=False),
            "/readyz": _Path(self._ready, private=False),
            "/startupz": _Path(self._started, private=False),
            "/status": self._object(self._status),
            "/history": self._object(self._pages.history),
            "/stats": _Path(lambda _: Answer(200, _TEXT, self._pages.stats().encode())),
            "/metrics": _Path(self._metrics),
            "/sap/status": self._object(lambda: sap.health(self._pages.picture())),
            "/sap/destinationCRs": self._object(lambda: sap.resources(self._pages.picture())),
        }

    def _object(self, make: Callable[[], Mapping[str, Any]]) -> _Path:
        """One that is answered with an object, which is good for a moment."""

        def answer(asked: Asked) -> Answer:
            begun = self._seconds()
            kept = self._kept.get(asked.path)
            if kept is not None and kept.made <= begun < kept.until:
                return kept.answer
            answer = _json(200, make())
            made = self._seconds()
            self._kept[asked.path] = _Kept(answer, made, made + min((made - begun) * SHARE, MOST_KEEP_SECONDS))
            return answer

        return _Path(answer)

    def _status(self) -> Mapping[str, Any]:
        return status(self._pages.picture(), self._pages.explain, addresses=self.guard.wants_token)

    def _admitted(self, asked: Asked) -> bool:
        return self.guard.admits(asked.headers.get("authorization"))

    def _ready(self, asked: Asked) -> Answer:
        """Yes or no is for everybody, and why not for who may know."""
        said = readiness(self._pages.picture())
        if not self._admitted(asked):
            del said["reasons"]
        return _json(200 if said["ready"] else 503, said)

    def _started(self, _: Asked) -> Answer:
        self._was_ready = self._was_ready or not self._pages.picture().reasons
        return _json(200 if self._was_ready else 503, {"started": self._was_ready})

    def _metrics(self, asked: Asked) -> Answer:
        kind, body = self._pages.metrics(asked.headers.get("accept", ""))
        return Answer(200, kind, body)


def _live(_: Asked) -> Answer:
    """That there is an answer shows that the reactor turns."""
    return _json(200, {"live": True})


def _json(code: int, value: Mapping[str, Any]) -> Answer:
    return Answer(code, _JSON, json.dumps(value, separators=(",", ":")).encode() + b"\n")


def _words(code: int, text: str, **headers: str) -> Answer:
    return Answer(code, _TEXT, f"{text}\n".encode(), headers)


_KINDS = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}


def _static(name: str, _: Asked) -> Answer:
    return Answer(200, _KINDS[name.rpartition(".")[2]], _content(name))


@cache
def _content(name: str) -> bytes:
    return files("mailproxy.admin").joinpath("static", name).read_bytes()
