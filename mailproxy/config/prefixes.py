"""
What the statistics of each listener begin with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mailproxy.config.rules import STAT_PREFIX_TENANT
from mailproxy.config.values import DestinationConfig

Prefixes = Mapping[str | None, str]
"""By tenant, as in `listen`."""


def stat_prefixes(destinations: Sequence[DestinationConfig]) -> list[Prefixes]:
    """
    For each destination those of its listeners.

    Where the file says nothing it is `NAME-TENANT`, or `NAME` where there is no tenant; and the service behind it,
    where another one has a destination of that name for the same tenant.
    """
    uses = Counter((each.protocol, each.name, tenant) for each in destinations for tenant in each.listen)
    return [
        {tenant: _prefix(each, tenant, in_full=uses[each.protocol, each.name, tenant] > 1) for tenant in each.listen}
        for each in destinations
    ]


def _prefix(destination: DestinationConfig, tenant: str | None, *, in_full: bool) -> str:
    if destination.stat_prefix is not None:
        return destination.stat_prefix.replace(STAT_PREFIX_TENANT, tenant or "")
    parts = (destination.name, tenant, destination.service if in_full else None)
    return "-".join(part for part in parts if part is not None)
