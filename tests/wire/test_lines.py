"""Lines out of octets: the same for every way of cutting them, bounded, and in linear time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.errors import BareNewline, LineTooLong
from mailproxy.wire.lines import LineBuffer

LIMIT = 8
TOO_LONG = "too long"
BARE = "bare LF"

PIECES = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b"\r\r\n", b"a", b"\0", b"bcdef", b"ghijkl\r\n", b"m" * 30]), max_size=16
).map(b"".join)
CUTS = st.lists(st.integers(0, 200), max_size=10)


def cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def octets(data):
    return [data[i : i + 1] for i in range(len(data))]


def read(chunks, *, limit=LIMIT, lone_lf=False):
    """Every line and every error, in order; an error that cannot be got over ends it."""
    buffer = LineBuffer(limit, lone_lf_ends_line=lone_lf)
    seen = []
    for chunk in chunks:
        buffer.feed(chunk)
        while True:
            try:
                line = buffer.next_line()
            except LineTooLong:
                seen.append(TOO_LONG)
                continue
            except BareNewline:
                return [*seen, BARE], buffer
            if line is None:
                break
            seen.append(line)
    return seen, buffer


CASES = [
    pytest.param(b"", [], [], id="nothing"),
    pytest.param(b"QUIT\r\n", [b"QUIT"], [b"QUIT"], id="one line"),
    pytest.param(b"a\r\nb\r\nc\r\n", [b"a", b"b", b"c"], [b"a", b"b", b"c"], id="several lines"),
    pytest.param(b"\r\n\r\n", [b"", b""], [b"", b""], id="empty lines"),
    pytest.param(b"QUIT", [], [], id="a line that has not ended"),
    pytest.param(b"QUIT\r", [], [], id="half a newline"),
    pytest.param(b"a\rb\r\n", [b"a\rb"], [b"a\rb"], id="bare CR inside"),
    pytest.param(b"a\r\r\n", [b"a\r"], [b"a\r"], id="bare CR at the end"),
    pytest.param(b"a\0b\r\n", [b"a\0b"], [b"a\0b"], id="NUL"),
    pytest.param(b"a\n", [BARE], [b"a"], id="lone LF"),
    pytest.param(b"\n", [BARE], [b""], id="nothing but LF"),
    pytest.param(b"a\r\nb\nc\r\n", [b"a", BARE], [b"a", b"b", b"c"], id="lone LF after a good line"),
    pytest.param(b"a\n\r\n", [BARE], [b"a", b""], id="LF CR LF"),
    pytest.param(b"123456\r\n", [b"123456"], [b"123456"], id="just short enough, newline included"),
    pytest.param(b"1234567\r\nb\r\n", [TOO_LONG, b"b"], [TOO_LONG, b"b"], id="one too long"),
    pytest.param(b"1234567\n", [BARE], [b"1234567"], id="just short enough, with a lone LF"),
    pytest.param(b"12345678\nb\r\n", [TOO_LONG, BARE], [TOO_LONG, b"b"], id="one too long, with a lone LF"),
    pytest.param(b"x" * 40 + b"\r\nb\r\n", [TOO_LONG, b"b"], [TOO_LONG, b"b"], id="much too long"),
    pytest.param(b"x" * 40 + b"\nb\r\n", [TOO_LONG, BARE], [TOO_LONG, b"b"], id="much too long, with a lone LF"),
    pytest.param(b"x" * 40, [TOO_LONG], [TOO_LONG], id="without an end"),
    pytest.param(b"x" * 7 + b"\r", [TOO_LONG], [TOO_LONG], id="without an end, but half of one"),
    pytest.param(
        b"x" * 20 + b"\r\n" + b"y" * 20 + b"\r\nb\r\n",
        [TOO_LONG, TOO_LONG, b"b"],
        [TOO_LONG, TOO_LONG, b"b"],
        id="twice",
    ),
    pytest.param(b"x" * 20 + b"\ry\r\nb\r\n", [TOO_LONG, b"b"], [TOO_LONG, b"b"], id="too long, with a bare CR"),
]


@pytest.mark.parametrize(("data", "strict", "lenient"), CASES)
@pytest.mark.parametrize("cutter", [lambda data: [data], octets], ids=["whole", "octet by octet"])
def test_lines_and_errors_come_in_order(data, strict, lenient, cutter):
    assert read(cutter(data))[0] == strict
    assert read(cutter(data), lone_lf=True)[0] == lenient


@pytest.mark.parametrize(("data", "strict", "lenient"), CASES)
@pytest.mark.parametrize("cutter", [lambda data: [data], octets], ids=["whole", "octet by octet"])
def test_what_comes_behind_a_line_stays_for_the_next_owner(data, strict, lenient, cutter):
    del lenient
    if not data.endswith(b"\r\n") or BARE in strict:
        data, strict = b"a\r\n", [b"a"]
    seen, buffer = read([*cutter(data), b"t", b"ail"])
    assert seen == strict
    assert len(buffer) == 4
    assert buffer.in_line
    assert buffer.take_all() == b"tail"
    assert (len(buffer), buffer.in_line, buffer.take_all()) == (0, False, b"")


@settings(max_examples=200)
@given(data=PIECES, places=CUTS, lone_lf=st.booleans(), limit=st.integers(2, 12))
def test_no_cut_changes_what_is_read(data, places, lone_lf, limit):
    whole, _ = read([data], limit=limit, lone_lf=lone_lf)
    assert read(cut(data, places), limit=limit, lone_lf=lone_lf)[0] == whole
    assert read(octets(data), limit=limit, lone_lf=lone_lf)[0] == whole


@settings(max_examples=200)
@given(data=PIECES, places=CUTS, limit=st.integers(2, 12))
def test_every_octet_is_handed_out_thrown_away_or_still_there(data, places, limit):
    seen, buffer = read(cut(data.replace(b"\n", b"\r\n"), places), limit=limit)
    assert BARE not in seen
    lines = [line for line in seen if line != TOO_LONG]
    assert all(len(line) + 2 <= limit for line in lines)
    total = sum(len(line) + 2 for line in lines) + buffer.skipped + len(buffer)
    assert total == len(data.replace(b"\n", b"\r\n"))


def test_lines_can_be_taken_one_at_a_time_between_two_owners():
    buffer = LineBuffer(64)
    buffer.feed(b"STARTTLS\r\n\x16\x03\x01")
    assert buffer.next_line() == b"STARTTLS"
    assert buffer.take_all() == b"\x16\x03\x01"
    assert buffer.next_line() is None


def test_a_buffer_knows_whether_a_line_has_begun():
    buffer = LineBuffer(LIMIT)
    assert not buffer.in_line
    buffer.feed(b"a")
    assert buffer.in_line
    buffer.feed(b"\r\n")
    assert buffer.next_line() == b"a"
    assert not buffer.in_line
    buffer.feed(b"x" * 20)
    with pytest.raises(LineTooLong, match="longer than 8 octets"):
        buffer.next_line()
    assert buffer.in_line
    buffer.feed(b"\r\n")
    assert buffer.next_line() is None
    assert not buffer.in_line


def test_an_over_long_line_takes_no_room_and_is_counted():
    buffer = LineBuffer(LIMIT)
    buffer.feed(b"x" * 5000)
    with pytest.raises(LineTooLong):
        buffer.next_line()
    for _ in range(100):
        buffer.feed(b"x" * 5000)
        assert buffer.next_line() is None
        assert len(buffer) <= 1
    buffer.feed(b"\r\nQUIT\r\n")
    assert buffer.next_line() == b"QUIT"
    assert buffer.skipped == 101 * 5000 + 2


@pytest.mark.parametrize("cutter", [lambda data: [data], octets], ids=["whole", "octet by octet"])
def test_what_stands_before_a_lone_lf_in_an_over_long_line_is_counted(cutter):
    seen, buffer = read(cutter(b"x" * 5000 + b"\nQUIT\r\n"))
    assert seen == [TOO_LONG, BARE]
    assert buffer.skipped == 4999


def test_a_lone_lf_is_an_error_however_often_one_asks():
    buffer = LineBuffer(LIMIT)
    buffer.feed(b"a\nb\r\n")
    for _ in range(3):
        with pytest.raises(BareNewline):
            buffer.next_line()
    assert buffer.take_all() == b"a\nb\r\n"


def test_an_endless_line_in_small_pieces_is_searched_once():
    """Each octet is looked at once: what was searched is not searched again."""
    buffer = LineBuffer(1 << 20)
    searches = []

    class Spy(bytearray):
        def find(self, sub, start=0):
            searches.append(len(self) - start)
            return bytearray.find(self, sub, start)

    buffer._data = Spy()
    for _ in range(500):
        buffer.feed(b"x" * 100)
        assert buffer.next_line() is None
    assert sum(searches) == 500 * 100
