"""The last failures of a listener: a few, each with how often it came."""

from mailproxy.observe.failures import MAX_FAILURES, MAX_TEXT_CHARACTERS, Failures


def test_the_same_failure_is_counted():
    failures = Failures()
    for when, session in ((1.0, "a"), (2.0, "b"), (9.0, "c")):
        failures.note(when, session, "upstream_unreachable", "nobody there")
    (kept,) = failures.latest()
    assert (kept.first, kept.last, kept.count, kept.session) == (1.0, 9.0, 3, "c")


def test_the_last_one_comes_first():
    failures = Failures()
    for when, text in enumerate(["one", "two", "one"]):
        failures.note(float(when), "s", "upstream_lost", text)
    assert [each.text for each in failures.latest()] == ["one", "two"]


def test_the_same_words_of_another_outcome_are_another_failure():
    failures = Failures()
    failures.note(1.0, "s", "upstream_lost", "gone")
    failures.note(1.0, "s", "upstream_timeout", "gone")
    assert len(failures.latest()) == 2


def test_there_is_a_bound_and_the_one_seen_longest_ago_goes():
    failures = Failures()
    for number in range(MAX_FAILURES + 3):
        failures.note(float(number), "s", "upstream_lost", f"text {number}")
        failures.note(float(number), "s", "upstream_lost", "again and again")
    kept = [each.text for each in failures.latest()]
    assert len(kept) == MAX_FAILURES
    assert kept[:2] == ["again and again", f"text {MAX_FAILURES + 2}"]
    assert "text 0" not in kept


def test_a_sentence_is_cut():
    failures = Failures()
    failures.note(1.0, "s", "upstream_lost", "x" * 10_000)
    assert len(failures.latest()[0].text) == MAX_TEXT_CHARACTERS


def test_nothing_failed_yet():
    assert Failures().latest() == []
