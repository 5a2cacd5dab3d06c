"""
The configuration as it is used: frozen, complete, with every path absolute.

A key of the file is an attribute of the same name; its type, its rule and its default stand here and nowhere else.
Nothing secret is in it: passwords and keys stay in the files that it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NewType

from attrs import Factory, field, frozen

from mailproxy.config.rules import (
    Balancer,
    Between,
    DNSLabel,
    Domain,
    FragmentName,
    Name,
    Seconds,
    StatPrefix,
    TenantID,
)
from mailproxy.destination.model import MailProtocol

Listen = NewType("Listen", Mapping[str | None, str])
"""Tenant to endpoint string; None stands for the provider's own. Every endpoint names its interface."""

LogLevelName = Literal["debug", "info", "warn", "error", "critical"]

LogLevels = NewType("LogLevels", Mapping[str, LogLevelName])
"""Namespace to the least level that is told of it, and of all below it."""

Place = NewType("Place", str)
"""An endpoint string that names its interface."""

Level = Literal["subaccount", "instance", "provider_subaccount", "provider_instance"]


@frozen
class TrustConfig:
    """Whose certificates are believed: mail servers', token services' and destination services'."""

    ca_files: tuple[Path, ...] = ()
    platform: bool = True


@frozen
class TimeoutsConfig:
    """
    How long each wait lasts at most, counted from its beginning; octets that trickle in do not prolong it.

    Source: RFC 5321 §4.5.3.2, RFC 1939 §3.
    """

    login_seconds: Seconds = 20.0
    connect_seconds: Seconds = 10.0
    reply_seconds: Seconds = 300.0
    data_reply_seconds: Seconds = 120.0
    final_reply_seconds: Seconds = 600.0
    rset_reply_seconds: Seconds = 20.0
    quit_reply_seconds: Seconds = 120.0
    body_seconds: Seconds = 180.0
    stall_seconds: Seconds = 180.0
    command_seconds: Seconds = 300.0
    pop3_command_seconds: Seconds = 600.0
    line_seconds: Seconds = 60.0
    content_seconds: Seconds = 300.0
    token_seconds: Seconds = 10.0
    upstream_quit_seconds: Seconds = 5.0
    close_seconds: Seconds = 5.0
    handshake_seconds: Seconds = 30.0
    overload_command_seconds: Seconds = 10.0
    proxy_header_seconds: Seconds = 5.0
    drain_delay_seconds: Annotated[float, Between(0, 86_400)] = 0.0
    drain_seconds: Seconds = 90.0
    drain_final_reply_seconds: Seconds = 10.0


@frozen
class LimitsConfig:
    """What one process holds at a time."""

    max_sessions: Annotated[int, Between(1, 1_000_000, zero="as many as open files allow")] = 0
    max_sessions_per_listener: Annotated[int, Between(1, 1_000_000, zero="none")] = 0
    max_sessions_per_tenant: Annotated[
        int, Between(1, 1_000_000, zero="half of max_sessions where there are several tenants")
    ] = 0
    max_sessions_per_client: Annotated[int, Between(1, 1_000_000, zero="none")] = 0
    max_pending_logins: Annotated[int, Between(1, 1_000_000)] = 100
    max_pending_headers: Annotated[int, Between(1, 1_000_000)] = 100
    max_idle_connections: Annotated[int, Between(1, 1_000_000)] = 200
    min_content_octets_per_second: Annotated[int, Between(1, 1_000_000, zero="none")] = 100


@frozen
class PoolConfig:
    """
    How connections to SMTP servers are kept between two sessions of the same destination and tenant.

    Source: what servers allow: Postfix closes after 300 s, Exim after 1000 messages, hosted services sooner.
    """

    enabled: bool = True
    max_connections: Annotated[
        int, Between(1, 1_000_000, zero="what the mail service is known to allow, else none")
    ] = 0
    max_messages: Annotated[int, Between(1, 1_000_000)] = 100
    max_age_seconds: Seconds = 300.0
    idle_seconds: Annotated[float, Between(0.01, 60)] = 30.0
    min_idle: Annotated[int, Between(0, 1000)] = 0


@frozen
class HoldOffConfig:
    """
    How long a mail server is left alone after a failure: at first, and at most after many.

    The two of the login are for a refused login, those of the connection for a mail server that cannot be reached.
    """

    login_first_seconds: Seconds = 30.0
    login_longest_seconds: Seconds = 600.0
    connect_first_seconds: Seconds = 1.0
    connect_longest_seconds: Seconds = 60.0


@frozen
class SMTPConfig:
    """
    What an SMTP session lets pass, and how much of it; sizes in octets.

    Source: RFC 5321 §4.5.3.1 (the least that a server has to take).
    """

    bare_newline: Literal["normalize", "reject"] = "normalize"
    bare_newline_commands: Literal["reject", "normalize"] = "reject"
    strict_sync: bool = True
    require_helo: bool = False
    max_message_octets: Annotated[int, Between(1, 1 << 40, zero="none")] = 0
    max_recipients: Annotated[int, Between(1, 1_000_000, zero="none")] = 0
    max_line_octets: Annotated[int, Between(1000, 16_384)] = 4096
    max_skipped_octets: Annotated[int, Between(4096, 1 << 30)] = 65_536
    max_buffered_octets: Annotated[int, Between(16_384, 1 << 24)] = 65_536
    max_pipelined_commands: Annotated[int, Between(1, 100_000)] = 1000
    max_discarded_octets: Annotated[int, Between(65_536, 1 << 40)] = 256 << 20
    max_errors: Annotated[int, Between(1, 1_000_000)] = 20
    max_junk_commands: Annotated[int, Between(1, 1_000_000)] = 100
    max_failed_logins: Annotated[int, Between(1, 1000)] = 3


