"""
What an SMTP client is told when something on our side, or beyond, went wrong: one row per error.

The texts are fixed: no host, no name, no word of the mail server is in them.  Trouble with our own session at the
mail server is temporary to the client, so that queues keep their mail when a password was changed.

Source: RFC 3463 (enhanced status codes), RFC 5321 §4.2.
"""

from __future__ import annotations

from mailproxy.errors import (
    ConnectionLost,
    DestinationError,
    DestinationUnusable,
    HostNotFound,
    LacksMechanism,
    LacksTLS,
    LacksXCLIENT,
    LimitReached,
    LoopDetected,
    MailProxyError,
    NameLookupFailed,
    RefusedLogin,
    RefusedSession,
    TLSFailed,
    Unreachable,
    UpstreamTimeout,
    Violation,
)
from mailproxy.wire.smtp import format_reply

_WORDS: dict[type[MailProxyError], tuple[str, str]] = {
    NameLookupFailed: ("4.3", "Upstream name lookup failed"),
    HostNotFound: ("4.4", "Upstream host not found"),
    Unreachable: ("4.1", "Upstream not reachable"),
    RefusedSession: ("4.2", "Upstream refused the session"),
    ConnectionLost: ("4.2", "Upstream connection lost"),
    UpstreamTimeout: ("4.2", "Upstream did not answer in time"),
    Violation: ("5.0", "Upstream protocol error"),
    LacksTLS: ("7.4", "Upstream does not offer TLS"),
    TLSFailed: ("7.5", "Upstream TLS verification failed"),
    LacksXCLIENT: ("3.3", "Upstream lacks a required feature"),
    LacksMechanism: ("7.0", "Upstream authentication not possible"),
    RefusedLogin: ("7.0", "Upstream authentication failed"),
    LoopDetected: ("4.6", "Mail loop detected"),
    DestinationUnusable: ("3.5", "Upstream access not configured"),
    DestinationError: ("7.0", "Credentials currently unavailable"),
    LimitReached: ("3.2", "Too many sessions, try later"),
    MailProxyError: ("3.0", "Local error"),
}

LOST = format_reply(421, "4.4.2", "Upstream connection lost")
LOST_IN_DATA = format_reply(451, "4.4.2", "Upstream connection lost")
UNKNOWN_DELIVERY = format_reply(451, "4.4.2", "Delivery status unknown")
SHUTDOWN = format_reply(421, "4.3.2", "Service shutting down")
"""What is said when a session that was there is lost, or ours to end."""


def failure_reply(code: int, error: MailProxyError) -> bytes:
    """
    The reply with this code for an error: the row of its class, or of the nearest class above it.

    The first digit of the enhanced status code is that of the reply code.
    """
    words = next(_WORDS[kind] for kind in type(error).__mro__ if kind in _WORDS)
    return format_reply(code, f"{code // 100}.{words[0]}", words[1])
