"""
A recipe: everything that decides how one listener behaves, in one value.

Two recipes are equal exactly when nothing about the listener has to change, so that a new configuration can be compared
with the one in use.  A value in here is a key as well: parts with equal recipes are shared (`assembly.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import attrs
from attrs import field, frozen

from mailproxy.config import Config, ListenerTLSConfig, ServiceConfig, TimeoutsConfig, TrustConfig
from mailproxy.config.endpoints import parse_endpoint
from mailproxy.config.values import HoldOffConfig, PoolConfig
from mailproxy.destination.model import MailProtocol
from mailproxy.destination.source import PROVIDER, Reference, Tenant
from mailproxy.session.actions import Waiting
from mailproxy.session.encryption import Encryption
from mailproxy.session.pop3_policy import POP3Policy
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.tenants import ListenerPlan, listeners
from mailproxy.wire.proxyprotocol import Version
from mailproxy.wire.transparency import BareNewlines
from mailproxy.wire.xclient import Telling


@frozen
class SourceRecipe:
    """A place that knows destinations, opened for one tenant."""

    name: str
    service: ServiceConfig
    tenant: Tenant
    trust: TrustConfig
    token_seconds: float


@frozen
class UpstreamRecipe:
    """
    The way to one destination of one tenant.

    `ehlo_name` is None for our address in brackets; a mail server that calls itself `own_name` is ourselves.  POP3
    knows neither, and no `pool`, which is None where each session has a connection of its own.  `send_proxy` and
    `xclient` are how the mail server is told of the client.
    """

    source: SourceRecipe
    reference: Reference
    protocol: MailProtocol
    allow_plaintext_auth: bool
    ehlo_name: str | None
    own_name: str
    login_seconds: float
    connect_seconds: float
    max_pending_logins: int
    hold_off: HoldOffConfig
    pool: PoolConfig | None
    workers: int
    quit_seconds: float
    send_proxy: Version | None = None
    xclient: Telling = "off"

    @property
    def introduces(self) -> bool:
        """Whether the mail server is told of the client; a connection is then good for nobody else."""
        return self.send_proxy is not None or self.xclient != "off"


@frozen
class HeaderRecipe:
    """The PROXY header that begins each connection, from whom, and how long and how often it may be owed."""

    versions: frozenset[Version]
    balancers: tuple[str, ...]
    inside_tls: bool
    seconds: float
    most: int


@frozen
class Identity:
    """Whose counters and log a listener's are; they go on when its endpoint or its settings change."""

    destination: str
    tenant: str | None
    service: str
    protocol: MailProtocol


@frozen
class Recipe:
    """One listener, but for where it listens and what it is called in the log."""

    identity: Identity
    upstream: UpstreamRecipe
    policy: SMTPPolicy | POP3Policy
    tls: ListenerTLSConfig | None
    tls_where: str = field(eq=False)
    waits: Mapping[Waiting, float]
    overload_seconds: float
    stall_seconds: float
    close_seconds: float
    max_sessions: int
    min_content_rate: float
    header: HeaderRecipe | None = None
    recorded: bool = False


@frozen
class OwnNames:
    """What this machine is called, by itself."""

    host: str

    @property
    def domain(self) -> str | None:
        """Our domain, if we have one (RFC 5321 §4.1.1.1); without it the address has to do."""
        return self.host if "." in self.host and not self.host.startswith("localhost") else None


@frozen
class Order:
    """A listener that is wanted: what, where, under which name in the log and in the statistics."""

    recipe: Recipe
    endpoint: str
    label: str
    stat_prefix: str = ""

    @property
    def place(self) -> Hashable:
        """Equal for orders that stand in for each other; any free port is another one for everybody."""
        endpoint = parse_endpoint(self.endpoint)
        return endpoint.kind, frozenset(endpoint.settings.items()), None if endpoint.place else self.recipe.identity


def orders(config: Config, own: OwnNames) -> list[Order]:
    """Every listener that a configuration asks for, in the order of the file."""
    return [
        Order(_recipe(config, plan, own), plan.endpoint, plan.label, plan.stat_prefix) for plan in listeners(config)
    ]


def _recipe(config: Config, plan: ListenerPlan, own: OwnNames) -> Recipe:
    timeouts, limits = config.timeouts, config.limits
    protocol = plan.destination.protocol
    encryption = Encryption(plan.tls.mode) if plan.tls is not None else Encryption.PLAINTEXT
    smtp = protocol is MailProtocol.SMTP
    return Recipe(
        identity=_identity(plan),
        upstream=_upstream(config, plan, own),
        policy=smtp_policy(config, _server_name(config, own), encryption) if smtp else pop3_policy(config, encryption),
        tls=plan.tls,
        tls_where=plan.tls_where,
        waits=_waits(timeouts, protocol),
        overload_seconds=timeouts.overload_command_seconds,
        stall_seconds=timeouts.stall_seconds,
        close_seconds=timeouts.close_seconds,
        max_sessions=limits.max_sessions_per_listener,
        min_content_rate=float(limits.min_content_octets_per_second),
        header=_header(config, plan),
        recorded=config.record_sessions,
    )


