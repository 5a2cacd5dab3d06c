"""Counts as part of a message, and what is none."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy import errors
from mailproxy.destination.model import MailProtocol
from mailproxy.downstream.rooms import Limit
from mailproxy.observe.counters import BY_WORD, Counters, Durations, Octets
from mailproxy.observe.histogram import SECONDS, Histogram
from mailproxy.observe.stats import SEEN
from mailproxy.recipes import Identity
from mailproxy.session.tally import CONTENT, GREETING, OTHER, POP3_STAGES, SMTP_STAGES, key
from mailproxy.workers.counts import MAX_LISTENERS, MAX_WORDS, format_counts, parse_counts
from tests.support import vocabulary

NAMES = st.text(min_size=1, max_size=20)
NUMBER = st.integers(0, 1 << 60)
OCTETS = st.builds(Octets, *[NUMBER] * 4)
HISTOGRAMS = st.builds(
    Histogram, st.lists(NUMBER, min_size=len(SECONDS) + 1, max_size=len(SECONDS) + 1), st.floats(0, 1e300)
)
DURATIONS = st.builds(Durations, *[HISTOGRAMS] * 4)
WORD = st.text("abz09_", min_size=1, max_size=20)
WORDS = st.dictionaries(WORD, st.integers(0, 1 << 60), max_size=5).map(Counter)
REPLIES = WORDS.map(lambda words: Counter({f"proxy.{word}.2xx": number for word, number in words.items()}))
COUNTS = st.dictionaries(
    st.builds(Identity, NAMES, st.none() | NAMES, NAMES, st.sampled_from(MailProtocol)),
    st.builds(Counters, NUMBER, NUMBER, *[WORDS] * 4, REPLIES, OCTETS, DURATIONS, NUMBER),
    max_size=3,
)
WHO = ["dest", "acme", "local", "smtp"]
HISTOGRAM = [[0] * (len(SECONDS) + 1), 0.5]
REST = [{}, {}, [0, 1, 2, 3], [HISTOGRAM] * 4, 5]
NUMBERS = [3, 1, {"quit": 2}, {}, {}, *REST]


@settings(max_examples=100)
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
        [[WHO, [*NUMBERS[:-3], [1, 2, 3], *NUMBERS[-2:]]]],
        [[WHO, [*NUMBERS[:-3], [1, 2, 3, -1], *NUMBERS[-2:]]]],
        [[WHO, [*NUMBERS[:-2], [HISTOGRAM] * 3, 5]]],
        [[WHO, [*NUMBERS[:-2], [*[HISTOGRAM] * 3, [HISTOGRAM[0], "1"]], 5]]],
        [[WHO, [*NUMBERS[:-2], [*[HISTOGRAM] * 3, [HISTOGRAM[0], True]], 5]]],
        [[WHO, [*NUMBERS[:-2], [*[HISTOGRAM] * 3, [HISTOGRAM[0], -0.1]], 5]]],
        [[WHO, [*NUMBERS[:-2], [*[HISTOGRAM] * 3, [HISTOGRAM[0], float("inf")]], 5]]],
        [[WHO, [*NUMBERS[:-2], [*[HISTOGRAM] * 3, [[1], 1.0]], 5]]],
        [[WHO, NUMBERS[:-1]]],
        [[WHO, [*NUMBERS[:-1], -5]]],
        [[WHO, [1, 0, {"no word": 1}, {}, {}, *REST]]],
        [[WHO, [1, 0, {"no\nword": 1}, {}, {}, *REST]]],
        [[WHO, [1, 0, {"": 1}, {}, {}, *REST]]],
        [[WHO, [1, 0, {}, {}, {}, {}, {"proxy.mail": 1}, *REST[2:]]]],
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


def test_every_word_that_sessions_count_is_taken():
    words = {
        "outcomes": vocabulary.outcomes()
        | {each.outcome for each in vars(errors).values() if hasattr(each, "outcome")},
        "events": {*vocabulary.events(), "delivery_unknown"},
        "turned_away": {limit.name.lower() for limit in Limit},
        "seen": SEEN,
        "replies": {
            key(stage, ord(first), upstream=upstream)
            for stage in (*SMTP_STAGES.values(), *POP3_STAGES.values(), GREETING, CONTENT, OTHER)
            for first in "2345+-"
            for upstream in (False, True)
        },
    }
    assert words.keys() == set(BY_WORD)
    counts = {
        Identity("dest", None, "local", MailProtocol.SMTP): Counters(**{name: Counter(words[name]) for name in words})
    }
    assert parse_counts(json.loads(json.dumps(format_counts(counts)))) == counts
