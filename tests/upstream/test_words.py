"""What a mail server said is shown to an operator without the credentials, in whatever form they come back."""

from base64 import b64encode
from weakref import ref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.destination.model import Password, Token
from mailproxy.upstream.words import concealer, quoted, words_of

SECRET = "correct horse battery staple"


def alice(secret=SECRET):
    return Password("alice", secret)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"5.7.8 Authentication failed", "5.7.8 Authentication failed"),
        (b"", ""),
        (b"red \x1b[31m", r"red \x1b[31m"),
        (b"two\r\nlines\0", r"two\x0d\x0alines\x00"),
        ("grün".encode(), r"gr\xc3\xbcn"),
        (b"latin-1 \xfc", r"latin-1 \xef\xbf\xbd"),
        (b"x" * 300, "x" * 256 + "..."),
    ],
)
def test_words_are_escaped_and_bounded(said, shown):
    assert quoted(said, None) == shown
    assert quoted(said, alice()) == shown


def test_without_credentials_there_is_nothing_to_hide():
    assert quoted(SECRET.encode(), None) == SECRET


@pytest.mark.parametrize("credentials", [alice(), Token("alice", SECRET, 0.0)])
def test_a_secret_that_is_quoted_back_is_replaced(credentials):
    assert quoted(f"you said {SECRET}, twice {SECRET}!".encode(), credentials) == "you said <secret>, twice <secret>!"


def test_it_is_replaced_before_the_words_are_cut():
    said = b"x" * 240 + SECRET.encode()
    assert SECRET[:8] not in quoted(said, alice())


@pytest.mark.parametrize("user", ["", "a", "al", "ali", "alice@example.com"])
def test_the_line_that_was_sent_is_shown_without_its_secret_part(user):
    for sent in (f"\0{user}\0{SECRET}", SECRET, f"user={user}\x01auth=Bearer {SECRET}\x01\x01", f"{user}\0{SECRET}x"):
        line = b64encode(sent.encode()).decode()
        shown = quoted(f"unknown command {line}".encode(), alice())
        assert "<secret>" in shown
        leaked = shown.removeprefix("unknown command ").replace("<secret>", " ").split()
        assert sum(len(piece) for piece in leaked) <= len(line) - len(SECRET) * 4 // 3 + 8


@pytest.mark.parametrize("size", range(20, 60, 3))
def test_a_line_that_is_quoted_in_part_is_shown_without_that_part(size):
    line = b64encode(b"\0alice\0" + SECRET.encode())[:size].decode()
    shown = quoted(f"bad sequence: {line}".encode(), alice())
    assert b64encode(SECRET.encode()[1:]).decode()[:8] not in shown
    assert line[11:19] not in shown


@given(
    st.text(st.characters(codec="utf-8"), min_size=6, max_size=40),
    st.binary(max_size=12),
    st.binary(max_size=12),
)
@settings(max_examples=200)
def test_base64_at_any_place_is_found(secret, before, behind):
    line = b64encode(before + secret.encode() + behind)
    shown = quoted(b"what is " + line + b"?", alice(secret))
    assert "<secret>" in shown


@given(st.text("ABC", min_size=1, max_size=20), st.text("ABC0", max_size=20), st.text("ABC0", max_size=20))
@settings(max_examples=200)
def test_a_secret_as_it_is_never_shows(secret, before, behind):
    assert secret not in quoted((before + secret + behind).encode(), alice(secret))


def test_a_secret_that_has_no_octets_is_no_reason_to_fail():
    assert quoted(b"554 go away", alice("lone \ud800")) == "554 go away"


def test_short_secrets_do_not_break_anything():
    assert quoted(b"a b c", alice("b")) == "a <secret> c"
    assert quoted(b"nothing", alice("")) == "nothing"


# What the client is told


def test_a_clean_reply_stays_as_it_is():
    said = bytes(range(256)) + b"250 Ok"
    assert concealer(alice())(said) == said
    assert concealer(None)(said) == said


@pytest.mark.parametrize("credentials", [alice(), Token("alice", SECRET, 0.0)])
def test_the_client_is_not_told_what_we_logged_in_with(credentials):
    line = b64encode(f"\0alice\0{SECRET}".encode())
    said = concealer(credentials)(b"\xff you said " + SECRET.encode() + b" in " + line + b" \x1b")
    assert said.startswith(b"\xff you said <secret> in ")
    assert said.endswith(b" \x1b")
    assert line[12:20] not in said


def test_a_secret_beyond_ascii_is_found_as_it_went_out():
    secret = "schön grün"
    assert concealer(alice(secret))(f"Ok, {secret} ist es".encode()) == b"Ok, <secret> ist es"


def test_a_short_secret_is_not_told_from_other_words():
    assert concealer(alice("Ok"))(b"2.1.0 Ok: queued") == b"2.1.0 Ok: queued"


# One for all connections


def test_whoever_has_the_same_credentials_has_the_same_words():
    credentials = alice()
    assert words_of(credentials) is words_of(alice())
    assert words_of(credentials) is not words_of(alice(SECRET + "!"))
    assert words_of(None) is words_of(None)


def test_a_secret_is_kept_no_longer_than_its_credentials():
    words = ref(words_of(alice("a secret of its own")))
    assert words() is None
