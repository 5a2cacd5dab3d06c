"""
A worker's share of what the configuration allows to all of them.
"""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from mailproxy.config import Config

DIVIDED = (
    "max_sessions",
    "max_sessions_per_listener",
    "max_sessions_per_tenant",
    "max_pending_logins",
    "max_idle_connections",
)
"""
Limits that each worker has a part of, rounded up.

Not `max_sessions_per_client`: its connections are not spread evenly, and one that keeps to a small number would be
turned away.  Nor `max_pending_headers`, which is about descriptors, and each process has its own.
"""


def share_of(config: Config, seat: int) -> Config:
    """
    The configuration as the worker in this seat, counted from 0, uses it; each seat has a ledger of its own, and the
    supervisor alone the admin endpoint, which shows what was recorded here.

    At the end it does not wait for `drain_delay_seconds`: the supervisor has done so before it says a word.
    """
    limits = config.limits
    return evolve(
        config,
        admin=None,
        recorded=config.record_sessions,
        limits=evolve(limits, **{key: _part(getattr(limits, key), config.workers) for key in DIVIDED}),
        pool=evolve(config.pool, max_connections=_connections(config.pool.max_connections, config.workers)),
        destinations=tuple(
            evolve(each, max_connections=_connections(each.max_connections, config.workers))
            for each in config.destinations
        ),
        timeouts=evolve(config.timeouts, drain_delay_seconds=0.0),
        ledger=None if config.ledger is None else evolve(config.ledger, path=_path(config.ledger.path, seat)),
    )


def _path(path: Path, seat: int) -> Path:
    return path.with_name(f"{path.stem}-{seat + 1}{path.suffix}")


def _part(whole: int, workers: int) -> int:
    return -(-whole // workers)


def _connections(whole: int, workers: int) -> int:
    """Rounded down: here it is the mail server that turns away who is one too many.  But each worker needs one."""
    return whole and max(1, whole // workers)
