"""
The places where destinations are known, opened for each tenant that needs them.

Every tenant has its own: its own service tokens, its own cache, its own files read.  What tenants share is the
service key's file and the way to make connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.endpoints import HostnameEndpoint

from mailproxy.config import Config, TrustConfig
from mailproxy.destination.binding import BindingFile, read_binding
from mailproxy.destination.clients import WebClients
from mailproxy.destination.directory import DestinationDirectory
from mailproxy.destination.http import Web
from mailproxy.destination.lookup import DestinationLogins
from mailproxy.destination.model import ClientIdentity
from mailproxy.destination.report import Reporter
from mailproxy.destination.sap import DestinationService
from mailproxy.destination.source import Source
from mailproxy.errors import ConfigError, DestinationError
from mailproxy.observe.observation import SourceFigures
from mailproxy.recipes import SourceRecipe, UpstreamRecipe, reference, source_recipe
from mailproxy.shared import Shared
from mailproxy.tenants import listeners
from mailproxy.tls import ClientTLS, HTTPSPolicy


@frozen
class _Opened:
    """A place that is open, and who tells of it."""

    recipe: SourceRecipe
    source: Source
    reporter: Reporter
    web: Web

    def figures(self) -> SourceFigures:
        """How it is at this moment."""
        tenant = self.recipe.tenant
        name = tenant.name if tenant.is_subscriber else None
        return SourceFigures(self.recipe.name, name, self.source.figures(), self.web.token_seconds.copy())


class Places:
    """
    All of them; each is open as long as somebody uses it, and equal recipes lead to the same one.

    Args:
        reactor: connects and tells the time.
        tls: for connections to the destination and token services.
        random: gives numbers from 0 to 1.
        web: makes what services are asked with.
    """

    def __init__(
        self,
        reactor: Any,
        tls: Shared[TrustConfig, ClientTLS],
        random: Callable[[], float],
        web: Callable[[WebClients, Any], Web] = Web,
    ) -> None:
        self._reactor = reactor
        self._tls = tls
        self._random = random
        self._web = web
        self._sources = Shared(self._open)
        self._bindings: Shared[Path, BindingFile] = Shared(lambda path, _: BindingFile(path))

    def logins(self, recipe: UpstreamRecipe, user: ExitStack) -> DestinationLogins:
        """
        Logins for one destination of one tenant.

        Raises:
            ConfigError: the service key cannot be used.
        """
        opened = self._sources.take(recipe.source, user)
        return DestinationLogins(
            opened.source,
            recipe.reference,
            listener_protocol=recipe.protocol,
            clock=self._reactor,
            random=self._random,
            reporter=opened.reporter,
            figures=opened.figures,
        )

    def source(self, recipe: SourceRecipe, user: ExitStack) -> Source:
        """
        What knows the destinations of one tenant.

        Raises:
            ConfigError: the service key cannot be used.
        """
        return self._sources.take(recipe, user).source

    def _open(self, recipe: SourceRecipe, end: ExitStack) -> _Opened:
        tls = self._tls.take(recipe.trust, end)
        connect = partial(self._connect, recipe.token_seconds)
        web = self._web(WebClients(self._reactor, connect, partial(_policy, tls)), self._reactor)
        reporter = Reporter(recipe.tenant)
        source = self._source(recipe, web, reporter, end)
        end.callback(source.close)
        return _Opened(recipe, source, reporter, web)

    def _source(self, recipe: SourceRecipe, web: Web, reporter: Reporter, end: ExitStack) -> Source:
        settings: dict[str, Any] = {
            "web": web,
            "random": self._random,
            "reporter": reporter,
            "timeout": recipe.token_seconds,
        }
        if recipe.service.directory is not None:
            return DestinationDirectory(recipe.service.directory, recipe.tenant, **settings)
        assert recipe.service.binding is not None, "a configuration without it has not passed"
        return DestinationService(self._bindings.take(recipe.service.binding, end), recipe.tenant, **settings)

    def _connect(self, seconds: float, host: str, port: int) -> HostnameEndpoint:
        return HostnameEndpoint(self._reactor, host, port, seconds)


def problems_of_services(config: Config) -> Iterator[str]:
    """What is wrong with the directories and service keys that a configuration names."""
    for name, service in config.destination_services.items():
        where = f"{config.path}: destination_services.{name}"
        if service.directory is not None and not service.directory.is_dir():
            yield f"{where}.directory: {service.directory} is no directory that can be read"
        if service.binding is not None:
            try:
                read_binding(service.binding)
            except ConfigError as error:
                yield from (f"{where}.binding: {problem}" for problem in error.problems)


def problems_of_destinations(config: Config, places: Places) -> Iterator[str]:
    """What is wrong with the destinations that lie in files; those of a service are not asked for."""
    for plan in listeners(config):
        directory = config.destination_services[plan.destination.service].directory
        if directory is None or not directory.is_dir():
            continue
        with ExitStack() as user:
            source = places.source(source_recipe(config, plan), user)
            assert isinstance(source, DestinationDirectory)
            try:
                source.check(reference(plan), plan.destination.protocol)
            except DestinationError as error:
                yield f"{config.path}: {plan.label}: {error}"


def _policy(tls: ClientTLS, identity: ClientIdentity | None) -> HTTPSPolicy:
    return HTTPSPolicy(tls, identity)
