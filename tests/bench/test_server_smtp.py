"""The sink takes mails however they are cut."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.engine import Broken
from tests.bench.ledger import Ledger
from tests.bench.letters import Letters, head
from tests.bench.server_smtp import converse

LOGIN = b"EHLO client\r\nAUTH PLAIN AGEAYg==\r\n"
ENVELOPE = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"


class Connection:
    """The chunks come one by one, with nothing there in between."""

    def __init__(self, chunks):
        self.chunks = [chunk for each in chunks if each for chunk in (b"", each)]
        self.sent = b""

    def recv(self, most):
        if not self.chunks:
            return b""
        if not (chunk := self.chunks.pop(0)):
            raise BlockingIOError
        if chunk[most:]:
            self.chunks.insert(0, chunk[most:])
        return chunk[:most]

    def recv_into(self, view, most):
        chunk = self.recv(most)
        view[: len(chunk)] = chunk
        return len(chunk)

    def send(self, octets):
        self.sent += octets
        return len(octets)


def talk(*chunks):
    """The codes of the replies, and what was taken."""
    connection, ledger = Connection(chunks), Ledger()
    steps = converse(connection, ledger)
    try:
        for _ in range(10_000):
            next(steps)
    except (StopIteration, Broken):
        pass
    codes = [line[:3] for line in connection.sent.split(b"\r\n")[:-1] if line[3:4] == b" "]
    return codes, ledger


def mail(number, octets=300):
    return head(number) + Letters(octets).rest


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 1200), max_size=12))
def test_a_mail_is_found_whole_wherever_it_was_cut(cuts):
    stream = mail(1) + ENVELOPE + mail(2, 500) + b"QUIT\r\n"
    places = [0, *sorted(cuts), len(stream)]
    chunks = [stream[first:last] for first, last in itertools.pairwise(places)]
    codes, ledger = talk(LOGIN, ENVELOPE, *chunks)
    assert codes == [b"220", b"250", b"235", *[b"250", b"250", b"354", b"250"] * 2, b"221"]
    assert (ledger.mails, ledger.octets, ledger.missing(1, 2), ledger.doubled) == (2, 800, [], 0)


@pytest.mark.parametrize("content", [b".x\r\n", b"..\r\n", b"a.\r\nb\r\n", b"\r\n.\nx\r\n", b"\n.\r\nx\r\n"])
def test_a_dot_elsewhere_does_not_end_a_mail(content):
    codes, ledger = talk(LOGIN, ENVELOPE, content, b".\r\n", b"QUIT\r\n")
    assert codes[-2:] == [b"250", b"221"]
    assert (ledger.mails, ledger.octets) == (1, len(content))


def test_a_mail_may_be_empty():
    codes, ledger = talk(LOGIN, ENVELOPE, b".\r\nQUIT\r\n")
    assert codes[-3:] == [b"354", b"250", b"221"]
    assert (ledger.mails, ledger.octets) == (1, 0)


def test_a_mail_without_its_end_is_not_taken():
    _, ledger = talk(LOGIN, ENVELOPE, mail(1)[:-3])
    assert ledger.mails == 0


def test_nobody_sends_without_a_login():
    codes, _ = talk(b"EHLO client\r\nMAIL FROM:<a@b.test>\r\nQUIT\r\n")
    assert codes == [b"220", b"250", b"530", b"221"]
