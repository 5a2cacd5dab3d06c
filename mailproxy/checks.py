"""
Whether everything that a configuration names can be used, as far as can be told without opening a port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mailproxy.admin.guard import make_guard
from mailproxy.audit import problems_of_ledger
from mailproxy.config import Config, ListenerTLSConfig, TrustConfig
from mailproxy.errors import ConfigError
from mailproxy.inherited import InheritedEndpoint, endpoint_of
from mailproxy.places import Places, problems_of_destinations, problems_of_services
from mailproxy.shared import Shared
from mailproxy.tenants import ListenerPlan, listeners
from mailproxy.tls import ClientTLS, ListenerTLS, TrustSource, read_trust

ServerTLS = Callable[[ListenerTLSConfig, str, Callable[[], float]], Any]
"""Makes TLS towards mail clients, as `tls.ListenerTLS` does."""


def problems_for_start(config: Config, reactor: Any, server_tls: ServerTLS, *, endpoints: bool = True) -> list[str]:
    """What keeps the proxy from working with this configuration; `endpoints` need not be judged if others open them."""
    problems = list(_problems_of_files(config, reactor, server_tls))
    return [*problems, *_problems_of_endpoints(config, reactor)] if endpoints else problems


def problems_of_all(config: Config, reactor: Any) -> list[str]:
    """The same beside a running service, and what keeps one of its destinations from working."""
    tls = Shared[TrustConfig, ClientTLS](lambda trust, _: ClientTLS(trust_of(trust, "", reactor)[0]))
    return [
        *_problems_of_files(config, reactor, ListenerTLS),
        *_problems_of_endpoints(config, reactor, handed_over=False),
        *problems_of_destinations(config, Places(reactor, tls, float)),
    ]


def trust_of(trust: TrustConfig, where: str, reactor: Any) -> tuple[TrustSource, list[str]]:
    """Whom to believe, and what is wrong with the files that say so."""
    return read_trust(trust.ca_files, platform=trust.platform, where=where, seconds=reactor.seconds)


def _problems_of_files(config: Config, reactor: Any, server_tls: ServerTLS) -> Iterator[str]:
    """What is wrong with certificate authorities, certificates, directories and service keys."""
    yield from trust_of(config.trust, f"{config.path}: trust.", reactor)[1]
    yield from _problems_of_listener_tls(config, reactor, server_tls)
    yield from problems_of_services(config)
    yield from _problems_of_admin(config, reactor)
    yield from problems_of_ledger(config)


def _problems_of_listener_tls(config: Config, reactor: Any, server_tls: ServerTLS) -> Iterator[str]:
    for where, tls in {plan.tls_where: plan.tls for plan in listeners(config)}.items():
        if tls is not None:
            try:
                server_tls(tls, where, reactor.seconds)
            except ConfigError as error:
                yield from error.problems


def _problems_of_admin(config: Config, reactor: Any) -> Iterator[str]:
    if config.admin is not None:
        try:
            make_guard(config.admin, f"{config.path}: admin.", reactor.seconds)
        except ConfigError as error:
            yield from error.problems


def _problems_of_endpoints(config: Config, reactor: Any, *, handed_over: bool = True) -> Iterator[str]:
    """
    What is wrong with endpoints that only Twisted can tell.

    Sockets of systemd are looked at only if they are `handed_over`: systemd gives them to nobody but the service.
    """
    inherited: dict[int, ListenerPlan] = {}
    for plan in listeners(config):
        if plan.endpoint.startswith("systemd:") and not handed_over:
            continue
        where = f"{config.path}: {plan.label}: {plan.endpoint}"
        try:
            endpoint = endpoint_of(reactor, plan.endpoint)
        except Exception as error:  # noqa: BLE001 - each kind of endpoint raises kinds of its own
            yield f"{where}: {_reason(error)}"
            continue
        if isinstance(endpoint, InheritedEndpoint):
            first = inherited.setdefault(endpoint.descriptor, plan)
            if first is not plan:
                yield f"{where}: is the same socket as that of {first.label}"


def _reason(error: Exception) -> str:
    words = error.strerror if isinstance(error, OSError) else str(error)
    return words or type(error).__name__