@frozen
class POP3Config:
    """
    What a POP3 session lets pass, and how much of it; sizes in octets.

    Source: RFC 2449 §4 (lengths of command and status lines).
    """

    accept_any_login: bool = True
    fix_newlines: bool = False
    max_line_octets: Annotated[int, Between(255, 16_384)] = 512
    max_skipped_octets: Annotated[int, Between(512, 1 << 30)] = 8192
    max_queued_octets: Annotated[int, Between(16_384, 1 << 24)] = 65_536
    max_status_octets: Annotated[int, Between(512, 65_536)] = 4096


@frozen
class LogConfig:
    """
    What the log tells, and how.

    `auto` is text for people on a terminal, and one JSON object in each line everywhere else.
    """

    format: Literal["auto", "text", "json"] = "auto"
    level: LogLevelName = "info"
    levels: LogLevels = LogLevels({})
    fold_seconds: Annotated[float, Between(1, 3600, zero="never")] = 60.0


@frozen
class MetricsConfig:
    """What the metrics have besides."""

    sap_names: bool = False


@frozen
class AdminConfig:
    """Where an operator asks how it goes, and who may."""

    endpoint: Place = Place("tcp:9494:interface=127.0.0.1")
    token_file: Path | None = None
    allow_without_token: bool = False
    host_names: tuple[Domain, ...] = ()
    record_sessions: bool = True


@frozen
class LedgerConfig:
    """The audit ledger: where it is, how surely it is written, and what follows when it cannot be."""

    path: Path
    fsync: Literal["always", "interval", "never"] = "always"
    fsync_seconds: Seconds = 1.0
    max_octets: Annotated[int, Between(65_536, 1 << 40)] = 256 << 20
    max_age_seconds: Annotated[float, Between(1, 31_622_400)] = 86_400.0
    on_failure: Literal["block", "continue"] = "block"
    address_key_file: Path | None = None


@frozen
class TenantConfig:
    """How a tenant is known to the destination service; without a subdomain by its id alone."""

    id: TenantID | None = None
    subdomain: DNSLabel | None = None


@frozen
class ServiceConfig:
    """Where destinations come from: the service that a binding leads to, or a directory of files."""

    binding: Path | None = None
    directory: Path | None = None


@frozen
class CertificateConfig:
    """
    The files of one certificate, all PEM.

    `certificate` may hold its chain, too; `chain` is for what stands in a file of its own.
    """

    certificate: Path
    key: Path
    chain: Path | None = None


@frozen
class ListenerTLSConfig:
    """
    TLS towards mail clients.

    The first certificate is the default; the client's SNI chooses another.
    """

    mode: Literal["offered", "required", "implicit"]
    certificates: tuple[CertificateConfig, ...]
    minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    client_certificates: Literal["none", "optional", "required"] = "none"
    client_ca_files: tuple[Path, ...] = ()


@frozen
class DestinationConfig:
    """A destination and where it is listened for."""

    name: Name
    protocol: MailProtocol
    listen: Listen
    service: Name = ""
    level: Level | None = None
    fragment: FragmentName | None = None
    fragment_optional: bool = False
    allow_plaintext_auth: bool = False
    tls: Name | None = None
    pool: bool = True
    max_connections: Annotated[int, Between(1, 1_000_000, zero="that of the pool")] = 0
    stat_prefix: StatPrefix | None = None
    proxy_protocol: Literal["off", "v1", "v2", "any"] = "off"
    proxy_protocol_from: tuple[Balancer, ...] = ()
    proxy_protocol_inside_tls: bool = False
    send_proxy: Literal["off", "v1", "v2"] = "off"
    xclient: Literal["off", "offered", "required"] = "off"


@frozen
class Config:
    """
    The whole file.

    `server_name` and `ehlo_name` are None where the host's own name is to be used, `admin` and `ledger` where there is
    none.  `tenants` holds every tenant that is listened for, written down or not.  `source` is what the file holds
    where there are workers to be told it.  `recorded` is for a worker, whose supervisor has the `admin` endpoint: it
    shows sessions that ended badly.
    """

    path: Path
    server_name: Domain | None = None
    ehlo_name: Domain | None = None
    watch_seconds: Annotated[float, Between(0.01, 86_400, zero="never")] = 5.0
    workers: Annotated[int, Between(1, 64)] = 1
    trust: TrustConfig = TrustConfig()
    timeouts: TimeoutsConfig = TimeoutsConfig()
    limits: LimitsConfig = LimitsConfig()
    hold_off: HoldOffConfig = HoldOffConfig()
    pool: PoolConfig = PoolConfig()
    smtp: SMTPConfig = SMTPConfig()
    pop3: POP3Config = POP3Config()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    admin: AdminConfig | None = None
    ledger: LedgerConfig | None = None
    tenants: Mapping[str, TenantConfig] = Factory(dict)
    listener_tls: Mapping[str, ListenerTLSConfig] = Factory(dict)
    destination_services: Mapping[str, ServiceConfig] = Factory(dict)
    destinations: tuple[DestinationConfig, ...] = ()
    source: bytes = field(default=b"", eq=False, repr=False)
    recorded: bool = False

    @property
    def record_sessions(self) -> bool:
        """Whether somebody may want to see what a session has heard."""
        return self.recorded or (self.admin is not None and self.admin.record_sessions)
