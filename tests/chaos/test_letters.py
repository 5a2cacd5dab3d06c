"""
A letter is found again as it was sent, and its log lines are understood.
"""

from __future__ import annotations

import random

from tests.chaos import logs
from tests.chaos.letters import Found, Stationery, find

NOTED = b"""\
Return-Path: <sender@chaos.test>
Delivered-To: acme-kept+m1-1.1@inbox.test
Received: from proxy.chaos.test (unknown [10.90.1.1])
\t(Authenticated sender: acme-robot)
\tby mail.test (Postfix) with ESMTPSA id 80CB3217560
\tfor <acme-kept+m1-1.1@inbox.test>; Sat, 21 Nov 2026 16:33:29 +0000 (UTC)
"""
LOG = """\
2026-11-21T16:33:29Z [mailproxy.session#info] acme/chaos-smtp: session 000001 from 127.1.0.2:4711: message: code 250
2026-11-21T16:33:29Z [mailproxy.session#warn] acme/chaos-smtp: session 000001 from 127.1.0.2:4711: delivery unknown: x
2026-11-21T16:33:29Z [mailproxy.session#info] acme/chaos-smtp: session 000001 from 127.1.0.2:4711: message: code 451
2026-11-21T16:33:29Z [mailproxy.session#info] acme/chaos-smtp: session 000001 from 127.1.0.2:4711: ended: quit
"""


def _letters(count):
    stationery = Stationery(random.Random(1))
    return [stationery.letter(f"m1-{number}.1", "sender@chaos.test", ["a@inbox.test"]) for number in range(count)]


def test_a_delivered_letter_is_told_by_marker_queue_id_login_and_digest():
    for letter in _letters(20):
        assert find(NOTED + letter.content) == Found(letter.marker, "80CB3217560", "acme-robot", letter.digest)


def test_a_changed_letter_has_another_digest():
    letter = _letters(1)[0]
    assert find(NOTED + letter.content[:-2] + b"\n").digest != letter.digest


def test_what_nobody_sent_is_nothing():
    assert find(NOTED + b"Subject: x\n\nx\n") is None


def test_the_wire_form_ends_no_message_early():
    for letter in _letters(20):
        assert b"\r\n.\r\n" not in letter.wire
        assert letter.wire.replace(b"\r\n", b"\n").replace(b"\n..", b"\n.") == letter.content
        assert max(map(len, letter.content.split(b"\n"))) <= 998


def test_the_log_is_taken_apart_by_client():
    log = logs.read([("proxy.log", LOG)], ["s3cret"])
    assert log.of("127.1.0.2") == logs.Story(["quit"], acknowledged=1, unknown=1)
    assert log.of("127.1.0.3") == logs.Story()
    assert log.blunders == []


def test_a_traceback_and_a_secret_in_the_log_are_told():
    log = logs.read([("proxy.log", "Traceback (most recent call last)\ns3cret")], ["s3cret"])
    assert len(log.blunders) == 2
