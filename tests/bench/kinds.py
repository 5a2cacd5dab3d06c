"""
What all kinds of cases have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tests.bench.figures import Figures
from tests.bench.scales import Scale
from tests.bench.stage import Stage
from tests.bench.table import Column

DIRECT, PROXY = "direct", "mailproxy"


class LeftOut(Exception):
    """The case cannot be measured on this machine; the text says why."""


class Kind(Protocol):
    """A case, whatever it measures."""

    @property
    def columns(self) -> Sequence[Column]:
        """What its table shows; cases with the same columns stand in one table."""

    def measure(self, stage: Stage, scale: Scale, *, backwards: bool) -> Mapping[str, Figures]:
        """
        One round: figures by who was measured.

        Args:
            stage: where.
            scale: how much of it.
            backwards: whoever comes first in other rounds comes last in this one.

        Raises:
            LeftOut: not here.
        """
