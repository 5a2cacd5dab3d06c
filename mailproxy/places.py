"""
The places where destinations are known, opened for each tenant that needs them.

Every tenant has its own: its own service tokens, its own cache, its own files read.  What tenants share is the
service key's file and the way to make connections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint

from mailproxy.config import Config
from mailproxy.destination.binding import BindingFile
from mailproxy.destination.clients import WebClients
from mailproxy.destination.directory import DestinationDirectory
from mailproxy.destination.http import Web
from mailproxy.destination.lookup import DestinationLogins
from mailproxy.destination.model import ClientIdentity
from mailproxy.destination.report import Reporter
from mailproxy.destination.sap import DestinationService
from mailproxy.destination.source import PROVIDER, Reference, Source, Tenant
from mailproxy.errors import ConfigError, DestinationError
from mailproxy.tenants import ListenerPlan, listeners
from mailproxy.tls import ClientTLS, HTTPSPolicy


class Places:
    """
    All of them, for one configuration; `problems` says which files cannot be used.

    Args:
        config: names the services.
        reactor: connects and tells the time.
        tls: for connections to the destination and token services.
        random: gives numbers from 0 to 1.
    """

    def __init__(self, config: Config, reactor: Any, tls: ClientTLS, random: Callable[[], float]) -> None:
        self._config = config
        self._reactor = reactor
        self._random = random
        self._tls = tls
        self._sources: dict[tuple[str, Tenant], tuple[Source, Reporter]] = {}
        self._bindings: dict[str, BindingFile] = {}
        self.problems: list[str] = []
        for name in config.destination_services:
            self._open(name)

    def logins(self, plan: ListenerPlan) -> DestinationLogins:
        """Logins for the destination of one listener."""
        source, reporter = self._source(plan)
        return DestinationLogins(
            source,
            _reference(plan),
            listener_protocol=plan.destination.protocol,
            clock=self._reactor,
            random=self._random,
            reporter=reporter,
        )

    def problems_of_destinations(self) -> list[str]:
        """What is wrong with the destinations that lie in files; those of a service are not asked for."""
        problems = []
        for plan in listeners(self._config):
            service = self._config.destination_services.get(plan.destination.service)
            if service is None or service.directory is None or not service.directory.is_dir():
                continue
            source, _ = self._source(plan)
            assert isinstance(source, DestinationDirectory)
            try:
                source.check(_reference(plan), plan.destination.protocol)
            except DestinationError as error:
                problems.append(f"{self._config.path}: {plan.label}: {error}")
        return problems

    def close(self) -> None:
        """Nothing is asked for any more."""
        for source, _ in self._sources.values():
            source.close()

    def _open(self, name: str) -> None:
        service = self._config.destination_services[name]
        where = f"{self._config.path}: destination_services.{name}"
        if service.directory is not None:
            if not service.directory.is_dir():
                self.problems.append(f"{where}.directory: {service.directory} is no directory that can be read")
        elif service.binding is not None:
            try:
                self._bindings[name] = BindingFile(service.binding)
            except ConfigError as error:
                self.problems += [f"{where}.binding: {problem}" for problem in error.problems]

    def _source(self, plan: ListenerPlan) -> tuple[Source, Reporter]:
        tenant = _tenant(plan)
        key = plan.destination.service, tenant
        if key not in self._sources:
            self._sources[key] = self._make(plan.destination.service, tenant)
        return self._sources[key]

    def _make(self, name: str, tenant: Tenant) -> tuple[Source, Reporter]:
        reporter = Reporter(tenant)
        timeout = self._config.timeouts.token_seconds
        web = Web(WebClients(self._reactor, self._connect, self._policy), self._reactor)
        directory = self._config.destination_services[name].directory
        if directory is not None:
            source: Source = DestinationDirectory(
                directory, tenant, web=web, random=self._random, reporter=reporter, timeout=timeout
            )
        else:
            source = DestinationService(
                self._bindings[name], tenant, web=web, random=self._random, reporter=reporter, timeout=timeout
            )
        return source, reporter

    def _connect(self, host: str, port: int) -> HostnameEndpoint:
        return HostnameEndpoint(self._reactor, host, port, self._config.timeouts.token_seconds)

    def _policy(self, identity: ClientIdentity | None) -> HTTPSPolicy:
        return HTTPSPolicy(self._tls, identity)


def _tenant(plan: ListenerPlan) -> Tenant:
    if plan.tenant is None:
        return PROVIDER
    return Tenant(plan.tenant.name, plan.tenant.subdomain, plan.tenant.id)


def _reference(plan: ListenerPlan) -> Reference:
    wanted = plan.destination
    return Reference(wanted.name, wanted.level, wanted.fragment, wanted.fragment_optional)
