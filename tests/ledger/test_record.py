import json
import re

from hypothesis import given
from hypothesis import strategies as st

from mailproxy.ledger.record import ForwardPath, POP3Session, encode, readable, timestamp
from tests.ledger.books import NOON, transaction


def fields_of(record):
    return json.loads(b"{" + encode(record) + b"}")


def test_a_record_is_one_line_of_ascii_in_which_each_field_has_its_name():
    fields = fields_of(transaction(ehlo='a"b\x1b\nü'))
    assert fields["kind"] == "transaction"
    assert fields["ehlo"] == 'a"b\x1b\nü'
    assert fields["forward_paths"] == [{"path": "to1@x.test", "code": 250, "text": "2.1.5 Ok"}]
    assert re.fullmatch(rb"[ -~]+", encode(transaction(ehlo='a"b\x1b\nü')))


def test_what_is_not_known_is_null():
    fields = fields_of(
        POP3Session(
            begin=NOON,
            end=NOON,
            session="1",
            outcome="quit",
            tenant=None,
            destination="d",
            user=None,
            retrieved=0,
            deleted=0,
            committed=None,
            octets=0,
        )
    )
    assert fields["identity"] is fields["client_certificate"] is fields["tenant"] is fields["committed"] is None


def test_times_are_utc_with_milliseconds():
    assert timestamp(NOON + 0.0429) == "2026-11-21T12:00:00.042Z"
    assert timestamp(NOON) == "2026-11-21T12:00:00.000Z"


def test_the_names_stand_in_one_order():
    names = list(fields_of(transaction()))
    assert names[:5] == ["kind", "begin", "end", "session", "outcome"]
    assert names == list(fields_of(transaction(ehlo=None, forward_paths=(ForwardPath("", None, None),))))


def octets_of(text):
    """What was made readable, by the rule that the page gives."""
    found = re.findall(r"\\\\|\\x[0-9a-f]{2}|[^\\]", text, re.DOTALL)
    assert "".join(found) == text
    return b"".join(octets_of_one(each) for each in found)


def octets_of_one(part):
    if part == "\\\\":
        return b"\\"
    return bytes.fromhex(part[2:]) if part[0] == "\\" else part.encode()


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_every_octet_of_a_peer_can_be_had_back(octets):
    text = json.loads(json.dumps(readable(octets)))
    assert octets_of(text) == octets
    text.encode("utf-8")  # no half characters


def test_text_is_left_as_it_is():
    assert readable("ü@x.test".encode()) == "ü@x.test"
    assert readable(b"\xfc@x\\y") == "\\xfc@x\\\\y"
