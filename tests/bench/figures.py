"""
Medians and ratios of what was measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

Figures = Mapping[str, float]
"""What one measurement came to, by name."""

Round = Mapping[str, Mapping[str, Figures]]
"""What was measured in one round: by case, and by who was measured."""


def medians(rounds: Sequence[Round], case: str, who: str) -> Figures:
    """The median of each figure over the rounds that have it."""
    found = [each[case][who] for each in rounds if who in each.get(case, {})]
    names = dict.fromkeys(name for figures in found for name in figures)
    return {name: statistics.median(figures[name] for figures in found if name in figures) for name in names}


def ratio(rounds: Sequence[Round], case: str, who: str, to: str, figure: str) -> float | None:
    """
    The median of the ratios within each round: what else the machine did in a round falls on both.

    None when nothing was measured, or it was 0.
    """
    pairs = [(each[case][who], each[case][to]) for each in rounds if {who, to} <= each.get(case, {}).keys()]
    found = [one[figure] / other[figure] for one, other in pairs if figure in one and other.get(figure)]
    return statistics.median(found) if found else None


def per(amount: float, count: float, unit: float = 1.0) -> float:
    """So much for each `unit` of the count; 0 where there is nothing to divide by."""
    return amount / count * unit if count else 0.0
