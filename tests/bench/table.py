"""
Measurements as a table of Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from tests.bench.figures import Figures, Round, medians, ratio

MISSING = "-"


@frozen
class Column:
    """
    A figure with so many digits behind the point; with `to`, its ratio to the same figure of this row.
    """

    title: str
    figure: str
    digits: int = 0
    to: str = ""

    def cell(self, rounds: Sequence[Round], case: str, who: str, figures: Figures) -> str:
        """What stands in a row."""
        value = ratio(rounds, case, who, self.to, self.figure) if self.to else figures.get(self.figure)
        return MISSING if value is None else f"{value:,.{self.digits}f}"


def table(rounds: Sequence[Round], cases: Sequence[str], columns: Sequence[Column]) -> Iterator[str]:
    """A line for each case and each who was measured in it, in the order in which they were."""
    yield _line(["case", "through", *(column.title for column in columns)])
    yield "|---" * (2 + len(columns)) + "|"
    for case in cases:
        names = dict.fromkeys(who for each in rounds for who in each.get(case, {}))
        for who in names:
            figures = medians(rounds, case, who)
            yield _line([case, who, *(column.cell(rounds, case, who, figures) for column in columns)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
