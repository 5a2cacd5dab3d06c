"""The configuration file: TOML text to frozen values, or one complaint per mistake."""

from mailproxy.config.endpoints import with_loopback_default
from mailproxy.config.load import Examined, examine, examine_source, load
from mailproxy.config.values import (
    AdminConfig,
    CertificateConfig,
    Config,
    DestinationConfig,
    HoldOffConfig,
    LedgerConfig,
    LimitsConfig,
    ListenerTLSConfig,
    LogConfig,
    MetricsConfig,
    PoolConfig,
    POP3Config,
    ServiceConfig,
    SMTPConfig,
    TenantConfig,
    TimeoutsConfig,
    TrustConfig,
)

__all__ = [
    "AdminConfig",
    "CertificateConfig",
    "Config",
    "DestinationConfig",
    "Examined",
    "HoldOffConfig",
    "LedgerConfig",
    "LimitsConfig",
    "ListenerTLSConfig",
    "LogConfig",
    "MetricsConfig",
    "POP3Config",
    "PoolConfig",
    "SMTPConfig",
    "ServiceConfig",
    "TenantConfig",
    "TimeoutsConfig",
    "TrustConfig",
    "examine",
    "examine_source",
    "load",
    "with_loopback_default",
]
