"""Lines of a worker come into our log as they were, however they are cut, and none is too long."""

import pytest
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from mailproxy.observe.logs import json_line
from mailproxy.workers.loglines import MAX_LINE_OCTETS, LogLines

LINE = (
    b'{"time":"2026-11-21T14:00:17.204Z","level":"info","event":"ended","namespace":"mailproxy.session",'
    b'"text":"acme/x: session 1-000001 {from} here: ended: quit","outcome":"quit"}\n'
)
SAID = ("mailproxy.session", LogLevel.info, "acme/x: session 1-000001 {from} here: ended: quit")


class Inner:
    def __init__(self):
        self.heard = []

    def makeConnection(self, process):
        self.heard.append(process)

    def processEnded(self, reason):
        self.heard.append(reason)


@pytest.fixture
def said():
    found = []

    def note(event):
        found.append((event["log_namespace"], event["log_level"], formatEvent(event)))

    globalLogPublisher.addObserver(note)
    yield found
    globalLogPublisher.removeObserver(note)


def test_a_line_keeps_its_level_and_its_name(said):
    LogLines(Inner()).childDataReceived(1, LINE + LINE.replace(b"info", b"warn"))
    assert said == [SAID, (SAID[0], LogLevel.warn, SAID[2])]


def test_lines_are_put_together_again_each_stream_for_itself(said):
    lines = LogLines(Inner())
    for octet in LINE:
        lines.childDataReceived(1, bytes([octet]))
        lines.childDataReceived(2, b"." if octet != 10 else b"\n")
    assert [each for each in said if each[0] == SAID[0]] == [SAID]
    assert len(said) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"\tTraceback",
        b"Fatal Python error: \xff",
        b"[" * 60_000,
        b"[]",
        b"{}",
        b'{"text":"x","level":"loud","namespace":"a"}',
        b'{"text":"x","level":"info","namespace":"a b"}',
        b'{"text":1,"level":"info","namespace":"a"}',
        b'{"text":"x","level":"info","namespace":"a","traceback":1}',
        b"",
    ],
)
def test_other_words_come_as_they_are(said, line):
    LogLines(Inner()).childDataReceived(2, line + b"\n")
    ((name, level, text),) = said
    assert (name, level) == ("mailproxy.workers", LogLevel.warn)
    assert text == line.decode("utf-8", "backslashreplace")


def test_an_endless_line_is_cut(said):
    lines = LogLines(Inner())
    for _ in range(5):
        lines.childDataReceived(1, b"x" * MAX_LINE_OCTETS)
    assert len(lines._rests[1]) <= MAX_LINE_OCTETS
    lines.childConnectionLost(1)
    lines.childConnectionLost(1)
    lines.childConnectionLost(2)
    assert sum(len(text) for _, _, text in said) == 5 * MAX_LINE_OCTETS


def test_everything_else_is_for_the_worker():
    inner = Inner()
    lines = LogLines(inner)
    lines.makeConnection("process")
    lines.processExited("reason")
    lines.processEnded("reason")
    assert inner.heard == ["process", "reason"]


def test_a_traceback_comes_along_and_a_line_for_programs_stays_what_it_was(said):
    lines = LogLines(Inner())
    line = b'{"text":"oh","level":"warn","namespace":"a","traceback":"Traceback\\n  x","fields":{"y":1}}\n'
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        lines.childDataReceived(2, line)
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert said == [("a", LogLevel.warn, "oh\n\tTraceback\n\t  x")]
    assert json_line(events[0]).encode() == line