def _header(config: Config, plan: ListenerPlan) -> HeaderRecipe | None:
    wanted = plan.destination
    if wanted.proxy_protocol == "off":
        return None
    any_version = wanted.proxy_protocol == "any"
    return HeaderRecipe(
        versions=frozenset(Version if any_version else [Version(wanted.proxy_protocol)]),
        balancers=wanted.proxy_protocol_from,
        inside_tls=wanted.proxy_protocol_inside_tls,
        seconds=config.timeouts.proxy_header_seconds,
        most=config.limits.max_pending_headers,
    )


def _identity(plan: ListenerPlan) -> Identity:
    wanted = plan.destination
    return Identity(wanted.name, plan.tenant.name if plan.tenant else None, wanted.service, wanted.protocol)


def _upstream(config: Config, plan: ListenerPlan, own: OwnNames) -> UpstreamRecipe:
    wanted, timeouts = plan.destination, config.timeouts
    smtp = wanted.protocol is MailProtocol.SMTP
    return UpstreamRecipe(
        source=source_recipe(config, plan),
        reference=reference(plan),
        protocol=wanted.protocol,
        allow_plaintext_auth=wanted.allow_plaintext_auth,
        ehlo_name=(config.ehlo_name or own.domain) if smtp else None,
        own_name=_server_name(config, own) if smtp else "",
        login_seconds=timeouts.login_seconds,
        connect_seconds=timeouts.connect_seconds,
        max_pending_logins=config.limits.max_pending_logins,
        hold_off=config.hold_off,
        pool=_pool(config, plan) if smtp else None,
        workers=config.workers,
        quit_seconds=timeouts.upstream_quit_seconds,
        send_proxy=None if wanted.send_proxy == "off" else Version(wanted.send_proxy),
        xclient=wanted.xclient,
    )


def _pool(config: Config, plan: ListenerPlan) -> PoolConfig | None:
    wanted = plan.destination
    introducing = (wanted.send_proxy, wanted.xclient) != ("off", "off")
    if introducing or not (config.pool.enabled and wanted.pool):
        return None
    return attrs.evolve(config.pool, max_connections=wanted.max_connections or config.pool.max_connections)


def source_recipe(config: Config, plan: ListenerPlan) -> SourceRecipe:
    """Where the listener's destination is looked up."""
    name = plan.destination.service
    tenant = PROVIDER if plan.tenant is None else Tenant(plan.tenant.name, plan.tenant.subdomain, plan.tenant.id)
    return SourceRecipe(name, config.destination_services[name], tenant, config.trust, config.timeouts.token_seconds)


def reference(plan: ListenerPlan) -> Reference:
    """Which destination it is there."""
    wanted = plan.destination
    return Reference(wanted.name, wanted.level, wanted.fragment, wanted.fragment_optional)


def smtp_policy(config: Config, server_name: str, encryption: Encryption = Encryption.PLAINTEXT) -> SMTPPolicy:
    """The table `[smtp]` as the session wants it."""
    table = attrs.asdict(config.smtp)
    commands = table.pop("bare_newline_commands")
    return SMTPPolicy(
        server_name=server_name,
        encryption=encryption,
        lone_lf_ends_command=commands == "normalize",
        **table | {"bare_newline": BareNewlines(config.smtp.bare_newline)},
    )


def pop3_policy(config: Config, encryption: Encryption = Encryption.PLAINTEXT) -> POP3Policy:
    """The table `[pop3]` as the session wants it."""
    return POP3Policy(encryption=encryption, **attrs.asdict(config.pop3))


def _server_name(config: Config, own: OwnNames) -> str:
    return config.server_name or f"mailproxy.{own.host}"


def _waits(timeouts: TimeoutsConfig, protocol: MailProtocol) -> Mapping[Waiting, float]:
    """The bound of each wait; the login has its own, in the connector."""
    smtp = protocol is MailProtocol.SMTP
    command_seconds = timeouts.command_seconds if smtp else timeouts.pop3_command_seconds
    return {
        Waiting.UPSTREAM_REPLY: timeouts.reply_seconds,
        Waiting.UPSTREAM_DATA_REPLY: timeouts.data_reply_seconds,
        Waiting.UPSTREAM_FINAL_REPLY: timeouts.final_reply_seconds,
        Waiting.UPSTREAM_RSET_REPLY: timeouts.rset_reply_seconds,
        Waiting.UPSTREAM_QUIT_REPLY: timeouts.quit_reply_seconds,
        Waiting.UPSTREAM_BODY: timeouts.body_seconds,
        Waiting.DOWNSTREAM_HANDSHAKE: timeouts.handshake_seconds,
        Waiting.DOWNSTREAM_FIRST_COMMAND: command_seconds,
        Waiting.DOWNSTREAM_COMMAND: command_seconds,
        Waiting.DOWNSTREAM_LINE: timeouts.line_seconds,
        Waiting.DOWNSTREAM_CONTENT: timeouts.content_seconds,
    }
