"""
Samples as text, in either of the formats of Prometheus.

prometheus_client does the same, and the tests hold this against it, octet by octet.  It sorts and escapes the labels of
every sample anew, which takes six times as long; 200 busy listeners have 34,000 samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.utils import floatToGoString

from mailproxy.observe.families import Family
from mailproxy.observe.histogram import SECONDS, Histogram

OPENMETRICS = CONTENT_TYPE_LATEST
PLAIN = CONTENT_TYPE_PLAIN_0_0_4

Labels = Sequence[str]

_ENDS = (*map(str, SECONDS), "+Inf")
MAX_LABELS = 1000
"""Values of labels that need not be escaped anew."""

_SHORT = 1_000_000
"""Whole numbers below it are written out."""


class Sheet:
    """
    What there is to be said of one metric.

    Args:
        family: which.
        kind: of the text, `OPENMETRICS` or `PLAIN`.
    """

    def __init__(self, family: Family, kind: str) -> None:
        self._name = f"{family.name}_total" if family.kind == "counter" else family.name
        title = family.name if kind == OPENMETRICS else self._name
        self.lines = [f"# HELP {title} {family.help}\n# TYPE {title} {family.kind}\n"]
        self._labels = _template(family.labels)
        self._before, self._behind = _around(family.labels)

    def add(self, labels: Labels, value: float | Histogram) -> None:
        """One more sample, or all those of a histogram."""
        escaped = [_escape(label) for label in labels]
        if isinstance(value, Histogram):
            self._add_histogram(escaped, value)
        else:
            self.lines.append(f"{self._name}{self._labels.format(*escaped)} {_number(value)}\n")

    def _add_histogram(self, labels: Labels, histogram: Histogram) -> None:
        """Each range with all below it, as Prometheus has them."""
        name, those = self._name, self._labels.format(*labels)
        before, behind = f"{name}_bucket{{{self._before.format(*labels)}", self._behind.format(*labels)
        counts = list(accumulate(histogram.counts))
        self.lines += [
            f'{before}le="{end}"{behind}}} {_number(number)}\n' for end, number in zip(_ENDS, counts, strict=True)
        ]
        self.lines.append(f"{name}_count{those} {_number(counts[-1])}\n{name}_sum{those} {_number(histogram.total)}\n")


def _template(names: Labels) -> str:
    """The labels of a sample, sorted by name, with the place of each value in it."""
    parts = [f'{name}="{{{names.index(name)}}}"' for name in sorted(names)]
    return "{{" + ",".join(parts) + "}}" if parts else ""


def _around(names: Labels) -> tuple[str, str]:
    """What stands before and behind the label that names a range."""
    parts = {name: f'{name}="{{{names.index(name)}}}"' for name in sorted(names)}
    before = "".join(f"{part}," for name, part in parts.items() if name < "le")
    return before, "".join(f",{part}" for name, part in parts.items() if name > "le")


@lru_cache(MAX_LABELS)
def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if type(value) is int and -_SHORT < value < _SHORT:
        return f"{value}.0"
    said: str = floatToGoString(value)
    return said
