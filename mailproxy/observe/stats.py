"""
The statistics of every listener as text, one `name: number` in each line, in the form that Envoy's `/stats` has.

The names, and what each of them counts, are those of Envoy's SMTP proxy; POP3 has its own for what only it has.  Where
that proxy counts what was begun, the number here is of what was so in the end: a handshake counts when it is done, and
commands sent in groups as RFC 2920 has it are no mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mailproxy.observe.observation import Observation

_COMMON = {
    "upstream_desync": "sessions_upstream_desync",
    "downstream_desync": "sessions_downstream_desync",
    "bad_line": "sessions_bad_line",
    "bad_pipeline": "sessions_bad_pipeline",
    "downstream_tls": "sessions_downstream_terminated_ssl",
    "upstream_tls": "sessions_upstream_terminated_ssl",
    "downstream_tls_failed": "sessions_downstream_ssl_err",
    "upstream_tls_failed": "sessions_upstream_ssl_err",
    "upstream_starttls_refused": "sessions_upstream_ssl_command_err",
}

STATISTICS: Mapping[str, Mapping[str, str]] = {
    "smtp": {
        **_COMMON,
        "bad_ehlo": "sessions_bad_ehlo",
        "non_esmtp": "sessions_non_esmtp",
        "esmtp_unencrypted": "sessions_esmtp_unencrypted",
        "upstream_421": "sessions_upstream_421",
    },
    "pop3": {**_COMMON, "unencrypted": "sessions_unencrypted"},
}
"""The name of each number, by protocol and by what was the case in a session."""

SEEN = frozenset(what for names in STATISTICS.values() for what in names)
"""What may have been the case."""


def render(observations: Iterable[Observation]) -> str:
    """The numbers of these listeners, sorted by name; each line ends with a newline."""
    lines = sorted(line for each in observations for line in _lines(each))
    return "".join(f"{line}\n" for line in lines)


def _lines(listener: Observation) -> Iterator[str]:
    root = f"{listener.protocol}.{listener.stat_prefix}"
    for name, number in numbers(listener).items():
        yield f"{root}.{name}: {number}"


def numbers(listener: Observation) -> dict[str, int]:
    """The numbers of one listener by name; those of `STATISTICS` always, others as soon as they are not 0."""
    counters = listener.counters
    return {
        "sessions": counters.sessions,
        "sessions_active": counters.active,
        **{name: counters.seen[what] for what, name in STATISTICS[listener.protocol].items()},
        **{f"outcomes.{outcome}": number for outcome, number in counters.outcomes.items()},
        **{f"turned_away.{limit}": number for limit, number in counters.turned_away.items()},
        **{f"replies.{key}": number for key, number in counters.replies.items()},
    }
