"""
Metrics for Prometheus and whatever reads its formats: made when somebody asks, out of what is counted anyway.

Nothing is kept here.  A session adds to plain numbers (`counters`), and only a scrape turns them into samples with
names and labels, so that sessions do not pay for it.  It goes listener by listener, which takes 0.25 ms for a busy one,
and whoever serves sessions as well can see to them in between.  A thread would be no help: each time that it has to be
waited for takes 5 ms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

from mailproxy.observe import families
from mailproxy.observe.exposition import OPENMETRICS, PLAIN, Labels, Sheet
from mailproxy.observe.families import Family
from mailproxy.observe.histogram import Histogram
from mailproxy.observe.observation import CrewFigures, LedgerFigures, Observation, SourceFigures
from mailproxy.observe.process import ProcessFigures, figures, versions

Sample = tuple[Family, Labels, "float | Histogram"]
Exposition = tuple[str, bytes]
"""The content type and the text."""


def exposition(observations: Iterable[Observation], accept: str = "", process: ProcessFigures = figures) -> Exposition:
    """
    All metrics as text, in OpenMetrics if the reader takes that, else in the format of Prometheus before it.

    Args:
        observations: of all listeners.
        accept: the header of the request; versions and weights in it make no difference.
        process: what is known of the process.
    """
    portions = exposing(observations, accept, process)
    while True:
        try:
            next(portions)
        except StopIteration as done:
            result: Exposition = done.value
            return result


def exposing(
    observations: Iterable[Observation], accept: str = "", process: ProcessFigures = figures
) -> Generator[None, None, Exposition]:
    """The same, with a stop behind each listener."""
    kind = OPENMETRICS if takes_openmetrics(accept) else PLAIN
    sheets: dict[str, Sheet] = {}
    for portion in _portions(list(observations), process):
        for family, labels, value in portion:
            if family.name not in sheets:
                sheets[family.name] = Sheet(family, kind)
            sheets[family.name].add(labels, value)
        yield
    text = "".join(line for sheet in sheets.values() for line in sheet.lines)
    return kind, (text + "# EOF\n" if kind == OPENMETRICS else text).encode()


def takes_openmetrics(accept: str) -> bool:
    """Whether a reader that accepts that gets OpenMetrics."""
    return any(part.split(";")[0].strip().lower() == "application/openmetrics-text" for part in accept.split(","))


def _portions(observations: Sequence[Observation], process: ProcessFigures) -> Iterator[Iterator[Sample]]:
    sources: dict[Labels, SourceFigures] = {}
    for each, labels in zip(observations, _labels(observations), strict=True):
        yield _of_listener(each, labels)
        source = None if each.state is None else each.state.source
        if source is not None:
            sources[source.service, source.tenant or ""] = source
    for labels, source in sources.items():
        yield _of_source(source, labels)
    yield _of_process(observations, process)


def _of_listener(listener: Observation, labels: Labels) -> Iterator[Sample]:
    yield from _of_sessions(listener, labels)
    yield from _of_mail(listener, labels)
    yield from _of_state(listener, labels)


def _of_process(observations: Sequence[Observation], process: ProcessFigures) -> Iterator[Sample]:
    if process.ledger is not None:
        yield from _of_ledger(process.ledger)
    if process.crew is not None:
        yield from _of_crew(process.crew)
    yield families.LAG, (), process.lag
    yield families.START_TIME, (), process.started_at
    yield families.BUILD, [versions()[name] for name in families.BUILD.labels], 1
    if process.sap_names:
        yield families.SAP_OPEN, (), sum(each.counters.active for each in observations)
        yield families.SAP_TOTAL, (), sum(each.counters.sessions for each in observations)


def _of_ledger(ledger: LedgerFigures) -> Iterator[Sample]:
    yield families.LEDGER_RECORDS, (), ledger.records
    yield families.LEDGER_WAITING, (), ledger.waiting
    yield families.LEDGER_LOST, (), ledger.lost
    for reason in ("full", "slow", "other"):
        yield families.LEDGER_FAILURES, (reason,), getattr(ledger, reason)
    yield families.LEDGER_FAILING, (), ledger.failing
    yield families.LEDGER_BLOCKING, (), ledger.blocking
    yield families.LEDGER_SESSIONS, (), ledger.sessions
    if any(ledger.sync_seconds.counts):
        yield families.LEDGER_SYNC, (), ledger.sync_seconds


def _of_crew(crew: CrewFigures) -> Iterator[Sample]:
    yield from _words(families.WORKERS, (), crew.states)
    yield families.WORKERS_ENDED, (), crew.ended


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
