"""
What no table shows by itself: names that lead nowhere, places taken twice, settings that contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve, frozen

from mailproxy.config.endpoints import Endpoint, parse_endpoint
from mailproxy.config.prefixes import stat_prefixes
from mailproxy.config.rules import STAT_PREFIX_TENANT
from mailproxy.config.structure import KeyPath, Mistake, format_path
from mailproxy.config.values import (
    AdminConfig,
    DestinationConfig,
    ListenerTLSConfig,
    ServiceConfig,
    TenantConfig,
    TrustConfig,
)
from mailproxy.destination.model import MailProtocol


@frozen
class Tables:
    """
    The tables that refer to each other.

    A tenant, `listener_tls` or service is None where its own table has a mistake: it is known, and there is nothing to
    say about it again.  `destinations` has the sound ones, by their place in the file; `complete` is whether that is
    all of them.
    """

    tenants: Mapping[str, TenantConfig | None]
    listener_tls: Mapping[str, ListenerTLSConfig | None]
    services: Mapping[str, ServiceConfig | None]
    destinations: Mapping[int, DestinationConfig]
    complete: bool


def with_service(tables: Tables) -> Tables:
    """The tables with the only service filled in where a destination names none."""
    if len(tables.services) != 1:
        return tables
    (only,) = tables.services
    filled = {at: evolve(each, service=each.service or only) for at, each in tables.destinations.items()}
    return evolve(tables, destinations=filled)


def check_trust(trust: TrustConfig) -> Iterator[Mistake]:
    """Somebody has to be trusted."""
    if not trust.platform and not trust.ca_files:
        yield ("trust", "platform"), "false leaves nobody to trust; name ca_files"


def check_admin(admin: AdminConfig, tables: Tables) -> Iterator[Mistake]:
    """Nobody is to be told anything by mistake."""
    path, endpoint = ("admin", "endpoint"), parse_endpoint(admin.endpoint)
    if endpoint.kind in ("ssl", "systemd"):
        yield path, f"{endpoint.kind}: is for mail; it may begin with tcp:, tcp6: or unix:"
        return
    if admin.token_file is not None and admin.allow_without_token:
        yield ("admin", "allow_without_token"), "has no effect while there is a token_file"
    if admin.token_file is None and not admin.allow_without_token and not endpoint.local:
        yield ("admin", "token_file"), "is missing: others than this machine can reach the endpoint"
    for where, other in _listened(tables):
        if endpoint.collides(other):
            yield path, f"listens where {format_path(where)} does"


def check_tables(tables: Tables) -> Iterator[Mistake]:
    """Every mistake between the tables."""
    yield from _services(tables)
    for at, destination in tables.destinations.items():
        yield from _service_of(("destinations", at), destination, tables.services)
        yield from _pool_of(("destinations", at), destination)
        yield from _proxy_protocol_of(("destinations", at), destination, tables.listener_tls)
    yield from _listener_tls(tables)
    yield from _tenants(tables)
    yield from _twice(tables)
    yield from _stat_prefixes(tables)
    yield from _endpoints(tables)


def usable(service: ServiceConfig) -> bool:
    """Whether the table says where destinations come from, once."""
    return (service.binding is None) != (service.directory is None)


def usable_tls(tls: ListenerTLSConfig) -> bool:
    """Whether its keys go together."""
    return not any(_contradictions(tls))


def _services(tables: Tables) -> Iterator[Mistake]:
    for name, service in tables.services.items():
        if service is not None and not usable(service):
            yield ("destination_services", name), "needs either binding or directory"
    if not tables.destinations and tables.complete:
        yield ("destinations",), "is missing: there is nothing to listen for"


def _service_of(
    path: KeyPath, destination: DestinationConfig, services: Mapping[str, ServiceConfig | None]
) -> Iterator[Mistake]:
    if not destination.service:
        yield (*path, "service"), "is missing: there is not exactly one table in destination_services"
    elif destination.service not in services:
        yield (*path, "service"), "there is no such table in destination_services"
    service = services.get(destination.service)
    if service is not None and service.directory is not None:
        for key in ("level", "fragment"):
            if getattr(destination, key) is not None:
                yield (*path, key), "a directory of destinations has none; it needs a service with a binding"
    if destination.fragment_optional and (destination.fragment is None or "," in destination.fragment):
        yield (*path, "fragment_optional"), "needs exactly one fragment"


def _pool_of(path: KeyPath, destination: DestinationConfig) -> Iterator[Mistake]:
    introducing = next((key for key in ("send_proxy", "xclient") if getattr(destination, key) != "off"), None)
    if destination.protocol is MailProtocol.POP3:
        if destination.xclient != "off":
            yield (*path, "xclient"), "is for smtp; to a server of pop3 there is send_proxy"
        if destination.max_connections:
            yield (*path, "max_connections"), "is for smtp: a connection of pop3 belongs to one session"
    elif destination.max_connections and not destination.pool:
        yield (*path, "max_connections"), "has no effect while pool is false"
    elif destination.max_connections and introducing:
        yield (*path, "max_connections"), f"has no effect beside {introducing}: each session has its own connection"


def _proxy_protocol_of(
    path: KeyPath, destination: DestinationConfig, known: Mapping[str, ListenerTLSConfig | None]
) -> Iterator[Mistake]:
    """A header is believed from somebody, and from nobody else."""
    if destination.proxy_protocol == "off":
        for key in ("proxy_protocol_from", "proxy_protocol_inside_tls"):
            if getattr(destination, key):
                yield (*path, key), "has no effect while proxy_protocol is off"
        return
    if not destination.proxy_protocol_from:
        yield (*path, "proxy_protocol_from"), "is missing: a header is only believed from addresses that are listed"
    if destination.proxy_protocol_inside_tls:
        tls = known.get(destination.tls or "")
        short = all(parse_endpoint(text).kind == "ssl" for text in destination.listen.values())
        if not short and (tls.mode != "implicit" if tls is not None else destination.tls not in known):
            yield (*path, "proxy_protocol_inside_tls"), "needs implicit TLS: nothing else comes before the session"


def _listener_tls(tables: Tables) -> Iterator[Mistake]:
    """Tables that nobody uses or that contradict themselves, and destinations that name none."""
    used = {destination.tls for destination in tables.destinations.values()}
    for name, tls in tables.listener_tls.items():
        path = ("listener_tls", name)
        if tables.complete and name not in used:
            yield path, "no destination uses it"
        yield from (((*path, key), reason) for key, reason in ([] if tls is None else _contradictions(tls)))
    for at, destination in tables.destinations.items():
        yield from _tls_of(at, destination, tables.listener_tls)


def _contradictions(tls: ListenerTLSConfig) -> Iterator[tuple[str, str]]:
    """Keys of one table that do not go together."""
    if not tls.certificates:
        yield "certificates", "needs at least one"
    if tls.client_certificates == "required" and tls.mode == "offered":
        yield "mode", "has to be required or implicit: who does without TLS would do without a certificate, too"
    if tls.client_certificates != "none" and not tls.client_ca_files:
        yield "client_ca_files", "is missing: somebody has to vouch for the clients' certificates"
    if tls.client_certificates == "none" and tls.client_ca_files:
        yield "client_ca_files", "has no effect while client_certificates is none"


def _tls_of(at: int, destination: DestinationConfig, known: Mapping[str, object]) -> Iterator[Mistake]:
    if destination.tls is None:
        return
    if destination.tls not in known:
        yield ("destinations", at, "tls"), "there is no such table in listener_tls"
    for tenant, text in destination.listen.items():
        if parse_endpoint(text).kind == "ssl":
            yield _listen_path(at, tenant), "ssl: brings a certificate of its own; beside tls write tcp:"


def _tenants(tables: Tables) -> Iterator[Mistake]:
    """Tenants that nobody listens for, and two names for the same one."""
    used = used_tenants(tables)
    seen: dict[tuple[str, str], str] = {}
    for name in dict.fromkeys([*tables.tenants, *used]):
        path = ("tenants", name)
        if tables.complete and name not in used:
            yield path, "no destination listens for this tenant"
        tenant = tenant_or_default(name, tables.tenants)
        for key, value in (("id", tenant.id), ("subdomain", tenant.subdomain)):
            if value and seen.setdefault((key, value), name) != name:
                yield (*path, key), f"the same as that of {format_path(('tenants', seen[key, value]))}"


def used_tenants(tables: Tables) -> list[str]:
    """The names of all tenants that are listened for, each once, in the order of the file."""
    listens = (each.listen for each in tables.destinations.values())
    return list(dict.fromkeys(tenant for listen in listens for tenant in listen if tenant is not None))


def tenant_or_default(name: str, written: Mapping[str, TenantConfig | None]) -> TenantConfig:
    """The tenant as written; its name is its subdomain unless the file gives a subdomain, or nothing but an id."""
    tenant = written.get(name) or TenantConfig()
    return tenant if tenant.id or tenant.subdomain else evolve(tenant, subdomain=name)


def _twice(tables: Tables) -> Iterator[Mistake]:
    """The same destination of the same tenant, listened for twice."""
    first: dict[tuple[object, ...], KeyPath] = {}
    for at, each in tables.destinations.items():
        for tenant in each.listen:
            path = _listen_path(at, tenant)
            key = (each.name, each.service, tenant, each.protocol)
            if first.setdefault(key, path) != path:
                yield path, f"the same destination and tenant as {format_path(first[key])}"


def _stat_prefixes(tables: Tables) -> Iterator[Mistake]:
    """Two listeners of one protocol that would be one in the statistics."""
    first: dict[tuple[MailProtocol, str], tuple[KeyPath, object]] = {}
    prefixes = stat_prefixes([*tables.destinations.values()])
    for (at, each), by_tenant in zip(tables.destinations.items(), prefixes, strict=True):
        path: KeyPath = ("destinations", at, "stat_prefix")
        if each.stat_prefix is not None and STAT_PREFIX_TENANT in each.stat_prefix and None in each.listen:
            yield path, "has {tenant} in it, and there is no tenant"
            continue
        for tenant, prefix in by_tenant.items():
            who = (each.name, each.service, tenant)
            where, other = first.setdefault((each.protocol, prefix), (path, who))
            if other != who:
                yield path, _taken(prefix, path, where)
                break


def _taken(prefix: str, path: KeyPath, first: KeyPath) -> str:
    if path == first:
        return f"several tenants would have {prefix}; put {STAT_PREFIX_TENANT} into it"
    return f"{prefix} is also that of {format_path(first[:2])}; give one of them another stat_prefix"


def _endpoints(tables: Tables) -> Iterator[Mistake]:
    """Two listeners in one place; only those on the same port are compared, so that thousands cost no time."""
    places: dict[str, list[tuple[KeyPath, Endpoint]]] = {}
    for path, endpoint in _listened(tables):
        neighbours = places.setdefault(endpoint.place, [])
        first = next((where for where, other in neighbours if endpoint.collides(other)), None)
        if first is not None:
            yield path, f"listens where {format_path(first)} does"
        neighbours.append((path, endpoint))


def _listened(tables: Tables) -> Iterator[tuple[KeyPath, Endpoint]]:
    for at, each in tables.destinations.items():
        for tenant, text in each.listen.items():
            yield _listen_path(at, tenant), parse_endpoint(text)


def _listen_path(at: int, tenant: str | None) -> KeyPath:
    path: KeyPath = ("destinations", at, "listen")
    return path if tenant is None else (*path, tenant)
