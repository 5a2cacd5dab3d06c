"""What a load came to: figures, and what must not be."""

import pytest
from attrs import evolve

from tests.bench.measured import Measured
from tests.bench.orders import Done, Order
from tests.bench.server_pop3 import SIZES, SMALL

DONE = Done(
    sessions=4,
    failed=0,
    failure="",
    mails=4,
    octets=4096 * 4,
    seconds=2.0,
    p50_seconds=0.001,
    p95_seconds=0.002,
    longest_seconds=0.003,
    taken_seconds=0.001,
    cpu_seconds=0.5,
    next_number=5,
    unacknowledged=(),
)
BEFORE = {"handshakes": 10, "resumed": 1, "octets": 0, "doubled": 0, "strange": 0, "cpu_seconds": 1.0, "missing": []}
AFTER = BEFORE | {"handshakes": 12, "resumed": 2, "octets": 4096 * 4, "cpu_seconds": 1.2}


def smtp(after=(), **done):
    return Measured(Order("smtp", [25]), evolve(DONE, **done), BEFORE, AFTER | dict(after), proxy_cpu_seconds=0.2)


def test_figures_are_those_of_the_load_alone():
    figures = smtp().figures()
    assert figures["rate"] == 2
    assert figures["mib"] == 4096 * 4 / 2 / (1 << 20)
    assert figures["handshakes"] == 0.5
    assert figures["resumed"] == 0.25
    assert figures["cpu_per_1000"] == pytest.approx(50)
    assert figures["sink_busy"] == pytest.approx(10)
    assert figures["generator_busy"] == 25
    assert smtp().wrong == []


def test_an_acknowledged_mail_that_is_missing_is_lost():
    assert smtp({"missing": [2, 3]}, unacknowledged=(3, 4)).lost == 1
    assert smtp({"missing": [3]}, unacknowledged=(3,)).lost == 0


@pytest.mark.parametrize(
    ("after", "done", "words"),
    [
        ({"missing": [2]}, {}, "1 mails were lost"),
        ({}, {"failed": 1, "failure": "gone"}, "1 sessions failed, the first with: gone"),
        ({"doubled": 1}, {}, "1 mails came twice, or were none of ours"),
        ({"strange": 2}, {}, "2 mails came twice, or were none of ours"),
        ({"octets": 4096 * 4 - 1}, {}, "16384 octets were sent, 16383 came"),
    ],
)
def test_what_must_not_be_is_said(after, done, words):
    assert smtp(after, **done).wrong == [words]


def test_a_response_that_was_not_whole_is_a_lost_mail():
    octets = 2 * (SIZES[SMALL] + len(b"+OK\r\n.\r\n"))
    whole = Measured(Order("pop3", [110]), evolve(DONE, mails=2, octets=octets), BEFORE, AFTER)
    assert whole.wrong == []
    assert evolve(whole, done=evolve(whole.done, octets=octets - 1)).lost == 1
