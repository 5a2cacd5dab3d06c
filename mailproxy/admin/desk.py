"""
Which answer belongs to which question.  Pure: what is asked for is a value, and so is what is answered.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from importlib.resources import files
from typing import Any

from attrs import field, frozen

from mailproxy.admin import sap
from mailproxy.admin.answers import Answer, Answers
from mailproxy.admin.guard import Guard
from mailproxy.admin.status import readiness, status
from mailproxy.admin.values import Explain, Picture
from mailproxy.observe.metrics import takes_openmetrics

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
class Pages:
    """
    Where answers come from; all of it is made when somebody asks.  Who has to ask others first, has a bound on that.

    `glance` is as much of the picture as takes no time, which may be the process alone.  `stats` is Envoy's text.
    `metrics` is given what the client accepts, and gives type and text.  `explain` says what an error means.
    """

    glance: Callable[[], Awaitable[Picture]]
    picture: Callable[[], Awaitable[Picture]]
    history: Callable[[], Awaitable[Mapping[str, Any]]]
    stats: Callable[[], Awaitable[str]]
    metrics: Callable[[str], Awaitable[tuple[str, bytes]]]
    explain: Explain


@frozen
class _Path:
    """One that is answered; `private` where a token is asked for, if there is one."""

    answer: Callable[[Asked], Awaitable[Answer]]
    private: bool = True


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
        self._answers = Answers(seconds)
        self._was_ready = False
        self.paths = self._table()
        """What is answered, by path."""

    async def answer(self, asked: Asked) -> Answer:
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
        return await path.answer(asked)

    def _table(self) -> dict[str, _Path]:
        return {
            **{path: _Path(partial(_static, name), private=False) for path, name in STATIC.items()},
            "/live": _Path(_live, private=False),
            "/livez": _Path(_live, private=False),
            "/ready": _Path(self._ready, private=False),
            "/readyz": _Path(self._ready, private=False),
            "/startupz": _Path(self._started, private=False),
            "/status": self._of_picture(self._status),
            "/history": self._kept(self._history),
            "/stats": self._kept(self._stats),
            "/metrics": _Path(self._metrics),
            "/sap/status": self._of_picture(sap.health),
            "/sap/destinationCRs": self._of_picture(sap.resources),
        }

    def _of_picture(self, say: Callable[[Picture], Mapping[str, Any]]) -> _Path:
        async def make() -> Answer:
            return _json(200, say(await self._pages.picture()))

        return self._kept(make)

    def _kept(self, make: Callable[[], Awaitable[Answer]]) -> _Path:
        """One whose answer is good for a moment, and for everybody."""
        return _Path(lambda asked: self._answers.get(asked.path, make))

    def _status(self, picture: Picture) -> Mapping[str, Any]:
        return status(picture, self._pages.explain, addresses=self.guard.wants_token)

    def _admitted(self, asked: Asked) -> bool:
        return self.guard.admits(asked.headers.get("authorization"))

    async def _ready(self, asked: Asked) -> Answer:
        """Yes or no is for everybody, and why not for who may know."""
        said = readiness(await self._pages.glance())
        shown = said if self._admitted(asked) else {"ready": said["ready"]}
        return _json(200 if said["ready"] else 503, shown)

    async def _started(self, _: Asked) -> Answer:
        self._was_ready = self._was_ready or not (await self._pages.glance()).reasons
        return _json(200 if self._was_ready else 503, {"started": self._was_ready})

    async def _history(self) -> Answer:
        return _json(200, await self._pages.history())

    async def _stats(self) -> Answer:
        return Answer(200, _TEXT, (await self._pages.stats()).encode())

    async def _metrics(self, asked: Asked) -> Answer:
        accept = asked.headers.get("accept", "")

        async def make() -> Answer:
            kind, body = await self._pages.metrics(accept)
            return Answer(200, kind, body)

        return await self._answers.get(f"{asked.path} {takes_openmetrics(accept)}", make)


async def _live(_: Asked) -> Answer:
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


async def _static(name: str, _: Asked) -> Answer:
    return Answer(200, _KINDS[name.rpartition(".")[2]], _content(name))


@cache
def _content(name: str) -> bytes:
    return files("mailproxy.admin").joinpath("static", name).read_bytes()
