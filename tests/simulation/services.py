"""
Token services and the Destination service, over HTTPS.
"""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs

from tests.simulation.actors import Actor, Gone
from tests.simulation.marker import Certificate, ServerSide
from tests.simulation.secrets import owners
from tests.simulation.site import BY_OWNER, properties

_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
_BEARER = re.compile(r"Bearer (SECRET-([a-z]+)-svc-\w+)", re.IGNORECASE)

_NONSENSE = (b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n[]")


class WebService(Actor):
    """One connection at a service."""

    def __init__(self, world, wire, pace, host, temper, number):
        self.host = host
        self.temper = temper
        super().__init__(world, wire, pace, f"web {number}")

    def script(self):
        good = not self.temper.happens(0.5)
        yield from self.secure(ServerSide(Certificate(self.host if good else "elsewhere.test")))
        request, head, body = yield from self.request()
        status, answer = self.answer(request, head, body)
        fault = self.temper.fault()
        if fault is not None:
            self.note(f"errs: {fault}")
        if fault in ("slow", "very slow"):
            yield self.random.uniform(0.5, 30)
        elif fault in ("stall", "twice", "half again"):
            yield from self.forever()
        elif fault in ("close", "bye"):
            raise Gone
        elif fault == "abort":
            self.abort()
        elif fault in ("garbage", "wrong"):
            self.say(self.random.choice(_NONSENSE))
            raise Gone
        elif fault == "endless":
            yield from self.babble()
        elif fault is not None:
            status, answer = self.random.choice((500, 503, 401, 403, 404, 302, 429)), {"ErrorMessage": "no"}
        yield from self.respond(status, answer, cut=fault == "again later")

    def request(self):
        while (end := self.received.find(b"\r\n\r\n")) < 0:
            if self.eof or self.lost:
                raise Gone
            yield
        head = bytes(self.received[:end])
        length = _LENGTH.search(head)
        size = int(length.group(1)) if length else 0
        while len(self.received) < end + 4 + size:
            if self.eof or self.lost:
                raise Gone
            yield
        body = bytes(self.received[end + 4 : end + 4 + size])
        return head.split(b"\r\n")[0].decode(), head.decode(), body.decode()

    def respond(self, status, answer, *, cut):
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.say(head.encode() + (body[: len(body) // 2] if cut else body))
        yield from self.drained()
        if self.random.random() < 0.3:
            yield from self.forever()

    def babble(self):
        self.say(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(80):
            self.say(b" " * 8000)
            yield from self.drained()
        raise Gone

    # What is asked

    def answer(self, request, head, body):
        _, path, _ = request.split(" ")
        form = {key: values[0] for key, values in parse_qs(body).items()}
        if path == "/oauth/token":
            return self.service_token(form)
        if path == "/oauth2/token":
            return self.access_token(form)
        found = _BEARER.search(head)
        if found is None or not self.world.vault.opens(found.group(1).encode()):
            return 401, {"ErrorMessage": "who are you"}
        place = BY_OWNER[f"{found.group(2)}-{path.rsplit('/', 1)[1]}"]
        token, lifetime = self.issue(place.owner, "access")
        entry = {"type": "Bearer", "value": token, "expires_in": str(lifetime)}
        return 200, {
            "destinationConfiguration": properties(place, self.world.vault.current(place)),
            "authTokens": [entry],
        }

    def service_token(self, form):
        shown = form.get("client_secret", "")
        if owners(shown.encode()) != {"all-binding"} or not self.world.vault.opens(shown.encode()):
            return 401, {"error": "invalid_client"}
        token, lifetime = self.issue(self.host.partition(".")[0], "svc")
        return 200, {"access_token": token, "expires_in": lifetime}

    def access_token(self, form):
        owner = form.get("client_id", "")
        shown = form.get("client_secret", "").encode()
        if owner not in BY_OWNER or owners(shown) != {owner} or not self.world.vault.opens(shown):
            return 401, {"error": "invalid_client"}
        token, lifetime = self.issue(owner, "access")
        return 200, {"access_token": token, "expires_in": lifetime}

    def issue(self, owner, what):
        lifetime = self.random.choice((5, 90, 600, 3600))
        return self.world.vault.issue(f"{owner}-svc" if what == "svc" else owner, "t", lifetime), lifetime
