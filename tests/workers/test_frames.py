"""Messages as octets: whole, in pieces, and from somebody who means harm."""

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.config.source import MAX_FILE_OCTETS
from mailproxy.workers.frames import MAX_FRAME_OCTETS, Frames, format_frame

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def all_of(frames):
    found = []
    while (message := frames.next_message()) is not None:
        found.append(message)
    return found


def frame(text):
    return struct.pack(">I", len(text)) + text


@settings(max_examples=200)
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=4), st.data())
def test_messages_arrive_as_they_were_however_they_are_cut(messages, data):
    octets = b"".join(map(format_frame, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=6)))
    frames, found = Frames(), []
    for begin, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
        frames.feed(octets[begin:end])
        found += all_of(frames)
    assert found == messages


def test_octet_by_octet():
    frames, found = Frames(), []
    for octet in format_frame({"do": "drain"}) * 2:
        frames.feed(bytes([octet]))
        found += all_of(frames)
    assert found == [{"do": "drain"}] * 2


@pytest.mark.parametrize("length", [101, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_length_that_is_too_long_is_found_before_anything_is_kept_for_it(length):
    frames = Frames(most=100)
    frames.feed(struct.pack(">I", length))
    with pytest.raises(ValueError, match=f"a message of {length} octets is too long"):
        frames.next_message()


def test_the_longest_message_passes():
    text = b'{"a":"' + b"x" * 92 + b'"}'
    frames = Frames(most=100)
    frames.feed(frame(text) * 2)
    assert all_of(frames) == [json.loads(text)] * 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b'{"a": NaN}', "no JSON"),
        (b'{"a": -Infinity}', "no JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "no JSON"),
        (b"[]", "no object"),
        (b"null", "no object"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_message_is_an_error(text, complaint):
    frames = Frames()
    frames.feed(frame(text))
    with pytest.raises(ValueError, match=complaint):
        frames.next_message()


def test_the_largest_configuration_fits():
    source = '"\n' * (MAX_FILE_OCTETS // 2)
    octets = format_frame({"do": "start", "path": "/" * 4096, "source": source})
    assert len(octets) < MAX_FRAME_OCTETS
    frames = Frames()
    frames.feed(octets)
    assert frames.next_message()["source"] == source


def test_a_message_that_is_too_long_is_not_sent():
    with pytest.raises(ValueError, match="too long"):
        format_frame({"a": "x" * MAX_FRAME_OCTETS})


def test_what_cannot_be_a_number_is_not_sent():
    with pytest.raises(ValueError, match="JSON"):
        format_frame({"a": float("nan")})
