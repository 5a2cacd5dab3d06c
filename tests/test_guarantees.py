"""
Every promise has a rule, every rule a test that exists, every guard that is taken away a rule.

Whether a test fails when its rule is broken is for its author to see to; `make mutants` asks that of many.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from attrs import frozen

from tests.mutants.table import GUARDS
from tests.support import vocabulary
from tests.support.pages import ROOT, Page, page, spans, unique

PAGE, SECURITY = page("reference/guarantees.md"), Page(ROOT / "SECURITY.md")
GUARD_NAMES = {guard.name for guard in GUARDS}
Definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

TWICE_PROVED = ("Acknowledgements", "Mail data", "TLS", "Logins at mail servers", "Tenants and secrets")
"""Chapters whose rules have a guard that is taken away, or tests in two files at least."""

ONCE_PROVED = {"M11": "nothing stands in the code that keeps a message out of the log, and could be taken away"}

NO_MATTER_OF_SECURITY = {
    "C8": "clients that are lax are understood",
    "R8": "two codes agree",
    "B4": "last words arrive",
    "B18": "numbers add up",
    "O7": "so do those of several processes",
    "E9": "a restart is not noticed",
    "E13": "slow clients get all that was written",
    "O10": "a session comes to the same end again",
}
"""Rules that SECURITY.md need not mention."""


@frozen
class Rule:
    """A row of the page."""

    chapter: str
    id: str
    promise: str
    tests: list[str]
    guards: list[str]


def _chapters() -> Iterator[tuple[str, str]]:
    for section in re.split(r"^## ", PAGE.text, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        yield title, text


def _rules() -> Iterator[Rule]:
    for title, text in _chapters():
        for line in re.findall(r"^\| [A-Z][0-9].*$", text, re.MULTILINE):
            number, promise, tests, guards = (cell.strip() for cell in line.strip("|").split("|"))
            yield Rule(title, number, promise, spans(tests), spans(guards))


RULES = list(_rules())
IDS = unique(rule.id for rule in RULES)


# The page itself


def test_every_row_of_the_page_is_read():
    assert len(RULES) == len(PAGE.table("Rule", "What is promised", "Test", "Guard")) > 80


def test_rules_are_numbered_chapter_by_chapter():
    letters = {}
    for rule in RULES:
        letters.setdefault(rule.chapter, []).append(rule.id)
    for numbers in letters.values():
        letter = numbers[0][0]
        assert numbers == [f"{letter}{number}" for number in range(1, len(numbers) + 1)]
    unique(numbers[0][0] for numbers in letters.values())


# Tests


def test_every_rule_is_a_sentence_with_tests_that_exist():
    assert [rule.id for rule in RULES if not rule.tests or not rule.promise.endswith(".")] == []
    problems = [f"{rule.id}: {problem_with(name)}" for rule in RULES for name in unique(rule.tests)]
    assert [problem for problem in problems if not problem.endswith(": None")] == []


def problem_with(name):
    """What is wrong with the name of a test, `tests/FILE.py::NAME::NAME[PARAMETER]`; None for nothing."""
    found = re.fullmatch(r"(tests/[\w/]+\.py)::(\w+(?:::\w+)*)(?:\[(\w+)\])?", name)
    if found is None:
        return f"{name} names no test"
    file, path, parameter = found.groups()
    if not (ROOT / file).is_file():
        return f"there is no {file}"
    module = node = vocabulary.tree(ROOT / file)
    for part in path.split("::"):
        node = _inside(node, part)
        if node is None:
            return f"there is no {part} in {file}"
    if parameter is not None and parameter not in _texts(module):
        return f"there is no {parameter} in {file}"
    if not isinstance(node, ast.ClassDef) and "/test_" in file and not path.split("::")[-1].lower().startswith("test"):
        return f"pytest does not run {name}"
    return None


def _inside(node, name):
    """What has this name in a module or class."""
    for each in node.body:
        if isinstance(each, Definitions) and each.name == name:
            return each
        if isinstance(each, ast.Assign) and name in [getattr(target, "id", None) for target in each.targets]:
            return each
    return None


def _texts(module):
    return {node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("tests/test_guarantees.py", "names no test"),
        ("tests/no_such_file.py::test_x", "there is no tests/no_such_file.py"),
        ("tests/test_guarantees.py::test_of_another_day", "there is no test_of_another_day"),
        ("tests/test_guarantees.py::Rule::test_x", "there is no test_x"),
        ("tests/test_guarantees.py::problem_with", "pytest does not run"),
        ("tests/session/test_smtp.py::test_conversation[of_another_day]", "there is no of_another_day"),
        ("tests/session/test_smtp.py::test_conversation[a_browser_is_sent_away]", None),
        ("tests/session/test_smtp_machine.py::TestSMTPMachine", None),
        ("tests/simulation/world.py::World::final_dot", None),
    ],
)
def test_a_name_that_leads_nowhere_would_be_found(name, problem):
    found = problem_with(name)
    assert found is None if problem is None else problem in found


# Guards


def test_every_guard_guards_a_rule():
    assert {name for rule in RULES for name in unique(rule.guards)} == GUARD_NAMES


@pytest.mark.parametrize("chapter", TWICE_PROVED)
def test_what_matters_most_is_proved_twice(chapter):
    rules = [rule for rule in RULES if rule.chapter == chapter]
    assert rules
    for rule in rules:
        files = {name.partition("::")[0] for name in rule.tests}
        assert (bool(rule.guards) or len(files) > 1) is (rule.id not in ONCE_PROVED), rule.id


# Invariants


def test_the_simulation_looks_at_every_invariant():
    (text,) = [text for title, text in _chapters() if title == "Invariants"]
    named = unique(_ids(text))
    assert len(named) > 10
    for rule in RULES:
        in_every_world = any(name.startswith("tests/simulation/") for name in rule.tests)
        assert in_every_world or rule.id not in named, rule.id


def _ids(text):
    return re.findall(r"\b[A-Z][0-9]+\b(?=[,\]\n;])", text)


# SECURITY.md


def _references(text):
    """Rules that are named, each with the chapter that the link leads to."""
    for names, anchor in re.findall(r"\[([A-Z0-9,\s]+)\]\(docs/reference/guarantees\.md#([\w-]+)\)", text):
        yield from ((name, anchor) for name in re.split(r",\s*", names))


def test_every_rule_in_security_is_one_and_its_link_leads_there():
    chapters = {rule.id: rule.chapter for rule in RULES}
    for name, anchor in _references(SECURITY.text):
        assert name in chapters
        assert anchor == chapters[name].lower().replace(" ", "-"), name


def test_every_promise_in_security_has_rules():
    promised = SECURITY.text.partition("\n## What is promised\n")[2].partition("\n## ")[0]
    promises = re.findall(r"^- .*(?:\n  .*)*", promised, re.MULTILINE)
    assert len(promises) > 30
    for promise in promises:
        assert list(_references(promise)), promise


def test_every_rule_is_promised_in_security_or_known_to_be_no_matter_of_it():
    promised = {name for name, _ in _references(SECURITY.text)}
    assert promised | set(NO_MATTER_OF_SECURITY) == IDS
    assert not promised & set(NO_MATTER_OF_SECURITY)


def test_a_weakness_is_reported_privately_and_to_no_invented_address():
    headings = re.findall(r"^## (.*)$", SECURITY.text, re.MULTILINE)
    assert headings[:2] == ["Report a weakness", "Supported versions"]
    assert {"What is protected", "Where trust ends", "Who is considered", "What is not promised"} <= set(headings)
    assert "@" not in SECURITY.text
