"""
Tenants, and the listeners that a configuration asks for: one for each destination of each tenant.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from attrs import frozen

from mailproxy.config import CertificateConfig, Config, DestinationConfig, ListenerTLSConfig
from mailproxy.config.endpoints import bound_endpoint, parse_endpoint
from mailproxy.config.prefixes import stat_prefixes


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
    One listener: whose mail, to which destination, on which endpoint, with which TLS towards the client.

    `tenant` is None for the provider's own.  `endpoint` is bound without TLS; `tls` is ours to do, None for plaintext.
    `label` is unique, and names the listener wherever an operator looks; `stat_prefix` does in the statistics of its
    protocol.  `tls_where` is what a problem with the files
    of `tls` begins with; the same for all listeners with the same table.
    """

    destination: DestinationConfig
    tenant: Tenant | None
    endpoint: str
    label: str
    tls: ListenerTLSConfig | None = None
    tls_where: str = ""
    stat_prefix: str = ""


def tenants(config: Config) -> dict[str, Tenant]:
    """Every tenant that is listened for, by name."""
    return {name: Tenant(name, each.subdomain, each.id) for name, each in config.tenants.items()}


def listeners(config: Config) -> tuple[ListenerPlan, ...]:
    """Every listener, in the order of the file."""
    known = tenants(config)
    prefixes = stat_prefixes(config.destinations)
    wanted = [
        (destination, known[name] if name is not None else None, endpoint, by_tenant[name])
        for destination, by_tenant in zip(config.destinations, prefixes, strict=True)
        for name, endpoint in destination.listen.items()
    ]
    uses = Counter(_label(destination, tenant) for destination, tenant, _, _ in wanted)
    labels = [
        _label(destination, tenant, in_full=uses[_label(destination, tenant)] > 1)
        for destination, tenant, _, _ in wanted
    ]
    return tuple(
        ListenerPlan(destination, tenant, bound_endpoint(text), label, *_tls(config, destination, text, label), prefix)
        for (destination, tenant, text, prefix), label in zip(wanted, labels, strict=True)
    )


def _tls(
    config: Config, destination: DestinationConfig, endpoint: str, label: str
) -> tuple[ListenerTLSConfig | None, str]:
    """TLS towards the client, and what a problem with its files begins with."""
    if destination.tls is not None:
        return config.listener_tls[destination.tls], f"{config.path}: listener_tls.{destination.tls}."
    short = _short_form(endpoint)
    return (short, f"{config.path}: {label}: ") if short is not None else (None, "")


def _short_form(endpoint: str) -> ListenerTLSConfig | None:
    """What an endpoint `ssl:` stands for; None for another."""
    parsed = parse_endpoint(endpoint)
    if parsed.kind != "ssl":
        return None
    key, chain = parsed.settings["privateKey"], parsed.settings.get("extraCertChain")
    files = CertificateConfig(Path(parsed.settings.get("certKey", key)), Path(key), Path(chain) if chain else None)
    return ListenerTLSConfig("implicit", (files,))


def _label(destination: DestinationConfig, tenant: Tenant | None, *, in_full: bool = False) -> str:
    """`acme/example-dest-smtp`; `in_full` where another service or protocol has the same name for the same tenant."""
    label = f"{tenant.name}/{destination.name}" if tenant is not None else destination.name
    return f"{label}@{destination.service}:{destination.protocol.value}" if in_full else label
