"""The configuration file: TOML text to frozen values, or one complaint per mistake."""

from mailproxy.config.endpoints import with_loopback_default
from mailproxy.config.load import Examined, examine, load
from mailproxy.config.values import (
    Config,
    DestinationConfig,
    LimitsConfig,
    POP3Config,
    ServiceConfig,
    SMTPConfig,
    TenantConfig,
    TimeoutsConfig,
    TrustConfig,
)

__all__ = [
    "Config",
    "DestinationConfig",
    "Examined",
    "LimitsConfig",
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
