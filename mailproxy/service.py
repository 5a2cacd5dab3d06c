"""
Assembly: the one place that knows everybody.

    config -> tenants -> downstream listeners -> session -> upstream -> mail server
                  |                                            ^
                  +--> destination: where, as whom ------------+

Each (destination, tenant) gets its own factory, its own connector and its own logins.  They share code, the
certificate authorities that are trusted, and the number of sessions there may be in all.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Mapping
from functools import partial
from random import SystemRandom
from typing import Any

import attrs
from attrs import frozen
from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString

from mailproxy import names
from mailproxy.config import Config
from mailproxy.destination.model import Login, MailProtocol
from mailproxy.downstream.factory import Room, SessionFactory
from mailproxy.downstream.pop3 import POP3ServerFactory
from mailproxy.downstream.protocol import Surroundings
from mailproxy.downstream.smtp import SMTPServerFactory
from mailproxy.errors import ConfigError
from mailproxy.listeners import Listener, Listeners
from mailproxy.observe.sessions import ListenerLog
from mailproxy.places import Places
from mailproxy.session.actions import Waiting
from mailproxy.session.pop3 import POP3Policy
from mailproxy.session.smtp_policy import SMTPPolicy
from mailproxy.tenants import ListenerPlan, listeners
from mailproxy.tls import ClientTLS, StrictClientTLS, Trust
from mailproxy.upstream.connector import Connector
from mailproxy.upstream.pop3 import POP3Upstream
from mailproxy.upstream.smtp import SMTPUpstream
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.transparency import BareNewlines

SPARE_DESCRIPTORS = 64
"""Descriptors that are left for files, the log, and connections to the destination and token services."""

_random = SystemRandom().random


def make_service(
    config: Config,
    reactor: Any = None,
    *,
    client_tls: Callable[[Trust], ClientTLS] = ClientTLS,
    random: Callable[[], float] = _random,
) -> IService:
    """
    The whole proxy; it opens no port before it is started.

    Args:
        config: all that there is to know.
        reactor: None for the process's own.
        client_tls: makes what connections to mail servers and services are secured with.
        random: gives numbers from 0 to 1, for pauses.

    Raises:
        ConfigError: files that the configuration names cannot be used; all problems at once.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it chooses it
    names.install(reactor)
    assembly = _Assembly(config, reactor, client_tls=client_tls, random=random)
    problems = [*assembly.problems, *assembly.problems_of_endpoints()]
    if problems:
        raise ConfigError(problems)
    return assembly.service()


def check(config: Config) -> list[str]:
    """
    What would keep the proxy, or one of its destinations, from working as far as files can tell; opens no port.
    """
    from twisted.internet import reactor  # noqa: PLC0415 - importing it chooses it

    assembly = _Assembly(config, reactor)
    return [*assembly.problems, *assembly.problems_of_endpoints(), *assembly.places.problems_of_destinations()]


def read_trust(config: Config) -> tuple[Trust, list[str]]:
    """The authorities to believe, and what is wrong with the files that hold them."""
    bundles: list[bytes] = []
    problems: list[str] = []
    for number, path in enumerate(config.trust.ca_files):
        try:
            bundle = path.read_bytes()
            Trust(platform=True, bundles=(bundle,))
        except (OSError, ValueError) as error:
            problems.append(f"{config.path}: trust.ca_files[{number}]: {path}: {_reason(error)}")
        else:
            bundles.append(bundle)
    return Trust(platform=config.trust.platform or not bundles, bundles=tuple(bundles)), problems


@frozen
class _Kind:
    """What one protocol is made of; a third protocol is one more row in `_Assembly.kinds`."""

    factory: Any
    policy: Any
    stream: Any
    command_seconds: float


