"""Patterns are bounded: whatever would try too many ways is no pattern."""

import pytest

from mailproxy.doctor.patterns import MAX_PATTERN_CHARACTERS, compiled


@pytest.mark.parametrize(
    "text",
    [
        r"^535[ -]5\.7\.139\b.{0,80}disabled",
        r"(?:AADSTS|\"error_codes\":\s?\[\s?)7000215\b",
        r"a|b.{0,100}c|[+*]{2,5}",
        r"x\*y\+z",
        r".{0,300}.{0,300}.{0,300}",
        r".{0,20}.{0,20}.{0,20}.{0,20}",
    ],
)
def test_a_bounded_pattern_is_taken(text):
    assert compiled(text).pattern == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (r"a*", "without an end"),
        (r"a+b", "without an end"),
        (r"a{3,}", "more than 300"),
        (r"a{0,301}", "more than 300"),
        (r"(?:ab){2}", "repeats a group"),
        (r"(a)\1", "refers back"),
        (r"(?=a)", "looks around"),
        (r"(?!a)", "looks around"),
        (r"(?<=a)b", "looks around"),
        (r"a??", "lazily"),
        (r".{0,30}.{0,30}.{0,30}.{0,30}", "more than 3 times"),
        (r"[a", "no regular expression"),
        (r"(a", "no regular expression"),
        ("a" * (MAX_PATTERN_CHARACTERS + 1), "characters long"),
        ("", "characters long"),
        ("a\\", "no regular expression"),
    ],
)
def test_what_could_take_long_or_is_no_pattern_is_refused(text, problem):
    with pytest.raises(ValueError, match=problem):
        compiled(text)


def test_lines_and_letters():
    found = compiled(r"^b$")
    assert found.search("a\nB\nc")
