"""HTTP on the wire: one question for each connection, bounds on all of it, and the headers of every answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mailproxy.admin.answers import Answer
from mailproxy.admin.channel import (
    CONNECTION_SECONDS,
    MAX_CONNECTIONS,
    MAX_HEADER_OCTETS,
    MAX_HEADERS,
    MAX_LINE_OCTETS,
    Door,
)
from mailproxy.admin.desk import HEADERS, Desk
from mailproxy.admin.guard import Guard
from tests.admin.scenes import crowd, healthy, pages
from tests.support.transports import Network


class Port:
    """Where clients come in."""

    def __init__(self, picture=None):
        self.network = Network()
        self.picture = picture or healthy()
        self.stats = ""
        self.desk = Desk(pages(lambda: self.picture, self._stats), Guard((), None), self.network.clock.seconds)
        self.door = Door(self.desk, self.network.clock)

    def _stats(self):
        if isinstance(self.stats, Exception):
            raise self.stats
        return self.stats

    def connect(self):
        return self.network.plug(self.door.buildProtocol(None), as_tcp=True)

    def say(self, client, octets):
        client.say(octets)
        self.network.settle()
        return client.hear()

    def ask(self, octets):
        return self.say(self.connect(), octets)


@pytest.fixture
def port():
    port = Port()
    yield port
    port.door.abort()
    port.network.settle()
    assert not port.network.transports
    assert not port.network.clock.getDelayedCalls()
    assert not port.door._channels


def parsed(octets):
    """Status, headers and body of the only answer."""
    head, _, body = octets.partition(b"\r\n\r\n")
    status, *lines = head.decode("ascii").split("\r\n")
    assert status.startswith("HTTP/1.1 ")
    return int(status.split(" ")[1]), dict(line.split(": ", 1) for line in lines), body


def get(path, *headers, method="GET", version="HTTP/1.1"):
    return "\r\n".join([f"{method} {path} {version}", *headers, "", ""]).encode("latin-1")


def test_a_question_gets_its_answer_and_the_connection_ends(port):
    client = port.connect()
    code, headers, body = parsed(port.say(client, get("/status?x=1", "Host: localhost")))
    assert (code, headers["Content-Type"], headers["Connection"]) == (200, "application/json", "close")
    assert int(headers["Content-Length"]) == len(body)
    assert json.loads(body)["state"] == "running"
    assert client.over


@pytest.mark.parametrize("path", ["/", "/live", "/status", "/none", "/app.js"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_answer_keeps_strangers_away(port, path, method):
    _, headers, _ = parsed(port.ask(get(path, method=method)))
    assert HEADERS.items() <= headers.items()
    assert headers.keys() - HEADERS.keys() <= {"Content-Type", "Content-Length", "Connection", "Allow"}
    assert "Server" not in headers


def test_head_has_the_length_and_no_body(port):
    _, headers, body = parsed(port.ask(get("/status", method="HEAD")))
    assert (int(headers["Content-Length"]) > 100, body) == (True, b"")


def test_a_question_may_come_octet_by_octet(port):
    client = port.connect()
    heard = b"".join(port.say(client, bytes([octet])) for octet in get("/live", "Host: 127.0.0.1"))
    assert parsed(heard)[2] == b'{"live":true}\n'


def test_an_old_client_is_answered_too(port):
    heard = port.ask(get("/live", version="HTTP/1.0"))
    assert b" 200 OK\r\n" in heard
    assert heard.endswith(b'{"live":true}\n')


def test_there_is_one_question_for_each_connection(port):
    heard = port.ask(get("/live") * 3)
    assert heard.count(b"HTTP/1.1 ") == 1


def test_a_foreign_host_name_is_refused(port):
    assert parsed(port.ask(get("/live", "Host: evil.example")))[0] == 421
    assert parsed(port.ask(get("/live", "Host: localhost", "Host: evil.example")))[0] == 421


@pytest.mark.parametrize("header", ["Content-Length: 1", "Content-Length: 99999999999", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_body_is_not_wanted_and_not_read(port, header, method):
    client = port.connect()
    code, _, _ = parsed(port.say(client, get("/live", header, method=method) + b"x" * 1000))
    assert code == 413
    assert client.over


def test_nobody_is_told_to_go_on_with_a_body(port):
    heard = port.ask(get("/live", "Content-Length: 5", "Expect: 100-continue"))
    assert heard.count(b"HTTP/1.1 ") == 1
    assert parsed(heard)[0] == 413


@pytest.mark.parametrize(
    "octets",
    [
        b"nonsense\r\n\r\n",
        b"GET /live\r\n\r\n",
        get("/live", "no colon"),
        get("/live", "no colon", "Host: localhost"),
        get("/live", "Content-Length: -1"),
        get("/live", "Content-Length: 1", "Transfer-Encoding: chunked"),
        get("/" + "x" * MAX_LINE_OCTETS),
        get("/live", "X: " + "x" * MAX_LINE_OCTETS),
        b"x" * (MAX_LINE_OCTETS + 2),
        get("/live", *[f"X-{number}: y" for number in range(MAX_HEADERS + 1)]),
        get("/live", *[f"X-{number}: {'y' * 1000}" for number in range(MAX_HEADER_OCTETS // 1000 + 1)]),
    ],
)
def test_what_breaks_the_rules_or_a_bound_is_refused_once(port, octets):
    client = port.connect()
    heard = port.say(client, octets)
    assert heard.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert heard.count(b"HTTP/1.1 ") == 1
    assert client.over


def test_the_bounds_are_what_may_be(port):
    line = get("/live", "X: " + "x" * (MAX_LINE_OCTETS - 3))
    assert parsed(port.ask(line))[0] == 200
    assert parsed(port.ask(get("/live", *[f"X-{number}: y" for number in range(MAX_HEADERS)])))[0] == 200


@pytest.mark.parametrize("octets", [b"", b"GET /li", get("/live")[:-2], get("/live", "Content-Length: 1")[:-1]])
def test_a_question_that_is_not_complete_in_time_ends(port, octets):
    client = port.connect()
    port.say(client, octets)
    port.network.advance(CONNECTION_SECONDS - 0.5)
    assert not client.over
    assert port.say(client, b"x") == b""
    port.network.advance(0.5)
    assert client.over


def slow(port):
    """Answers of this port take as long as one wants; the last one."""
    waiting = []

    async def answer(_):
        waiting.append(Deferred())
        return await waiting[-1]

    port.desk.answer = answer
    return waiting


def test_an_answer_may_take_a_while(port):
    waiting, client = slow(port), port.connect()
    assert port.say(client, get("/status")) == b""
    waiting[0].callback(Answer(200, "text/plain", b"late"))
    port.network.settle()
    assert parsed(client.hear())[::2] == (200, b"late")


def test_an_answer_for_somebody_who_is_gone_goes_nowhere(port):
    waiting, client, other = slow(port), port.connect(), port.connect()
    port.say(client, get("/status"))
    client.close()
    port.say(other, get("/status"))
    port.network.advance(CONNECTION_SECONDS)
    assert other.over
    for each in waiting:
        each.callback(Answer(200, "text/plain", b"late"))
    port.network.settle()


def test_an_answer_that_is_not_taken_in_time_ends():
    port = Port(crowd())
    client = port.connect()
    client.say(get("/status"))
    port.network.settle()
    assert port.network.transports, "it is longer than what the system takes"
    port.network.advance(CONNECTION_SECONDS)
    assert not port.network.transports


def test_a_full_house_lets_the_next_one_in_and_the_oldest_go(port):
    waiting = [port.connect() for _ in range(MAX_CONNECTIONS)]
    port.network.settle()
    assert not any(client.over for client in waiting)
    assert parsed(port.ask(get("/live")))[0] == 200
    port.network.settle()
    assert [client.over for client in waiting] == [True] + [False] * (MAX_CONNECTIONS - 1)
    for _ in range(3 * MAX_CONNECTIONS):
        port.connect()
        port.network.settle()
        assert len(port.door._channels) <= MAX_CONNECTIONS


def test_a_mistake_of_ours_is_logged_and_told_without_its_words(port, logged_failures):
    port.stats = RuntimeError("the secret")
    code, _, body = parsed(port.ask(get("/stats")))
    assert code == 500
    assert b"secret" not in body
    assert len(logged_failures) == 1
    logged_failures.clear()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([b"\r\n", b"GET / HTTP/1.1", b"\r\n\r\n", b":", b" "])))
)
def test_nothing_that_is_said_does_harm(parts):
    port = Port()
    client = port.connect()
    for part in parts:
        if not client.over:
            port.say(client, part)
    client.close()
    port.network.settle()
    port.network.advance(CONNECTION_SECONDS)
    assert not port.network.transports
    assert not port.network.clock.getDelayedCalls()
