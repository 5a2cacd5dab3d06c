"""
A report for people.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from mailproxy.doctor.examination import Check
from mailproxy.doctor.run import Report
from mailproxy.doctor.steps import FAILED, SKIPPED, Fact, Step

WIDTH = 100
_MARGIN = " " * 32
_OWN = "(provider)"
"""The column of destinations without a tenant."""


def report_text(report: Report) -> str:
    """Every check with its steps, and where there are several, all of them side by side."""
    parts = [check_text(check) for check in report.checks]
    if len(report.checks) > 1:
        parts.append(summary_text(report.checks))
    return "\n".join(parts)


def check_text(check: Check) -> str:
    """One check: a headline, and a line or more for each step."""
    failed = f"FAILED: {', '.join(check.failed)}" if check.failed else "ok"
    head = f"{check.subject} ({check.subject.protocol.value}): {failed}, {check.seconds:.2f} s"
    return "\n".join([head, *(line for step in check.steps for line in _step_lines(step)), ""])


def summary_text(checks: Sequence[Check]) -> str:
    """A row for each destination, a column for each tenant; in it `ok`, or the first step that failed."""
    names = list(dict.fromkeys(check.subject.tenant or _OWN for check in checks))
    by_destination = groupby(sorted(checks, key=_destination), _destination)
    rows = [[destination, *_cells(list(group), names)] for destination, group in by_destination]
    table = [["", *names], *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(names) + 1)]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in table)


def _destination(check: Check) -> str:
    return f"{check.subject.destination} ({check.subject.protocol.value})"


def _cells(checks: list[Check], names: list[str]) -> list[str]:
    by_tenant = {check.subject.tenant or _OWN: check.failed[0] if check.failed else "ok" for check in checks}
    return [by_tenant.get(name, "-") for name in names]


def _step_lines(step: Step) -> Iterator[str]:
    if step.status == SKIPPED:
        yield f"  {'-':<8}{step.name:<15}{'':<7}{step.why}"
        return
    shown = "; ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in step.facts.items())
    head = f"  {'FAILED' if step.status == FAILED else 'ok':<8}{step.name:<15}{step.seconds:>4.2f} s"
    trouble = step.trouble
    yield from _wrapped(f"{head} ", shown if trouble is None else trouble.error)
    if trouble is not None:
        if shown:
            yield from _wrapped(f"{'':<25}seen:  ", shown)
        yield from _wrapped(f"{'':<25}side:  ", trouble.side)
        yield from _wrapped(f"{'':<25}cause: ", trouble.cause)
        for remedy in trouble.remedy:
            yield from _wrapped(f"{'':<25}do:    ", remedy)
    for note in step.notes:
        yield from _wrapped(f"{'':<25}note:  ", note)


def _wrapped(head: str, words: str) -> list[str]:
    """Lines of at most `WIDTH`; what is one word stays in one piece."""
    head = head.ljust(len(_MARGIN))
    return textwrap.wrap(
        words,
        WIDTH,
        initial_indent=head,
        subsequent_indent=_MARGIN,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [head.rstrip()]


def _value(value: Fact) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
