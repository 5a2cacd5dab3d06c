"""Whoever tells a tool to be silent says why, on the same line, in words of its own."""

import re
import tomllib

import pytest

from tests.support.pages import ROOT

SUPPRESSION = re.compile(r"#\s*(?:ruff:\s*)?(?:noqa|type:\s*ignore|pragma:\s*no\s+\w+)(?P<rest>.*)$", re.IGNORECASE)
CODES = re.compile(
    r"^(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*|\[[a-z-]+(?:,\s*[a-z-]+)*\])\s*(?:-|#)\s+(?P<reason>.*)$"
)
BORROWED = re.compile(
    r"^(?:(?:as|see|like) (?:above|below|before|there)|likewise|ditto|the same)\b|\bhere and below$", re.IGNORECASE
)
FOLDERS = ("mailproxy", "tests", "twisted")


def reasonless(line):
    """Whether it silences a tool without codes, without a reason, or with the reason of another line."""
    found = SUPPRESSION.search(line)
    if found is None:
        return False
    said = CODES.match(found["rest"])
    return said is None or not re.search(r"\w\w", said["reason"]) or BORROWED.search(said["reason"]) is not None


def python_files():
    return [
        path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if "fixtures" not in path.parts
    ]


def test_every_suppression_has_a_reason_of_its_own():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in python_files()
        if path.name != "test_suppressions.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "#" in line and reasonless(line)
    ]
    assert not found, "\n".join(found)


def test_every_rule_that_is_switched_off_has_a_reason_of_its_own():
    text = (ROOT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    off = [*lint["ignore"], *(code for codes in lint["per-file-ignores"].values() for code in codes)]
    reasons = re.findall(r'^    "([A-Z]+[0-9]*)",  # (.*\w.*)$', text, re.MULTILINE)
    assert sorted(off) == sorted(code for code, reason in reasons if not BORROWED.search(reason))


@pytest.mark.parametrize(
    "line",
    [
        "x = 1  # noqa",
        "x = 1  # noqa: S105",
        "x = 1  # noqa: S105, ARG002",
        "x = 1  # noqa: S105 - as above",
        "x = 1  # noqa: S105 - for Twisted, here and below",
        "x = 1  # noqa: S105 -",
        "x = 1  # noqa - it is no secret",
        "x = f()  # type: ignore",
        "x = f()  # type: ignore[misc]",
        "x = f()  # type: ignore[misc]  # see above",
        "def f():  # pragma: no cover",
        "# ruff: noqa: SLF001",
    ],
)
def test_such_a_line_is_found(line):
    assert reasonless(line)


@pytest.mark.parametrize(
    "line",
    [
        "x = 1",
        "x = 1  # the rest is noise",
        "x = 1  # noqa: S105 - names a kind, is no secret",
        "x = 1  # noqa: S105, ARG002 - Twisted's",
        "x = f()  # type: ignore[misc]  # the class behind this mixin",
        "# ruff: noqa: SLF001 - the table is the class's own",
    ],
)
def test_such_a_line_will_do(line):
    assert not reasonless(line)
