"""
The table of guards fits the tree, and the program that takes them away says who noticed; `make mutants` runs all.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.mutants.guard import Guard
from tests.mutants.run import ROOT, main
from tests.mutants.table import GUARDS

TRIFLE = Guard(
    "a longer line than any",
    "wire/lines.py",
    before='raise LineTooLong(f"a line is longer than {self._limit} octets")',
    after="raise LineTooLong",
    tests=("wire/test_lines.py::test_an_over_long_line_takes_no_room_and_is_counted",),
)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_is_where_the_table_says_and_the_proxy_without_it_is_a_program(guard):
    without = guard.without(ROOT)
    assert without != guard.path(ROOT).read_text()
    compile(without, guard.file, "exec")


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_somebody_is_to_notice_the_loss_of_a_guard(guard):
    assert guard.tests or guard.seeds
    for test in guard.tests:
        assert (ROOT / "tests" / test.partition("::")[0]).exists()


def test_no_two_guards_have_the_same_name():
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)


def test_a_guard_that_is_not_there_any_more_is_not_passed_over():
    with pytest.raises(LookupError, match="0 times"):
        evolve(TRIFLE, before="nonsense").without(ROOT)


def test_a_loss_that_nobody_notices_is_a_failure(capsys):
    noticed = evolve(TRIFLE, name="every line", after="return None")
    assert main(["--jobs", "2"], [TRIFLE, noticed]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"SURVIVED  {TRIFLE.name}")
    assert said[2].startswith("caught    every line")
    assert "test_lines.py::" in said[3]
    assert said[4].endswith("2 guards, 1 of them missed by nobody")
