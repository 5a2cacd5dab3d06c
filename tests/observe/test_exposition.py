"""The text is what prometheus_client makes of the same samples, octet by octet."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from mailproxy.observe import families
from mailproxy.observe.exposition import OPENMETRICS, PLAIN, Sheet
from mailproxy.observe.histogram import SECONDS, Histogram

KINDS = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
NUMBER = st.integers(0, 1 << 62) | st.floats(allow_nan=False)
LABEL = st.text(max_size=6) | st.sampled_from(['a"b', "a\\b", "a\nb", "{0}", "}"])
HISTOGRAM = st.builds(
    Histogram,
    st.lists(st.integers(0, 1 << 40), min_size=len(SECONDS) + 1, max_size=len(SECONDS) + 1),
    st.floats(0, 1e12),
)


def theirs(kind, family, samples):
    made = KINDS[family.kind](family.name, family.help, labels=family.labels)
    for labels, value in samples:
        if isinstance(value, Histogram):
            numbers = [float(sum(value.counts[: end + 1])) for end in range(len(value.counts))]
            ends = (*map(str, SECONDS), "+Inf")
            made.add_metric(labels, list(zip(ends, numbers, strict=True)), value.total)
        else:
            made.add_metric(labels, value)

    class Registry:
        def collect(self):
            return [made]

    return (generate_openmetrics if kind == OPENMETRICS else generate_latest)(Registry()).decode()


def ours(kind, family, samples):
    sheet = Sheet(family, kind)
    for labels, value in samples:
        sheet.add(labels, value)
    return "".join(sheet.lines) + ("# EOF\n" if kind == OPENMETRICS else "")


def samples(family):
    """Any samples of a metric."""
    value = HISTOGRAM if family.kind == "histogram" else NUMBER
    return st.tuples(st.just(family), st.lists(st.tuples(st.tuples(*[LABEL] * len(family.labels)), value), max_size=3))


@settings(max_examples=200)
@given(st.sampled_from([OPENMETRICS, PLAIN]), st.sampled_from(families.FAMILIES).flatmap(samples))
def test_it_is_the_same_text(kind, said):
    assert ours(kind, *said) == theirs(kind, *said)


@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda family: family.name)
def test_it_is_so_for_every_metric(family):
    value = Histogram() if family.kind == "histogram" else 7
    one = [(("x",) * len(family.labels), value)]
    for kind in (OPENMETRICS, PLAIN):
        assert ours(kind, family, one) == theirs(kind, family, one)


@pytest.mark.parametrize("value", [0, 1, 999_999, 1_000_000, 1 << 60, -1, 0.0, 0.1, 1.5e9, 1e300, float("inf"), True])
def test_every_number_is_written_as_they_write_it(value):
    one = [((), value)]
    assert ours(PLAIN, families.START_TIME, one) == theirs(PLAIN, families.START_TIME, one)
