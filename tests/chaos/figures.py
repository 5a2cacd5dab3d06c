"""
What is printed in the end.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.judge import Verdict
from tests.chaos.logs import Log
from tests.chaos.records import Record

_MOST_VIOLATIONS = 40
_FIRST = (
    "messages",
    "messages acknowledged",
    "messages given up",
    "messages there twice (RFC 1047)",
    "attempts",
    "attempts: acknowledged",
    "attempts: refused",
    "attempts: connection lost",
    "attempts: given up by the client",
    "attempts: delivery status unknown",
)
"""In this order; all else follows in its own."""


def report(verdict: Verdict, record: Record, log: Log, seed: int) -> str:
    """A table of figures, and what was wrong."""
    return "\n".join([*_table(verdict, record, log), *_judgement(verdict, seed), ""])


def _table(verdict: Verdict, record: Record, log: Log) -> Iterator[str]:
    rows = {name: verdict.figures[name] for name in _FIRST}
    rows |= {name: count for name, count in sorted(verdict.figures.items()) if count and name not in rows}
    rows |= {f"outcome: {name}": count for name, count in sorted(log.outcomes.items())}
    yield ""
    yield from (f"{count:8}  {name}" for name, count in rows.items())
    yield f"{record.longest_wait:8.1f}  seconds: the longest wait of a client, for {record.longest_wait_for}"
    yield ""


def _judgement(verdict: Verdict, seed: int) -> Iterator[str]:
    yield from (f"WRONG: {words}" for words in verdict.violations[:_MOST_VIOLATIONS])
    if len(verdict.violations) > _MOST_VIOLATIONS:
        yield f"... and {len(verdict.violations) - _MOST_VIOLATIONS} more"
    yield f"{len(verdict.violations)} violations" if verdict.violations else "nothing lost, nothing doubled or altered"
    yield f"seed {seed}"