class _Assembly:
    """Puts the chain together, once for each listener."""

    def __init__(
        self,
        config: Config,
        reactor: Any,
        *,
        client_tls: Callable[[Trust], ClientTLS] = ClientTLS,
        random: Callable[[], float] = _random,
    ) -> None:
        self._config = config
        self._reactor = reactor
        trust, self.problems = read_trust(config)
        self._tls = client_tls(trust)
        self.places = Places(config, reactor, self._tls, random)
        self.problems += self.places.problems
        server_name = config.server_name or f"mailproxy.{socket.getfqdn()}"
        upstream_name = config.ehlo_name or _own_domain()
        self.kinds = {
            MailProtocol.SMTP: _Kind(
                SMTPServerFactory,
                smtp_policy(config, server_name),
                partial(SMTPUpstream, reactor, ehlo_name=upstream_name, own_name=server_name),
                config.timeouts.command_seconds,
            ),
            MailProtocol.POP3: _Kind(
                POP3ServerFactory,
                pop3_policy(config),
                partial(POP3Upstream, reactor),
                config.timeouts.pop3_command_seconds,
            ),
        }

    def problems_of_endpoints(self) -> list[str]:
        """What is wrong with endpoints that only Twisted can tell: a certificate that cannot be read, say."""
        problems = []
        for plan in listeners(self._config):
            try:
                serverFromString(self._reactor, plan.endpoint)
            except Exception as error:  # noqa: BLE001 - each kind of endpoint raises kinds of its own
                problems.append(f"{self._config.path}: {plan.label}: {plan.endpoint}: {_reason(error)}")
        return problems

    def service(self) -> Listeners:
        """All listeners, not yet bound."""
        together = Listeners(self.places.close)
        everywhere = Room(self._config.limits.max_sessions or _most_sessions(len(listeners(self._config))))
        for plan in listeners(self._config):
            factory = self._factory(plan, together, everywhere)
            endpoint = serverFromString(self._reactor, plan.endpoint)
            Listener(endpoint, plan.endpoint, factory).setServiceParent(together)
        return together

    def _factory(self, plan: ListenerPlan, together: Listeners, everywhere: Room) -> SessionFactory:
        kind = self.kinds[plan.destination.protocol]
        timeouts = self._config.timeouts
        connector = Connector(
            self._reactor,
            self.places.logins(plan),
            self._tls,
            partial(_stream, kind, plan),
            is_ours=together.is_ours,
            login_seconds=timeouts.login_seconds,
            connect_seconds=timeouts.connect_seconds,
            random=SystemRandom().random,
        )
        around = Surroundings(
            clock=self._reactor,
            open_upstream=connector.open,
            timeouts=_waits(self._config, kind),
            stall_seconds=timeouts.stall_seconds,
            close_seconds=timeouts.close_seconds,
            upstream_quit_seconds=timeouts.upstream_quit_seconds,
        )
        tenant = plan.tenant.name if plan.tenant else None
        log = ListenerLog(plan.destination.name, tenant, label=plan.label)
        here = Room(self._config.limits.max_sessions_per_listener)
        factory: SessionFactory = kind.factory(kind.policy, around, log, (everywhere, here))
        return factory


def smtp_policy(config: Config, server_name: str) -> SMTPPolicy:
    """The table `[smtp]` as the session wants it."""
    table = attrs.asdict(config.smtp)
    commands = table.pop("bare_newline_commands")
    return SMTPPolicy(
        server_name=server_name,
        lone_lf_ends_command=commands == "normalize",
        **table | {"bare_newline": BareNewlines(config.smtp.bare_newline)},
    )


def pop3_policy(config: Config) -> POP3Policy:
    """The table `[pop3]` as the session wants it."""
    return POP3Policy(**attrs.asdict(config.pop3))


def _stream(kind: _Kind, plan: ListenerPlan, login: Login, tls: StrictClientTLS | None) -> UpstreamStream:
    stream: UpstreamStream = kind.stream(login, tls=tls, allow_plaintext_auth=plan.destination.allow_plaintext_auth)
    return stream


def _waits(config: Config, kind: _Kind) -> Mapping[Waiting, float]:
    """The bound of each wait; the login has its own, in the connector."""
    timeouts = config.timeouts
    return {
        Waiting.UPSTREAM_REPLY: timeouts.reply_seconds,
        Waiting.UPSTREAM_DATA_REPLY: timeouts.data_reply_seconds,
        Waiting.UPSTREAM_FINAL_REPLY: timeouts.final_reply_seconds,
        Waiting.UPSTREAM_RSET_REPLY: timeouts.rset_reply_seconds,
        Waiting.UPSTREAM_QUIT_REPLY: timeouts.quit_reply_seconds,
        Waiting.UPSTREAM_BODY: timeouts.body_seconds,
        Waiting.DOWNSTREAM_COMMAND: kind.command_seconds,
        Waiting.DOWNSTREAM_LINE: timeouts.line_seconds,
        Waiting.DOWNSTREAM_CONTENT: timeouts.content_seconds,
    }


def _own_domain() -> str | None:
    """Our domain, if we have one (RFC 5321 §4.1.1.1); without it the address has to do."""
    domain = socket.getfqdn()
    return domain if "." in domain and not domain.startswith("localhost") else None


def _most_sessions(listening: int) -> int:
    """Each session takes two descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(1, (soft - SPARE_DESCRIPTORS - listening) // 2)


def _reason(error: Exception) -> str:
    words = error.strerror if isinstance(error, OSError) else str(error)
    return words or type(error).__name__
