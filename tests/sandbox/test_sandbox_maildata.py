"""Where mail data ends, and what is wrong with it."""

import pytest

from mailproxy.sandbox.maildata import MailData


def cuts(octets):
    """The whole, and octet by octet."""
    return [[octets], [octets[place : place + 1] for place in range(len(octets))]]


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (b".\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n...\r\n.\r\n", b".\r\n..\r\n"),
        (b".a\r\nb.\r\n.\r\n", b"a\r\nb.\r\n"),
        (b"\r\n\r\n.\r\n", b"\r\n\r\n"),
    ],
)
def test_only_crlf_dot_crlf_ends_and_stuffing_is_undone(sent, content):
    for chunks in cuts(sent):
        data = MailData(1000)
        assert [data.feed(chunk) for chunk in chunks] == [None] * (len(chunks) - 1) + [b""]
        assert data.content() == content
        assert not data.has_stray_octets


@pytest.mark.parametrize(
    "middle", [b"\n.\r\n", b"\n.\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\n.\r", b"\r.\r\n", b"\0", b"\r\n.\0\r\n"]
)
def test_anything_like_an_end_is_not_one_and_is_noticed(middle):
    for chunks in cuts(b"a" + middle + b"b\r\n.\r\n"):
        data = MailData(1000)
        assert [data.feed(chunk) for chunk in chunks][-1] == b""
        assert data.has_stray_octets
        assert data.content().endswith(b"b\r\n")


def test_what_comes_behind_the_end_is_handed_back():
    assert MailData(1000).feed(b"a\r\n.\r\nQUIT\r\n") == b"QUIT\r\n"


def test_too_much_is_thrown_away_and_the_end_still_found():
    data = MailData(100)
    for _ in range(1000):
        assert data.feed(b"x" * 50) is None
    assert data.too_big
    assert len(data._data) < 200
    assert data.feed(b"\r\n.\r\nNOOP") == b"NOOP"


def test_the_largest_message_allowed_is_allowed():
    for chunks in cuts(b"x" * 98 + b"\r\n.\r\n"):
        data = MailData(100)
        assert [data.feed(chunk) for chunk in chunks][-1] == b""
        assert not data.too_big
        assert len(data.content()) == 100
