"""The sink knows each mail by its number."""

from tests.bench.ledger import Ledger
from tests.bench.letters import HEAD_OCTETS, Letters, head, number_of, text


def test_what_was_taken_is_not_missing():
    ledger = Ledger()
    for number in (1, 2, 5, 3000):
        ledger.take(number, 10)
    assert ledger.missing(1, 6) == [3, 4, 6]
    assert ledger.missing(2999, 3) == [2999, 3001]
    assert ledger.missing(1_000_000, 1) == [1_000_000]
    assert (ledger.mails, ledger.octets, ledger.doubled, ledger.strange) == (4, 40, 0, 0)


def test_a_mail_that_came_twice_is_counted():
    ledger = Ledger()
    for _ in range(300):
        ledger.take(7, 1)
    assert ledger.doubled == 299


def test_a_mail_without_a_number_is_none_of_ours():
    ledger = Ledger()
    ledger.take(0, 1)
    assert ledger.strange == 1
    assert ledger.missing(0, 1) == [0]


def test_the_report_names_what_is_missing():
    ledger = Ledger()
    ledger.take(2, 1)
    report = ledger.report(1, 3)
    assert report["missing"] == [1, 3]
    assert report["mails"] == 1


def test_a_mail_is_as_long_as_it_should_be_and_has_no_dot():
    letters = Letters(4096)
    content = head(42) + letters.rest.removesuffix(b".\r\n")
    assert len(head(42)) == HEAD_OCTETS
    assert len(content) == 4096
    assert number_of(content) == 42
    assert b"." not in content
    assert content.endswith(b"\r\n")
    assert b"\n" not in content.replace(b"\r\n", b"")


def test_any_other_line_has_no_number():
    assert number_of(b"From: <bench@client>\r\n") == 0
    assert number_of(b"X-Bench: 00000\r\n") == 0
    assert number_of(b"") == 0


def test_a_text_is_as_long_as_it_should_be():
    assert {len(text(octets)) for octets in range(200, 400)} == set(range(200, 400))
