"""
Tenants, and the listeners that a configuration asks for: one for each destination of each tenant.
"""

from __future__ import annotations

from collections import Counter

from attrs import frozen

from mailproxy.config import Config, DestinationConfig


@frozen
class Tenant:
    """
    A customer, as the destination service knows it.

    `name` is the operator's word and our key.  `subdomain` is None where only an `id` is known.
    """

    name: str
    subdomain: str | None = None
    id: str | None = None

    @property
    def folder(self) -> str:
        """Where the tenant's own files lie in a directory of destinations."""
        return self.subdomain or self.name


@frozen
class ListenerPlan:
    """
    One listener: whose mail, to which destination, on which endpoint.

    `tenant` is None for the provider's own.  `label` is unique, and names the listener wherever an operator looks.
    """

    destination: DestinationConfig
    tenant: Tenant | None
    endpoint: str
    label: str


def tenants(config: Config) -> dict[str, Tenant]:
    """Every tenant that is listened for, by name."""
    return {name: Tenant(name, each.subdomain, each.id) for name, each in config.tenants.items()}


def listeners(config: Config) -> tuple[ListenerPlan, ...]:
    """Every listener, in the order of the file."""
    known = tenants(config)
    wanted = [
        (destination, known[name] if name is not None else None, endpoint)
        for destination in config.destinations
        for name, endpoint in destination.listen.items()
    ]
    uses = Counter(_label(destination, tenant) for destination, tenant, _ in wanted)
    return tuple(
        ListenerPlan(
            destination,
            tenant,
            endpoint,
            _label(destination, tenant, in_full=uses[_label(destination, tenant)] > 1),
        )
        for destination, tenant, endpoint in wanted
    )


def _label(destination: DestinationConfig, tenant: Tenant | None, *, in_full: bool = False) -> str:
    """`acme/example-dest-smtp`; `in_full` where another service or protocol has the same name for the same tenant."""
    label = f"{tenant.name}/{destination.name}" if tenant is not None else destination.name
    return f"{label}@{destination.service}:{destination.protocol.value}" if in_full else label
