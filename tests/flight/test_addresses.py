"""Without addresses a recording says how long they were, and comes to the same end."""

from __future__ import annotations

import pytest

from mailproxy.flight.addresses import without_addresses
from mailproxy.flight.recording import recording_of
from mailproxy.flight.replay import replay
from mailproxy.session.recording import Event
from tests.flight.stories import Recorded, lost_in_data


def lines_of(told):
    recording = without_addresses(recording_of(told.flight(), "mail"))
    return [frame.text for frame in recording.frames if frame.event is Event.LINE]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"MAIL FROM:<joe.doe@example.com> SIZE=12", b"MAIL FROM:<xxxxxxx@example.com> SIZE=12"),
        (b"MAIL FROM:<>", b"MAIL FROM:<>"),
        (b"RCPT TO:<@relay.test:joe@example.com>", b"RCPT TO:<" + b"x" * 15 + b"@example.com>"),
        (b"RCPT TO:joe@example.com", b"RCPT TO:xxx@example.com"),
        (b"RCPT TO:<postmaster>", b"RCPT TO:<xxxxxxxxxx>"),
        (b'RCPT TO:<"a@b"@example.com>', b"RCPT TO:<xxxxx@example.com>"),
        (b"RCPT TO:<T>", b"RCPT TO:<x>"),
        (b"MAIL FROM:<FROM>", b"MAIL FROM:<xxxx>"),
        (b"RCPT TO:<joe@a.test> ORCPT=rfc822;joe@b.test", b"RCPT TO:<xxx@a.test> ORCPT=xxxxxxxxxx@b.test"),
        (
            b"MAIL FROM:<joe@a.test> envid=joe SIZE=1 auth=joe+40a.test",
            b"MAIL FROM:<xxx@a.test> envid=xxx SIZE=1 auth=xxxxxxxxxxxx",
        ),
        (b"EHLO joe.example.com", b"EHLO joe.example.com"),
    ],
)
def test_of_an_address_only_the_domain_stays(line, shown):
    assert lines_of(Recorded.smtp().start().client(b"NOOP\r\n", line + b"\r\n"))[1] == shown


def test_the_session_comes_to_the_same_end():
    recording = recording_of(lost_in_data().flight(), "mail")
    hidden = without_addresses(recording)
    assert replay(hidden).outcome == recording.outcome
    assert "client -> MAIL FROM:<x@example.com>" in replay(hidden).lines


def test_no_word_of_a_local_part_is_left():
    told = Recorded.smtp().start().client(b"EHLO x\r\nMAIL FROM:<secretive@a>\r\n", b"RCPT TO:<secretive@b>\r\n")
    assert b"secretive" not in b"".join(lines_of(told))
