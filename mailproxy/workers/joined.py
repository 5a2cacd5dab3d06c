"""
How a listener is doing, put together out of what each worker has seen of it.

A destination is one thing, whichever worker has tried it last.  So the latest success and the latest failure count, as
they would if one process had seen both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from attrs import evolve

from mailproxy.admin.values import Report
from mailproxy.observe.failures import MAX_FAILURES, Failed
from mailproxy.recipes import Identity
from mailproxy.workers.counts import as_list, format_identity, parse_identity
from mailproxy.workers.values import format_value, parse_value

MAX_REPORTS = 30
"""Listeners of which one message tells at most how they are doing; each may take 120,000 octets of it."""

MAX_REPORTED = 10_000
"""Listeners of which a worker tells that at most, in all messages together."""

Reports = Mapping[Identity, Report]


def portions(reports: Reports) -> Iterable[list[Any]]:
    """The reports as JSON has them, as many as go into a message at a time."""
    rest = iter(list(reports.items())[:MAX_REPORTED])
    while portion := list(islice(rest, MAX_REPORTS)):
        yield [[format_identity(who), format_value(report)] for who, report in portion]


def parse_reports(raw: object) -> dict[Identity, Report]:
    """
    The reports in a message.

    Raises:
        ValueError: there are none in it, or too many.
    """
    pairs = (as_list(each, [2]) for each in as_list(raw, range(MAX_REPORTS + 1)))
    return {parse_identity(who): parse_value(Report, report) for who, report in pairs}


def joined(reports: Sequence[Report]) -> Report:
    """
    What these are together, each of another worker.

    Of the mail server and what we log in with, the word counts of who tried last.  Nobody is said to try as long as one
    of them does not.
    """
    latest = sorted(reports, key=_tried)
    return Report(
        last_success=max((each.last_success for each in reports if each.last_success is not None), default=None),
        last_failure=max(
            (each.last_failure for each in reports if each.last_failure is not None),
            key=lambda failure: failure.when,
            default=None,
        ),
        peer=_last(each.peer for each in latest),
        credential=_last(each.credential for each in latest),
        held_until=max((each.held_until for each in reports if each.held_until is not None), default=None),
        failures=_failures(failed for each in reports for failed in each.failures),
    )


def _tried(report: Report) -> float:
    """When there was an attempt last."""
    failure = None if report.last_failure is None else report.last_failure.when
    return max((each for each in (report.last_success, failure) if each is not None), default=0.0)


def _last(values: Iterable[Any]) -> Any:
    return next(iter([each for each in values if each is not None][-1:]), None)


def _failures(every: Iterable[Failed]) -> tuple[Failed, ...]:
    """The last ones, each with how often it came anywhere."""
    found: dict[tuple[str, str], Failed] = {}
    for failed in every:
        key = failed.outcome, failed.text
        found[key] = _both(found[key], failed) if key in found else failed
    return tuple(sorted(found.values(), key=lambda failed: failed.last, reverse=True)[:MAX_FAILURES])


def _both(one: Failed, other: Failed) -> Failed:
    later = one if one.last >= other.last else other
    return evolve(later, first=min(one.first, other.first), count=one.count + other.count)
