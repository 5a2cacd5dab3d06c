import json

import pytest

from mailproxy.ledger.keyed import AddressKey
from mailproxy.ledger.record import ForwardPath, POP3Session, encode, note, readable
from mailproxy.ledger.search import Hit, Question, parse_address, parse_time, search
from tests.ledger.books import NOON, files, transaction, writer

KEY = AddressKey(b"0123456789abcdef")


def pop3(**changes):
    fields = {
        "begin": NOON,
        "end": NOON,
        "session": "00000a",
        "outcome": "quit",
        "tenant": "globex",
        "destination": "d",
        "user": "Reader@globex.test",
        "retrieved": 1,
        "deleted": 0,
        "committed": True,
        "octets": 5,
    }
    return POP3Session(**fields | changes)


@pytest.fixture
def ledger(tmp_path):
    book = writer(tmp_path, max_octets=3000)
    book.append(encode(transaction(1, reverse_path="", message_id=None)))
    book.append(encode(transaction(2, tenant=None, forward_paths=(ForwardPath(readable(b"a\\b@x.test"), 550, "no"),))))
    book.append(encode(pop3()))
    book.append(encode(transaction(3, reverse_path=KEY.hide("hidden@acme.test"))))
    book.append(note("lost", time="then", records=3))
    book.close()
    return files(tmp_path)


def found(paths, **question):
    hits = list(search(paths, Question(**question)))
    assert Hit.NO_RECORD not in {hit for _, hit in hits}
    return [json.loads(line.octets)["session"] for line, hit in hits if hit is Hit.FITS]


@pytest.mark.parametrize(
    ("question", "sessions"),
    [
        ({}, ["000001", "000002", "00000a", "000003"]),
        ({"address": "TO1@x.test"}, ["000001"]),
        ({"address": "reader@GLOBEX.test"}, ["00000a"]),
        ({"address": "robot@acme.test"}, ["000002"]),
        ({"address": parse_address("<a\\b@x.test>")}, ["000002"]),
        ({"address": ""}, ["000001"]),
        ({"address": "hidden@acme.test"}, []),
        ({"address": "hidden@acme.test", "key": KEY}, ["000003"]),
        ({"address": "to3@x.test", "key": KEY}, ["000003"]),
        ({"message_id": "<2@acme.test>"}, ["000002"]),
        ({"message_id": "2@acme.test"}, ["000002"]),
        ({"tenant": "globex"}, ["00000a"]),
        ({"session": "000003"}, ["000003"]),
        ({"since": "2026-11-21T12:00:02.250Z"}, ["000002", "000003"]),
        ({"until": "2026-11-21T12:00:02.250Z"}, ["000001", "00000a"]),
        ({"tenant": "acme", "since": "2026-11-21T12:00:02.251Z"}, ["000003"]),
    ],
)
def test_search(ledger, question, sessions):
    assert found(ledger, **question) == sessions


def test_a_line_that_is_no_record_is_named_and_the_search_goes_on(ledger):
    with ledger[0].open("ab") as file:
        file.write(b'torn\n[]\n"x"\n')
    hits = list(search(ledger, Question(address="to3@x.test")))
    assert [hit for _, hit in hits] == [*3 * [Hit.NO_RECORD], Hit.FITS]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21", "2026-11-21T00:00:00.000Z"),
        ("2026-11-21T14:00", "2026-11-21T14:00:00.000Z"),
        ("2026-11-21T14:00:01.5+02:00", "2026-11-21T12:00:01.500Z"),
        ("2026-11-21T14:00:17.042Z", "2026-11-21T14:00:17.042Z"),
    ],
)
def test_times_as_people_write_them(text, time):
    assert parse_time(text) == time


def test_what_is_no_time():
    with pytest.raises(ValueError, match="yesterday"):
        parse_time("yesterday")
