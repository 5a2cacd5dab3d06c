import pytest

from mailproxy.ledger.keyed import MAX_KEY_OCTETS, MIN_KEY_OCTETS, NO_KEY, AddressKey, BadKey, address_of, read_key

KEY = AddressKey(b"0123456789abcdef")


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (b"<a@b.test>", b"a@b.test"),
        (b"<>", b""),
        (b"<@one.test,@two.test:a@b.test>", b"a@b.test"),
        (b'<"a:b"@b.test>', b'"a:b"@b.test'),
        (b"<postmaster>", b"postmaster"),
        (b"a@b.test", b"a@b.test"),
        (b"", b""),
    ],
)
def test_the_address_in_a_path(path, address):
    assert address_of(path) == address


def test_a_hidden_address_can_be_searched_for_with_the_key_and_not_be_read():
    hidden = KEY.hide("Bob@X.test")
    assert hidden.startswith("hmac-sha256:")
    assert "bob" not in hidden.lower()
    assert KEY.matches(hidden, "bob@x.TEST")
    assert not KEY.matches(hidden, "bo@x.test")
    assert not AddressKey(b"another key, as long").matches(hidden, "bob@x.test")
    assert not NO_KEY.matches(hidden, "bob@x.test")


def test_without_a_key_an_address_is_as_it_was_and_case_does_not_count():
    assert NO_KEY.hide("Bob@X.test") == "Bob@X.test"
    assert NO_KEY.matches("Bob@X.test", "bob@x.test")
    assert NO_KEY.hide_in("<bob@x.test>: no") == "<bob@x.test>: no"


def test_a_file_may_hold_both_kinds():
    assert KEY.matches("bob@x.test", "BOB@x.test")


def test_the_null_reverse_path_is_nobodys():
    assert KEY.hide("") == ""


def test_an_address_in_a_reply_is_hidden_too():
    text = KEY.hide_in("5.1.1 <bob@x.test>: no; bob@x.test, (eve@y.test)")
    assert "@" not in text
    assert text.count(KEY.hide("bob@x.test")) == 2
    assert KEY.hide("eve@y.test") in text
    assert text.startswith("5.1.1 <hmac-sha256:")


@pytest.mark.parametrize(
    "address", ['"bob smith"@x.test', "bob@[192.0.2.1]", '"a<b>"@[IPv6:2001:db8::1]', "b=o+b@x.test"]
)
def test_so_is_one_that_is_seldom_written(address):
    assert KEY.hide_in(f"5.1.1 <{address}>: no") == f"5.1.1 <{KEY.hide(address)}>: no"


def test_the_key_is_shown_to_nobody():
    assert "0123456789" not in repr(KEY)


def test_a_key_is_a_file(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"\n0123456789abcdef\r\n")
    assert read_key(path) == KEY


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"x" * (MIN_KEY_OCTETS - 1) + b"\n", "16 octets or more"),
        (b"x" * (MAX_KEY_OCTETS + 1), "4096 octets at most"),
        (None, "No such file"),
    ],
)
def test_what_is_no_key_is_named(tmp_path, octets, why):
    path = tmp_path / "key"
    if octets is not None:
        path.write_bytes(octets)
    with pytest.raises(BadKey, match=why):
        read_key(path)
