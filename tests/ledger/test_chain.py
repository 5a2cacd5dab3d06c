import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproxy.ledger.chain import START, Broken, Link, read, seal
from mailproxy.ledger.record import encode
from tests.ledger.books import small, transaction


def test_a_record_holds_its_number_the_hash_before_it_and_its_own():
    line, link = seal(START, small())
    following, _ = seal(link, small())
    assert json.loads(line)["seq"] == 1
    assert json.loads(line)["prev"] == "0" * 64
    assert json.loads(following)["prev"] == json.loads(line)["hash"] == link.hash
    assert read(following).follows(read(line).link)


def test_the_hash_is_that_of_the_line_without_it():
    line, link = seal(Link(6, "a" * 64), encode(transaction()))
    without = line.replace(b',"hash":"' + link.hash.encode() + b'"', b"")
    assert sha256(without).hexdigest() == link.hash


@given(st.data())
def test_any_altered_octet_is_noticed(data):
    line, _ = seal(START, encode(transaction()))
    at = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda octet: octet != line[at]))
    with pytest.raises(Broken):
        read(line[:at] + bytes([other]) + line[at + 1 :])


@given(st.data())
def test_any_octet_that_is_gone_is_noticed(data):
    line, _ = seal(START, encode(transaction()))
    at = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(Broken):
        read(line[:at] + line[at + 1 :])


@pytest.mark.parametrize("line", [b"", b"{}", b"null", b'{"seq":1}', b"\0" * 300, b'{"seq":0,"prev":"' + b"0" * 64])
def test_other_lines_are_no_records(line):
    with pytest.raises(Broken, match="no record"):
        read(line)
