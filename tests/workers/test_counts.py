"""Counts as part of a message, and what is none."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.destination.model import MailProtocol
from mailproxy.observe.counters import Counters, Durations, Octets
from mailproxy.observe.histogram import SECONDS, Histogram
from mailproxy.recipes import Identity
from mailproxy.workers.counts import MAX_LISTENERS, MAX_WORDS, format_counts, parse_counts

NAMES = st.text(min_size=1, max_size=20)
NUMBER = st.integers(0, 1 << 60)
OCTETS = st.builds(Octets, *[NUMBER] * 4)
HISTOGRAMS = st.builds(
    Histogram, st.lists(NUMBER, min_size=len(SECONDS) + 1, max_size=len(SECONDS) + 1), st.floats(0, 1e300)
)
DURATIONS = st.builds(Durations, *[HISTOGRAMS] * 4)
WORDS = st.dictionaries(st.text(max_size=20), st.integers(0, 1 << 60), max_size=5).map(Counter)
COUNTS = st.dictionaries(
    st.builds(Identity, NAMES, st.none() | NAMES, NAMES, st.sampled_from(MailProtocol)),
    st.builds(Counters, NUMBER, NUMBER, *[WORDS] * 5, OCTETS, DURATIONS),
    max_size=5,
)
WHO = ["dest", "acme", "local", "smtp"]
HISTOGRAM = [[0] * (len(SECONDS) + 1), 0.5]
REST = [{}, {}, [0, 1, 2, 3], [HISTOGRAM] * 4]
NUMBERS = [3, 1, {"quit": 2}, {}, {}, *REST]


@settings(max_examples=200)
@given(COUNTS)
def test_counts_arrive_as_they_were(counts):
    assert parse_counts(json.loads(json.dumps(format_counts(counts)))) == counts


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        "x",
        [WHO],
        [[WHO]],
        [[WHO, NUMBERS, 1]],
        [[["dest", "acme", "local"], NUMBERS]],
        [[["dest", "acme", "local", "imap"], NUMBERS]],
        [[["", "acme", "local", "smtp"], NUMBERS]],
        [[["x" * 301, "acme", "local", "smtp"], NUMBERS]],
        [[[1, "acme", "local", "smtp"], NUMBERS]],
        [[["dest", "acme", None, "smtp"], NUMBERS]],
        [[WHO, [-1, 0, {}, {}, {}, *REST]]],
        [[WHO, [1 << 63, 0, {}, {}, {}, *REST]]],
        [[WHO, [True, 0, {}, {}, {}, *REST]]],
        [[WHO, [1.0, 0, {}, {}, {}, *REST]]],
        [[WHO, [1, 0, {}, {}, *REST]]],
        [[WHO, [*NUMBERS[:-2], [1, 2, 3], NUMBERS[-1]]]],
        [[WHO, [*NUMBERS[:-2], [1, 2, 3, -1], NUMBERS[-1]]]],
        [[WHO, [*NUMBERS[:-1], [HISTOGRAM] * 3]]],
        [[WHO, [*NUMBERS[:-1], [*[HISTOGRAM] * 3, [HISTOGRAM[0], "1"]]]]],
        [[WHO, [*NUMBERS[:-1], [*[HISTOGRAM] * 3, [HISTOGRAM[0], True]]]]],
        [[WHO, [*NUMBERS[:-1], [*[HISTOGRAM] * 3, [HISTOGRAM[0], -0.1]]]]],
        [[WHO, [*NUMBERS[:-1], [*[HISTOGRAM] * 3, [HISTOGRAM[0], float("inf")]]]]],
        [[WHO, [*NUMBERS[:-1], [*[HISTOGRAM] * 3, [[1], 1.0]]]]],
        [[WHO, [1, 0, [], {}, {}, *REST]]],
        [[WHO, [1, 0, {"quit": -1}, {}, {}, *REST]]],
        [[WHO, [1, 0, {"x" * 101: 1}, {}, {}, *REST]]],
        [[WHO, [1, 0, {str(number): 1 for number in range(MAX_WORDS + 1)}, {}, {}, *REST]]],
        [[[str(number), *WHO[1:]], NUMBERS] for number in range(MAX_LISTENERS + 1)],
    ],
)
def test_what_is_no_counts_is_an_error(raw):
    with pytest.raises(ValueError, match=r".+"):
        parse_counts(raw)


def test_the_most_that_is_sent_is_taken():
    raw = [[[str(number), *WHO[1:]], NUMBERS] for number in range(MAX_LISTENERS)]
    assert len(parse_counts(raw)) == MAX_LISTENERS
