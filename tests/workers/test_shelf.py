"""Recordings cross from a worker to the supervisor: each once, within bounds, and nothing else does."""

from __future__ import annotations

import json

import attrs
import pytest

from mailproxy.errors import ConnectionLost
from mailproxy.flight.latest import MAX_SHOWN
from mailproxy.flight.recording import MAX_STANDING_IN_OCTETS, recording_of, written
from mailproxy.session.recording import MAX_TAPE_FRAMES, MAX_THINGS, Event, Frame
from mailproxy.workers.frames import Frames, format_frame
from mailproxy.workers.shelf import (
    MAX_RECORDING_CHARACTERS,
    Shelf,
    Telling,
    format_recording,
    parse_recording,
)
from tests.flight.stories import CAPABLE, Recorded, lost_in_data, smtp_in_transaction


def recording(number=0, **more):
    return recording_of(lost_in_data().flight(session=f"{number:06x}", ended=1_795_000_000.0 + number), "mail", **more)


class Line:
    """From a worker to the supervisor, who sees what has come last."""

    def __init__(self):
        self.telling, self.shelf = Telling(), Shelf()
        self.seen = ()

    def tell(self, *recordings):
        """The keys and numbers of what is said then."""
        frames, said = Frames(), []
        for message in self.telling.news(recordings):
            frames.feed(format_frame(message))
            match frames.next_message():
                case {"recording": raw}:
                    self.shelf.put(raw)
                    said.append(raw[0])
                case {"shelf": raw}:
                    self.seen = self.shelf.keep(raw)
                    said.append(raw)
        return said


@pytest.fixture
def line():
    return Line()


def hostile():
    """Words of peers that are no UTF-8, or look like our own."""
    told = smtp_in_transaction().client(b"RCPT TO:<j\xf6rg@x>\r\n").server(b'550 "\xff\\" \xc3\xb6\r\n')
    yield told.tell(Event.CLIENT_LOST)
    yield Recorded.pop3().start().opened(CAPABLE).lost(ConnectionLost("x"))


@pytest.mark.parametrize("story", list(hostile()), ids=["smtp", "pop3"])
def test_it_comes_over_as_it_is(line, story):
    sent = recording_of(story.flight(trouble="a\udcffb"), "mail")
    line.tell(sent)
    assert line.seen == (sent,)


def test_each_is_told_once_and_goes_when_it_does_not_count_any_more(line):
    first, second, third = (recording(number) for number in range(3))
    assert line.tell() == []
    assert line.tell(second, first) == [1, 2, [1, 2]]
    assert line.seen == (second, first)
    assert line.tell(second, first) == []
    assert line.tell(third, second) == [3, [3, 1]]
    assert line.seen == (third, second)
    assert line.tell(first) == [4, [4]]
    assert line.seen == (first,)
    assert line.tell() == [[]]
    assert line.seen == ()


def test_as_many_as_there_can_be_are_taken_time_and_again(line):
    for begin in range(0, 3 * MAX_SHOWN, MAX_SHOWN):
        every = tuple(recording(number) for number in range(begin, begin + MAX_SHOWN))
        line.tell(*every)
        assert line.seen == every


def test_one_more_than_there_can_be_is_none():
    shelf, text = Shelf(), format_recording(recording())
    for number in range(2 * MAX_SHOWN):
        shelf.put([number, text])
    with pytest.raises(ValueError, match="one too many"):
        shelf.put([2 * MAX_SHOWN, text])
    with pytest.raises(ValueError, match="length"):
        shelf.keep(list(range(MAX_SHOWN + 1)))


def test_what_was_told_stays_as_it_was():
    shelf = Shelf()
    shelf.put([1, format_recording(recording(1))])
    with pytest.raises(ValueError, match="told twice"):
        shelf.put([1, format_recording(recording(2))])
    with pytest.raises(ValueError, match="was not told"):
        shelf.keep([1, 2])
    assert shelf.keep([1, 1]) == (recording(1),)


@pytest.mark.parametrize("raw", [None, [], [1], [True, "{}"], [-1, "{}"], [1, "{}", 1]])
def test_what_is_no_number_with_a_text_is_refused(raw):
    with pytest.raises(ValueError, match=r"count|list"):
        Shelf().put(raw)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        "",
        "{}",
        "[1]",
        "[" * 5000,
        json.dumps({**written(recording()), "whole": 1}),
        json.dumps({**written(recording()), "policy": {"server_name": "x", "max_line_octets": float("nan")}}),
    ],
)
def test_what_is_no_recording_is_refused(raw):
    with pytest.raises(ValueError, match=r"a recording is (none|no text)"):
        parse_recording(raw)


def frames(number, octets):
    return (Frame(Event.CONTENT, octets),) * number


def test_a_text_has_a_bound():
    sent = recording()
    room = MAX_RECORDING_CHARACTERS - len(format_recording(attrs.evolve(sent, trouble="")))
    most = attrs.evolve(sent, trouble="x" * room)
    assert parse_recording(format_recording(most)) == most
    longer = attrs.evolve(most, trouble="x" * (room + 1))
    assert format_recording(longer) is None
    with pytest.raises(ValueError, match="too long"):
        parse_recording(json.dumps(written(longer), separators=(",", ":")))


@pytest.mark.parametrize(
    ("most", "more"),
    [
        ({"frames": frames(MAX_TAPE_FRAMES, 1)}, {"frames": frames(MAX_TAPE_FRAMES + 1, 1)}),
        ({"things": (None,) * MAX_THINGS}, {"things": (None,) * (MAX_THINGS + 1)}),
        ({"frames": frames(16, MAX_STANDING_IN_OCTETS // 16)}, {"frames": frames(17, MAX_STANDING_IN_OCTETS // 16)}),
    ],
    ids=["events", "things", "octets"],
)
def test_what_it_takes_to_live_through_it_has_a_bound(most, more):
    sent = recording_of(Recorded.smtp().start().end("made_room").flight(), "mail")
    assert parse_recording(json.dumps(written(attrs.evolve(sent, **most))))
    assert format_recording(attrs.evolve(sent, **more)) is None
    with pytest.raises(ValueError, match="a recording is none"):
        parse_recording(json.dumps(written(attrs.evolve(sent, **more))))


def test_a_full_tape_has_far_less():
    story = smtp_in_transaction(max_errors=10_000)
    for number in range(2000):
        story.client(b"RCPT TO:<%05d\xff\xff\xff@x>\r\n" % number).server(b"550 \xff\xff\xff\r\n")
    assert len(format_recording(recording_of(story.flight(), "mail"))) < 100_000


def test_what_is_too_large_is_passed_over_and_not_written_again(line, monkeypatch):
    small, large = recording(2), attrs.evolve(recording(1), trouble="x" * MAX_RECORDING_CHARACTERS)
    assert line.tell(large, small) == [1, [1]]
    assert line.seen == (small,)
    monkeypatch.setattr("mailproxy.workers.shelf.format_recording", None)
    assert line.tell(large, small) == []
