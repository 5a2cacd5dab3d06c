"""The configuration file: TOML text to frozen values, or one complaint per mistake."""

from mailproxy.config.endpoints import with_loopback_default
from mailproxy.config.load import Examined, examine, load
from mailproxy.config.values import (
    CertificateConfig,
    Config,
    DestinationConfig,
    HoldOffConfig,
    LimitsConfig,
    ListenerTLSConfig,
    POP3Config,
    ServiceConfig,
    SMTPConfig,
    TenantConfig,
    TimeoutsConfig,
    TrustConfig,
)

__all__ = [
    "CertificateConfig",
    "Config",
    "DestinationConfig",
    "Examined",
    "HoldOffConfig",
    "LimitsConfig",
    "ListenerTLSConfig",
    "POP3Config",
    "SMTPConfig",
    "ServiceConfig",
    "TenantConfig",
    "TimeoutsConfig",
    "TrustConfig",
    "examine",
    "load",
    "with_loopback_default",
]
