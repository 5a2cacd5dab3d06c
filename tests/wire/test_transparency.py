"""Mail data: its end, its stray newlines, for every way of cutting the octets."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.errors import BareNewline, NulOctet
from mailproxy.wire import transparency
from mailproxy.wire.transparency import BareNewlines, EndFinder, NewlineKeeper

TOKENS = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"b.", b"\r\n.\r\n"]), max_size=24).map(
    b"".join
)


def cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def split(chunks):
    finder = EndFinder()
    return b"".join([finder.feed(chunk) for chunk in chunks]), finder.ended, finder.rest


def mend(chunks, policy=BareNewlines.NORMALIZE):
    finder, keeper = EndFinder(), NewlineKeeper(policy)
    out = b"".join([keeper.feed(finder.feed(chunk)) for chunk in chunks])
    return out, finder.ended, finder.rest, keeper


def octets(data):
    return [data[i : i + 1] for i in range(len(data))]


ENDS = [
    (b".\r\n", b"", b""),
    (b".\r\nQUIT\r\n", b"", b"QUIT\r\n"),
    (b"a\r\n.\r\n", b"a\r\n", b""),
    (b"a\r\n..\r\n.\r\nMAIL", b"a\r\n..\r\n", b"MAIL"),
    (b"..\r\n.\r\n", b"..\r\n", b""),
    (b"\r\n.\r\n", b"\r\n", b""),
    (b"a\r\r\n.\r\n", b"a\r\r\n", b""),
    (b"a\n.\r\n\r\n.\r\n", b"a\n.\r\n\r\n", b""),
    (b".\r.\r\n.\r\n", b".\r.\r\n", b""),
    (b".\r\r\n.\r\n", b".\r\r\n", b""),
]


@pytest.mark.parametrize(("data", "body", "rest"), ENDS)
@pytest.mark.parametrize("cutter", [lambda data: [data], octets])
def test_only_crlf_dot_crlf_ends_mail_data(data, body, rest, cutter):
    assert split(cutter(data)) == (body, True, rest)


NO_END = [
    b"\n.\n",
    b"\n.\r\n",
    b"a\r\n.\n",
    b"a\r.\r",
    b"a\n.\r",
    b"a\r.\n",
    b"a\r\n.\r",
    b"a\r\n\x00.\r\n",
    b"a\r\n.\x00\r\n",
]


@pytest.mark.parametrize("data", NO_END)
@pytest.mark.parametrize("cutter", [lambda data: [data], octets])
def test_nothing_else_ends_mail_data(data, cutter):
    assert not split(cutter(b"x" + data + b"y"))[1]


@given(TOKENS, st.lists(st.integers(0, 80), max_size=8))
def test_the_end_is_where_the_definition_says_for_any_cut(data, places):
    found = (b"\r\n" + data).find(b"\r\n.\r\n")
    body, ended, rest = split(cut(data, places))
    if found < 0:
        assert not ended
        assert data.startswith(body)
        assert len(data) - len(body) <= 2
    else:
        assert (body, ended, rest) == (data[:found], True, data[found + 3 :])


SMUGGLING = [
    (b"a\n.\r\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
    (b"a\r\n.\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
    (b"a\r.\r\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
    (b"a\n.\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
    (b"a\r.\rb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
    (b"a\n.\rb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
    (b"a\r.\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
    (b"a\r\n.\rb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
    (b".\nb\r\n.\r\n", b"..\r\nb\r\n"),
    (b"a\r\r\nb\r\n.\r\n", b"a\r\n\r\nb\r\n"),
    (b"a\n\r\nb\r\n.\r\n", b"a\r\n\r\nb\r\n"),
    (b"a\n..b\r\n.\r\n", b"a\r\n...b\r\n"),
    (b"a\r\n..b\r\n.x\r\n.\r\n", b"a\r\n..b\r\n.x\r\n"),
]


@pytest.mark.parametrize(("data", "sent"), SMUGGLING)
@pytest.mark.parametrize("cutter", [lambda data: [data], octets])
def test_stray_newlines_become_crlf_and_never_an_end(data, sent, cutter):
    out, ended, rest, keeper = mend(cutter(data))
    assert (out, ended, rest) == (sent, True, b"")
    assert keeper.mended == len(re.findall(rb"\r(?!\n)|(?<!\r)\n", data)) or (b".x" in data and keeper.mended == 0)


@given(TOKENS, st.lists(st.integers(0, 80), max_size=8))
def test_what_goes_on_is_the_same_for_any_cut_and_holds_no_stray_newline(data, places):
    whole = mend([data + b"\r\n.\r\n"])
    pieces = mend(cut(data + b"\r\n.\r\n", places))
    assert whole[:3] == pieces[:3]
    assert (whole[3].mended, whole[3].octets) == (pieces[3].mended, pieces[3].octets)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", whole[0])
    assert b"\r\n.\r\n" not in b"\r\n" + whole[0]


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=6).map(lambda text: re.sub(rb"[\r\n\0]", b".", text)), max_size=12))
def test_a_clean_message_arrives_octet_for_octet(lines):
    stuffed = b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines)
    out, ended, _, keeper = mend([stuffed + b".\r\n"])
    assert (out, ended, keeper.mended) == (stuffed, True, 0)
    assert keeper.octets == sum(len(line) + 2 for line in lines)


def test_a_clean_chunk_is_handed_on_without_a_copy():
    chunk = b"a line\r\n" * 8000
    assert NewlineKeeper(BareNewlines.NORMALIZE).feed(chunk) is chunk


@pytest.mark.parametrize("data", [b"a\nb", b"a\rb", b"\r\r\n"])
@pytest.mark.parametrize("cutter", [lambda data: [data], octets])
def test_stray_newlines_are_refused_where_the_policy_says_so(data, cutter):
    with pytest.raises(BareNewline):
        mend(cutter(data), BareNewlines.REJECT)


@pytest.mark.parametrize("policy", list(BareNewlines))
def test_nul_is_always_refused(policy):
    with pytest.raises(NulOctet):
        mend([b"a\0b\r\n"], policy)


@given(
    st.lists(st.sampled_from([b"", b"ab", b"abcd", b"a.b."]), min_size=1, max_size=6),
    st.sampled_from([b"\r\n", b"\n", b"\r"]),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([b"\r", b"\n", b"x"])), max_size=3),
)
def test_lines_of_one_length_are_clean_exactly_where_a_look_at_each_octet_says_so(lines, end, strays):
    data = bytearray(end.join([*lines, b""]) * 3 + end[:1])
    for place, octet in strays:
        data[place : place + 1] = octet
    stray = re.search(rb"(?<!\r)\n|\r(?!\n)", data)
    assert transparency._is_clean(bytes(data)) == (stray is None)
