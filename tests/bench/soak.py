"""
Very many small sessions through one proxy: what it holds at the end is what it held after the first tenth.
"""

from __future__ import annotations

from attrs import frozen

from tests.bench.figures import per
from tests.bench.processes import under_way
from tests.bench.stage import Runner, Stage
from tests.support.report import Report

_AT_A_TIME = 20
_STEPS = 20
_SETTLED_STEP = 2
"""After a tenth everything has been there once."""

_PATIENCE_SECONDS, _SLOWEST_RATE = 60.0, 20.0
_MEBIBYTE = 1 << 20
_DESCRIPTORS = 2 * _AT_A_TIME + 10
"""More or fewer, as sessions happen to be under way."""


@frozen
class Held:
    """What the proxy holds, so many sessions later."""

    sessions: int
    seconds: float
    resident: float
    proportional: float
    descriptors: int

    @classmethod
    def now(cls, runner: Runner, sessions: int, seconds: float) -> Held:
        """At this moment."""
        memory = runner.memory()
        return cls(
            sessions, seconds, memory.resident / _MEBIBYTE, memory.proportional / _MEBIBYTE, runner.proxy.descriptors()
        )


def soak(report: Report, stage: Stage, sessions: int, growth: float) -> None:
    """Every mail is in the sink once; memory and descriptors did not grow."""
    with stage.proxy("smtp") as runner:
        held = _run(report, stage, runner, sessions)
        sink = stage.sink.report(1, sessions)
    settled, last = held[min(_SETTLED_STEP, len(held)) - 1], held[-1]
    grown = last.resident - settled.resident  # PSS changes with who else runs Python on this machine
    report.say(f"        {sink['handshakes']} handshakes at the mail server")
    right = sink["mails"] == sessions and not (sink["missing"] or sink["doubled"])
    report.promise(f"{sessions} mails sent, {len(sink['missing'])} missing, {sink['doubled']} doubled", kept=right)
    report.promise(f"memory {grown:+.1f} MiB since a tenth of it; {growth:g} would do", kept=grown <= growth)
    report.promise(
        f"descriptors {settled.descriptors} after a tenth, {last.descriptors} at the end",
        kept=last.descriptors <= settled.descriptors + _DESCRIPTORS,
    )


def _run(report: Report, stage: Stage, runner: Runner, sessions: int) -> list[Held]:
    order = runner.order(
        "smtp",
        sessions=sessions,
        at_a_time=_AT_A_TIME,
        progress=max(1, sessions // _STEPS),
        patience_seconds=_PATIENCE_SECONDS + sessions / _SLOWEST_RATE,
    )
    held: list[Held] = []
    with under_way(stage.claim(order)) as generator:
        for words in generator.words():
            if words["what"] == "done":
                stage.judge(words["failure"], kept=not words["failed"])
                break
            held.append(Held.now(runner, words["sessions"] + words["failed"], words["seconds"]))
            report.say(_line(held, sessions))
    return held


def _line(held: list[Held], sessions: int) -> str:
    last, before = held[-1], held[-2] if len(held) > 1 else Held(0, 0, 0, 0, 0)
    rate = per(last.sessions - before.sessions, last.seconds - before.seconds)
    return (
        f"{last.sessions / sessions:5.0%}  {last.sessions:9,} sessions  {rate:7,.0f}/s  RSS {last.resident:6.1f} MiB"
        f"  PSS {last.proportional:6.1f} MiB  {last.descriptors:4} descriptors"
    )
