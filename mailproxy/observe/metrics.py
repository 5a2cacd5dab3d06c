"""
Metrics for Prometheus and whatever reads its formats: made when somebody asks, out of what is counted anyway.

Nothing is kept here.  A session adds to plain numbers (`counters`), and only a scrape turns them into samples with
names and labels, so that sessions do not pay for it.  It takes one or two milliseconds for a busy listener, and
may be done in another thread, so that sessions do not wait for it: what goes on meanwhile is seen, or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics

from mailproxy.observe import families
from mailproxy.observe.families import Family
from mailproxy.observe.histogram import SECONDS, Histogram
from mailproxy.observe.observation import Observation, SourceFigures
from mailproxy.observe.process import ProcessFigures, figures, versions

OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST
PLAIN = CONTENT_TYPE_PLAIN_0_0_4

Labels = Sequence[str]
Sample = tuple[Family, Labels, "float | Histogram"]

_KINDS: Mapping[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def exposition(
    observations: Iterable[Observation], accept: str = "", process: ProcessFigures = figures
) -> tuple[str, bytes]:
    """
    All metrics as text, in OpenMetrics if the reader takes that, else in the format of Prometheus before it.

    Args:
        observations: of all listeners.
        accept: the header of the request; versions and weights in it make no difference.
        process: what is known of the process.

    Returns:
        The content type and the text.
    """
    collector = Collector(observations, process)
    if any(part.split(";")[0].strip().lower() == "application/openmetrics-text" for part in accept.split(",")):
        return OPENMETRICS, openmetrics.generate_latest(collector)
    return PLAIN, generate_latest(collector)


class Collector:
    """What prometheus_client wants to be given."""

    def __init__(self, observations: Iterable[Observation], process: ProcessFigures = figures) -> None:
        self._observations = list(observations)
        self._process = process

    def collect(self) -> Iterator[Metric]:
        """Each metric with its samples; one that has none is left out."""
        made: dict[Family, Any] = {}
        for family, labels, value in self._samples():
            if family not in made:
                made[family] = _KINDS[family.kind](family.name, family.help, labels=family.labels)
            if isinstance(value, Histogram):
                made[family].add_metric(labels, _buckets(value), value.total)
            else:
                made[family].add_metric(labels, value)
        yield from made.values()

    def _samples(self) -> Iterator[Sample]:
        sources: dict[Labels, SourceFigures] = {}
        for each, labels in zip(self._observations, _labels(self._observations), strict=True):
            yield from _of_sessions(each, labels)
            yield from _of_mail(each, labels)
            yield from _of_state(each, labels)
            source = None if each.state is None else each.state.source
            if source is not None:
                sources[source.service, source.tenant or ""] = source
        for labels, source in sources.items():
            yield from _of_source(source, labels)
        yield from self._of_process()

    def _of_process(self) -> Iterator[Sample]:
        process = self._process
        yield families.LAG, (), process.lag
        yield families.START_TIME, (), process.started_at
        yield families.BUILD, [versions()[name] for name in families.BUILD.labels], 1
        if process.sap_names:
            yield families.SAP_OPEN, (), sum(each.counters.active for each in self._observations)
            yield families.SAP_TOTAL, (), sum(each.counters.sessions for each in self._observations)


def _labels(observations: Sequence[Observation]) -> Iterator[Labels]:
    """
    Destination, tenant and protocol of each listener; where two share all of these, which takes two services, each
    has its `stat_prefix` in the place of the destination.
    """
    uses = Counter((each.protocol, each.destination, each.tenant) for each in observations)
    for each in observations:
        shared = uses[each.protocol, each.destination, each.tenant] > 1
        yield each.stat_prefix if shared else each.destination, each.tenant or "", each.protocol


def _of_sessions(listener: Observation, labels: Labels) -> Iterator[Sample]:
    counters = listener.counters
    yield families.STARTED, labels, counters.sessions
    yield families.ACTIVE, labels, counters.active
    yield from _words(families.ENDED, labels, counters.outcomes)
    yield from _words(families.TURNED_AWAY, labels, counters.turned_away)
    yield from _words(families.SEEN, labels, counters.seen)
    octets = counters.octets
    yield families.OCTETS, (*labels, "client", "in"), octets.from_client
    yield families.OCTETS, (*labels, "client", "out"), octets.to_client
    yield families.OCTETS, (*labels, "server", "in"), octets.from_server
    yield families.OCTETS, (*labels, "server", "out"), octets.to_server
    for key, number in list(counters.replies.items()):
        yield families.REPLIES, (*labels, *key.split(".")), number
    durations = counters.durations
    for family, histogram in (
        (families.SESSION, durations.session),
        (families.READY, durations.upstream_ready),
        (families.TRANSACTION, durations.transaction),
        (families.FIRST_REPLY, durations.first_reply),
    ):
        if any(histogram.counts):
            yield family, labels, histogram


def _words(family: Family, labels: Labels, counter: Mapping[str, int]) -> Iterator[Sample]:
    for word, number in list(counter.items()):
        yield family, (*labels, word), number


def _of_mail(listener: Observation, labels: Labels) -> Iterator[Sample]:
    """Mail transactions, which only SMTP has."""
    if listener.protocol != "smtp":
        return
    counters = listener.counters
    yield families.MAILS_STARTED, labels, counters.replies["upstream.mail.2xx"]
    for result, number in _results(counters.replies, "content").items():
        yield families.MAILS, (*labels, result), number
    yield families.UNKNOWN, labels, counters.events["delivery_unknown"]
    for result, number in _results(counters.replies, "rcpt").items():
        yield families.RECIPIENTS, (*labels, result), number


def _results(replies: Mapping[str, int], stage: str) -> dict[str, int]:
    """How often the mail server said yes or no, and how often we had to answer in its place."""
    ours = (f"proxy.{stage}.{digit}xx" for digit in (4, 5))
    return {
        "accepted": replies.get(f"upstream.{stage}.2xx", 0),
        "deferred": replies.get(f"upstream.{stage}.4xx", 0),
        "rejected": replies.get(f"upstream.{stage}.5xx", 0),
        "refused": sum(replies.get(key, 0) for key in ours),
    }


def _of_state(listener: Observation, labels: Labels) -> Iterator[Sample]:
    state = listener.state
    if state is None:
        return
    pool = state.pool
    yield families.POOL, (*labels, "resting"), pool.resting
    yield families.POOL, (*labels, "in_use"), pool.in_use
    yield families.POOL, (*labels, "opening"), pool.opening
    yield families.WAITING, labels, pool.waiting
    yield families.MADE, labels, pool.made
    yield families.REUSED, labels, pool.reused
    yield families.HOLD_OFF, (*labels, "server"), state.hold_off.server
    yield families.HOLD_OFF, (*labels, "login"), state.hold_off.login
    if state.certificate_expires_at is not None:
        yield families.CERTIFICATE, labels, state.certificate_expires_at
    if state.token_expires_at is not None:
        yield families.TOKEN, labels, state.token_expires_at


def _of_source(source: SourceFigures, labels: Labels) -> Iterator[Sample]:
    yield families.CACHE_ENTRIES, labels, source.cache.entries
    yield families.CACHE_HITS, labels, source.cache.hits
    yield families.CACHE_FETCHES, labels, source.cache.fetches
    yield families.CACHE_FAILURES, labels, source.cache.failures
    if any(source.token_seconds.counts):
        yield families.TOKEN_FETCH, labels, source.token_seconds


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Each range with all below it, as Prometheus has them."""
    found, so_far = [], 0
    for end, number in zip((*map(str, SECONDS), "+Inf"), histogram.counts, strict=True):
        so_far += number
        found.append((end, float(so_far)))
    return found
