"""Words of a peer: one printable line, bounded, and without secrets."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.observe.text import printable, without_secrets

SECRET = "correct horse battery staple"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"", ""),
        ("", ""),
        (b"plain words, ~ and all", "plain words, ~ and all"),
        (b"a\r\nb\tc\0", r"a\x0d\x0ab\x09c\x00"),
        (b"\x1b[31mred\x7f", r"\x1b[31mred\x7f"),
        (b"back\\slash", r"back\x5cslash"),
        ("grün", r"gr\xc3\xbcn"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("half a pair \ud800", r"half a pair \xed\xa0\x80"),
        (bytearray(b"abc"), "abc"),
    ],
)
def test_only_printable_ascii_gets_through(text, shown):
    assert printable(text) == shown


def test_it_is_cut_where_it_is_too_long():
    assert printable(b"x" * 256) == "x" * 256
    assert printable(b"x" * 257) == "x" * 256 + "..."
    assert printable("abcdef", 3) == "abc..."
    assert printable("ü" * 10, 3) == r"\xc3\xbc\xc3..."


@given(st.one_of(st.binary(max_size=400), st.text(max_size=200), st.text(st.characters(categories=["Cs"]), max_size=5)))
@settings(max_examples=200)
def test_whatever_a_peer_says_is_one_bounded_line(text):
    shown = printable(text)
    assert set(shown) <= set(string.printable) - set("\r\n\t\x0b\x0c")
    assert len(shown) <= 4 * 256 + 3


@given(st.binary(max_size=100))
@settings(max_examples=100)
def test_no_two_texts_look_the_same(octets):
    assert printable(octets).encode().decode("unicode_escape").encode("latin-1") == octets


# Secrets


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        ("nothing to hide", [], "nothing to hide"),
        ("nothing to hide", [""], "nothing to hide"),
        (f"you said {SECRET}.", [SECRET], "you said <secret>."),
        (f"{SECRET}{SECRET}", [SECRET], "<secret><secret>"),
        ("you said correct horse", [SECRET], "you said <secret>"),
        ("you said correct h", [SECRET], "you said <secret>"),
        ("you said correct", [SECRET], "you said correct"),
        ("the correct answer", [SECRET], "the <secret>answer"),
        ("short: abc", ["abc"], "short: <secret>"),
        ("short: ab", ["abc"], "short: ab"),
        ("one two", ["one", "two"], "<secret> <secret>"),
        ("password1 password12", ["password1", "password12"], "<secret> <secret>"),
        ("say a%20b%20c%20d%20e", ["a b c d e", "a%20b%20c%20d%20e"], "say <secret>"),
        ("say a b c d e", ["a b c d e", "a%20b%20c%20d%20e"], "say <secret>"),
    ],
)
def test_secrets_and_their_beginnings_are_replaced(text, secrets, shown):
    assert without_secrets(text, secrets) == shown
    assert without_secrets(text, reversed(secrets)) == shown


@given(
    st.lists(st.text("ABCD", min_size=1, max_size=12), min_size=1, max_size=4),
    st.lists(st.text("ABCDxyz", max_size=12), min_size=1, max_size=6),
    st.data(),
)
@settings(max_examples=200)
def test_no_secret_is_left_wherever_it_stands(secrets, between, data):
    text = "".join(piece + data.draw(st.sampled_from(secrets)) for piece in between)
    assert not any(secret in without_secrets(text, secrets) for secret in secrets if len(secret) > 7)
    assert not any(secret in without_secrets(text, [secret]) for secret in secrets)
