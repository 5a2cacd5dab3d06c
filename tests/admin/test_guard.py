"""Who may ask: by which name, and with which token."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.admin.guard import MAX_TOKEN_CHARACTERS, MIN_TOKEN_CHARACTERS, Guard, make_guard
from mailproxy.config import AdminConfig
from mailproxy.errors import ConfigError

TOKEN = "abcdefghijklmnop-._~+/=="


@pytest.mark.parametrize(
    "host",
    [None, "127.0.0.1", "127.0.0.1:9494", "[::1]:9494", "10.1.2.3:9494", "localhost", "LocalHost:9494",
     "status.localhost", "ops.example.com", "OPS.example.com.:9494"],
)  # fmt: skip
def test_addresses_this_machine_and_names_that_are_known_are_ours(host):
    assert Guard(("Ops.Example.com",), None).knows_host(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9494", "", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example",
     "localhost, evil.example", "127.0.0.1@evil.example", "[::1", "ops.example.com.evil.example", "\x00"],
)  # fmt: skip
def test_any_other_name_was_made_to_lead_here(host):
    assert not Guard(("ops.example.com",), None).knows_host(host)


def test_where_no_token_is_wanted_everybody_is_admitted():
    assert Guard((), None).admits(None)
    assert Guard((), None).admits("Bearer whatever")


@pytest.mark.parametrize("shown", [f"Bearer {TOKEN}", f"bearer   {TOKEN}"])
def test_the_token_opens(shown):
    assert Guard((), lambda: TOKEN).admits(shown)


@pytest.mark.parametrize(
    "shown",
    [None, "", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
     f"Bearer {TOKEN}, Bearer {TOKEN}", f"Bearer \xe9{TOKEN}", f"Bearer {TOKEN.upper()}"],
)  # fmt: skip
def test_nothing_else_does(shown):
    assert not Guard((), lambda: TOKEN).admits(shown)


@settings(max_examples=100)
@given(st.text(max_size=80))
def test_no_guess_opens_and_none_is_too_odd(shown):
    guard = Guard((), lambda: TOKEN)
    assert not guard.admits(shown)
    guard.knows_host(shown)


def test_a_changed_file_is_another_token(tmp_path):
    path, now = tmp_path / "token", [0.0]
    path.write_text(f"{TOKEN}\n")
    guard = make_guard(AdminConfig(token_file=path), "x: admin.", lambda: now[0])
    assert guard.admits(f"Bearer {TOKEN}")
    other = TOKEN[::-1].strip("=") + "other"
    path.with_suffix(".new").write_text(other)
    path.with_suffix(".new").replace(path)
    now[0] += 10
    assert guard.admits(f"Bearer {other}")
    assert not guard.admits(f"Bearer {TOKEN}")
    path.unlink()
    now[0] += 10
    assert guard.admits(f"Bearer {other}"), "what cannot be read leaves the one before in use"


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"x" * (MIN_TOKEN_CHARACTERS - 1), b"x" * (MAX_TOKEN_CHARACTERS + 1), b"two\nlines of a token",
     b"with blanks in the middle", "täglich-ein-neues-token".encode(), b"\xff" * 40],
)  # fmt: skip
def test_a_file_without_a_good_token_is_a_problem_that_does_not_quote_it(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        make_guard(AdminConfig(token_file=path), "x: admin.", lambda: 0.0)
    (problem,) = caught.value.problems
    assert problem.startswith(f"x: admin.token_file: {path}: must hold a token of 16 to 512")
    assert not content or content.decode("latin-1") not in problem


def test_a_file_that_is_not_there_is_a_problem(tmp_path):
    with pytest.raises(ConfigError) as caught:
        make_guard(AdminConfig(token_file=tmp_path / "none"), "x: admin.", lambda: 0.0)
    assert "token_file" in caught.value.problems[0]


def test_the_guard_shows_no_token():
    assert TOKEN not in repr(Guard((), lambda: TOKEN))
