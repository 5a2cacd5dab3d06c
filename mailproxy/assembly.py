"""
Puts the chain together for one listener, out of its recipe.

Each (destination, tenant) gets its own factory, its own connector and its own logins.  They share code, the
certificate authorities that are trusted, and the number of sessions there may be in all.

What has the same recipe is the same thing: a listener whose TLS changes keeps its connector, with all that this knows
of refused logins; one that moves to another port keeps its counters; tokens and destinations stay cached as long as
anybody uses the place where they came from.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from ipaddress import ip_network
from typing import Any, TypeVar

import attrs
from attrs import frozen

from mailproxy.audit import Audit
from mailproxy.checks import ServerTLS, trust_of
from mailproxy.config import ListenerTLSConfig, TrustConfig
from mailproxy.config.rules import LOCAL
from mailproxy.config.values import PoolConfig
from mailproxy.destination.lookup import DestinationLogins
from mailproxy.destination.model import Login, LoginSource, MailProtocol
from mailproxy.downstream.balancers import Balancers
from mailproxy.downstream.factory import SessionFactory
from mailproxy.downstream.pop3 import POP3ServerFactory
from mailproxy.downstream.protocol import Surroundings
from mailproxy.downstream.rooms import Door, Rooms
from mailproxy.downstream.smtp import SMTPServerFactory
from mailproxy.errors import ConfigError
from mailproxy.flight.flights import Flights
from mailproxy.listeners import Keeper
from mailproxy.observe.condition import Condition
from mailproxy.observe.observation import State
from mailproxy.observe.sessions import ListenerLog
from mailproxy.places import Places
from mailproxy.recipes import HeaderRecipe, Identity, Order, Recipe, UpstreamRecipe
from mailproxy.shared import Shared
from mailproxy.sockets import OURS, Sockets
from mailproxy.tls import ClientTLS, StrictClientTLS, TrustSource
from mailproxy.upstream.connector import Connector, MakeStream
from mailproxy.upstream.direct import Direct
from mailproxy.upstream.farewells import Farewells
from mailproxy.upstream.holdoff import HoldOffSettings
from mailproxy.upstream.pool import Pool, PoolSettings
from mailproxy.upstream.pop3 import POP3Upstream
from mailproxy.upstream.resting import Shelf
from mailproxy.upstream.smtp import SMTPUpstream
from mailproxy.upstream.stream import UpstreamStream


@frozen
class Tools:
    """
    What is made is made with these; tests and simulations bring their own.

    `client_tls` secures connections to mail servers and services, `server_tls` those of mail clients; `random` gives
    numbers from 0 to 1, for pauses.  `sockets` says which transports connections get.
    """

    reactor: Any
    client_tls: Callable[[TrustSource], ClientTLS]
    server_tls: ServerTLS
    random: Callable[[], float]
    sockets: Sockets = OURS


@frozen
class Kind:
    """
    What one protocol is made of; a third protocol is one more row in `KINDS`.

    `stream` makes streams for a recipe, of a class of its own or of another that stands in for it.
    """

    factory: Any
    stream: Callable[..., Callable[..., UpstreamStream]]


def _smtp_stream(reactor: Any, recipe: UpstreamRecipe, made: Any = SMTPUpstream) -> Callable[..., UpstreamStream]:
    return partial(made, reactor, ehlo_name=recipe.ehlo_name, own_name=recipe.own_name, xclient=recipe.xclient)


def _pop3_stream(reactor: Any, _recipe: UpstreamRecipe, made: Any = POP3Upstream) -> Callable[..., UpstreamStream]:
    return partial(made, reactor)


KINDS = {
    MailProtocol.SMTP: Kind(SMTPServerFactory, _smtp_stream),
    MailProtocol.POP3: Kind(POP3ServerFactory, _pop3_stream),
}

_C = TypeVar("_C", bound=Connector)


def stream_maker(reactor: Any, recipe: UpstreamRecipe, **made: Any) -> MakeStream:
    """
    What makes streams as a recipe says.  Whoever connects for a recipe, the proxy or the doctor, has it from here.

    Args:
        reactor: their clock.
        recipe: the way to the mail server.
        made: a class that stands in for the protocol's own.
    """
    make = KINDS[recipe.protocol].stream(reactor, recipe, **made)

    def make_stream(login: Login, tls: StrictClientTLS | None) -> UpstreamStream:
        stream = make(login, tls=tls, allow_plaintext_auth=recipe.allow_plaintext_auth)
        stream.send_proxy = recipe.send_proxy
        return stream

    return make_stream


def make_connector(
    kind: type[_C],
    reactor: Any,
    recipe: UpstreamRecipe,
    logins: LoginSource,
    tls: ClientTLS,
    make_stream: MakeStream,
    **besides: Any,
) -> _C:
    """A connector of this class as a recipe says; `besides` is what no recipe decides, as `Connector` calls it."""
    return kind(
        reactor,
        recipe,
        logins,
        tls,
        make_stream,
        login_seconds=recipe.login_seconds,
        connect_seconds=recipe.connect_seconds,
        max_pending_logins=recipe.max_pending_logins,
        hold_off=HoldOffSettings(**attrs.asdict(recipe.hold_off)),
        **besides,
    )


@frozen(eq=False)
class Way:
    """The way to a mail server, and all that it consists of."""

    upstreams: Pool | Direct
    connector: Connector
    logins: DestinationLogins

    @property
    def condition(self) -> Condition:
        """How it has been doing."""
        return self.connector.witness.condition

    def state(self, server_tls: Any) -> State:
        """How it is at this moment; `server_tls` is what clients of the listener are shown, None for nothing."""
        return State(
            pool=self.upstreams.figures(),
            hold_off=self.connector.held_off(),
            source=self.logins.figures(),
            certificate_expires_at=None if server_tls is None else server_tls.expires_at,
            token_expires_at=self.logins.token_expires_at,
        )


@frozen
class Standing:
    """What belongs to a listener by its name, and outlives its settings."""

    log: ListenerLog
    door: Door
    flights: Flights


class Assembly:
    """
    Makes keepers.

    Args:
        tools: to make them with.
        rooms: of the whole process.
        is_ours: whether an address that we connected to, from another, is one of our own listeners.
        audit: of the whole process, or None.
    """

    def __init__(
        self, tools: Tools, rooms: Rooms, is_ours: Callable[[Any, Any], bool], audit: Audit | None = None
    ) -> None:
        self._tools = tools
        self._audit = audit
        self._reactor = tools.reactor
        self._is_ours = is_ours
        self.farewells = Farewells()
        self.shelf = Shelf()
        self._client_tls = Shared(self._make_client_tls)
        self._places = Places(tools.reactor, self._client_tls, tools.random)
        self._upstreams = Shared(self._make_upstreams)
        self._server_tls = Shared(self._make_server_tls)
        self._standings: Shared[Identity, Standing] = Shared(
            lambda who, _: Standing(
                ListenerLog(who.destination, who.tenant, clock=self._reactor), rooms.door(who.tenant), Flights()
            )
        )

    def keeper(self, order: Order) -> Keeper:
        """
        All that an order asks for, but for the port.

        Raises:
            ConfigError: a file that the configuration names cannot be used any more.
        """
        with ExitStack() as end:
            standing = self._standings.take(order.recipe.identity, end)
            way = self._upstreams.take(order.recipe.upstream, end)
            around = self._around(order.recipe, way, standing, end)
            kind = KINDS[order.recipe.upstream.protocol]
            factory: SessionFactory = kind.factory(order.recipe.policy, around, standing.log, standing.door)
            state = partial(way.state, around.server_tls)
            return Keeper(order, factory, standing.door, end.pop_all(), state, way.condition)

    def _around(self, recipe: Recipe, way: Way, standing: Standing, end: ExitStack) -> Surroundings:
        upstreams, introduces = way.upstreams, recipe.upstream.introduces
        return Surroundings(
            clock=self._reactor,
            upstreams=upstreams,
            timeouts=recipe.waits,
            stall_seconds=recipe.stall_seconds,
            close_seconds=recipe.close_seconds,
            overload_seconds=recipe.overload_seconds,
            min_content_rate=recipe.min_content_rate,
            encryption=recipe.policy.encryption,
            server_tls=None if recipe.tls is None else self._server_tls.take((recipe.tls, recipe.tls_where), end),
            balancers=None if recipe.header is None else _balancers(recipe.header),
            introduce=upstreams.introduce if introduces and isinstance(upstreams, Direct) else None,
            book=None if self._audit is None else self._audit.book(recipe.identity),
            flights=standing.flights if recipe.recorded else None,
        )

    def _make_upstreams(self, recipe: UpstreamRecipe, end: ExitStack) -> Way:
        logins = self._places.logins(recipe, end)
        connector = self._connector(recipe, logins, end)
        return Way(self._pool_or_direct(recipe, connector, end), connector, logins)

    def _pool_or_direct(self, recipe: UpstreamRecipe, connector: Connector, end: ExitStack) -> Pool | Direct:
        if recipe.pool is None:
            return Direct(connector.open, recipe.quit_seconds)
        pool = Pool(
            self._reactor,
            connector,
            _pool_settings(recipe.pool, recipe.workers),
            self.shelf,
            wait_seconds=recipe.login_seconds,
            quit_seconds=recipe.quit_seconds,
            worked=connector.witness.worked,
        )
        end.callback(pool.close)
        return pool

    def _connector(self, recipe: UpstreamRecipe, logins: DestinationLogins, end: ExitStack) -> Connector:
        return make_connector(
            Connector,
            self._reactor,
            recipe,
            logins,
            self._client_tls.take(recipe.source.trust, end),
            self._streams(recipe),
            is_ours=self._is_ours,
            random=self._tools.random,
            connecting=self._tools.sockets.connecting,
        )

    def _streams(self, recipe: UpstreamRecipe) -> MakeStream:
        make = stream_maker(self._reactor, recipe)

        def make_stream(login: Login, tls: StrictClientTLS | None) -> UpstreamStream:
            stream = make(login, tls)
            stream.farewells = self.farewells
            return stream

        return make_stream

    def _make_client_tls(self, recipe: TrustConfig, _: ExitStack) -> ClientTLS:
        trust, problems = trust_of(recipe, "trust.", self._reactor)
        if problems:
            raise ConfigError(problems)
        return self._tools.client_tls(trust)

    def _make_server_tls(self, recipe: tuple[ListenerTLSConfig, str], _: ExitStack) -> Any:
        return self._tools.server_tls(*recipe, self._reactor.seconds)


def _balancers(recipe: HeaderRecipe) -> Balancers:
    """Those that a configuration lists."""
    return Balancers(
        versions=recipe.versions,
        networks=tuple(ip_network(each) for each in recipe.balancers if each != LOCAL),
        local=LOCAL in recipe.balancers,
        inside_tls=recipe.inside_tls,
        seconds=recipe.seconds,
        most=recipe.most,
    )


def _pool_settings(table: PoolConfig, workers: int) -> PoolSettings:
    """The table `[pool]` as the pool wants it."""
    return PoolSettings(
        connections=table.max_connections,
        messages=table.max_messages,
        age_seconds=table.max_age_seconds,
        idle_seconds=table.idle_seconds,
        min_idle=table.min_idle,
        workers=workers,
    )
