"""
Every exception that mailproxy raises, on one screen.

The class says who is at fault and carries the one word a session ends with (`outcome`).  `str(error)` is the
operator's sentence: it may name hosts, keys and sanitised replies, never a secret.  What a mail client is told
stands in the tables of `session/smtp.py` and `session/pop3.py`, one row per class.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Self


class MailProxyError(Exception):
    """
    Any failure that mailproxy foresaw.

    `temporary` says whether trying again can help without anybody changing a setting.  `seen` is what was the case
    before it, in the words of the statistics.
    """

    temporary: bool = True
    outcome: ClassVar[str]
    seen: tuple[str, ...] = ()

    def having_seen(self, *what: str) -> Self:
        """The same error, with more of what was the case."""
        self.seen = (*self.seen, *what)
        return self


class ConfigError(MailProxyError):
    """
    The configuration cannot be used.  `problems` holds one line each: `FILE: key.path: reason`.
    """

    temporary = False
    outcome = "config_error"

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class WireError(MailProxyError):
    """Octets that no grammar allows; `session` and `upstream` turn it into what it means there."""

    temporary = False
    outcome = "protocol_error"


class LineTooLong(WireError):
    """A line passed its limit, CRLF included."""


class BareNewline(WireError):
    """A CR without LF or a LF without CR where only CRLF ends a line."""


class NulOctet(WireError):
    """NUL in mail data: no mail server agrees with another on what it means."""


class BadCommand(WireError):
    """
    A command line that breaks the grammar; `code`, `status` and `text` are the reply to it.
    """

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(f"{code} {status} {text}")
        self.code = code
        self.status = status
        self.text = text


class MalformedReply(WireError):
    """Octets of the mail server that are no reply, or a reply beyond its bounds."""


class MalformedChallenge(WireError):
    """A SASL challenge that is not base64, too long, or one too many."""


class BadProxyHeader(WireError):
    """What came before the session is no PROXY header, or not one that may be used there."""

    outcome = "proxy_header_refused"


class UpstreamError(MailProxyError):
    """The mail server, or the way to it, failed."""

    outcome = "upstream_error"


class NameLookupFailed(UpstreamError):
    """The name service gave no answer about the mail server's host."""

    outcome = "upstream_name_lookup_failed"


class HostNotFound(UpstreamError):
    """The name service says that the mail server's host does not exist."""

    outcome = "upstream_host_not_found"


class Unreachable(UpstreamError):
    """No TCP connection: refused, no route, or no answer in time."""

    outcome = "upstream_unreachable"


class RefusedSession(UpstreamError):
    """The mail server closed, stayed silent, or greeted with a negative reply."""

    outcome = "upstream_refused_session"


class ConnectionLost(UpstreamError):
    """The mail server, or the way to it, ended an established session."""

    outcome = "upstream_lost"


class UpstreamTimeout(UpstreamError):
    """The mail server did not answer in time."""

    outcome = "upstream_timeout"


class Violation(UpstreamError):
    """The mail server does not keep to its protocol."""

    outcome = "upstream_protocol_error"


class LacksTLS(UpstreamError):
    """TLS is required and the mail server does not offer it, or refused it."""

    outcome = "upstream_lacks_tls"


class TLSFailed(UpstreamError):
    """The handshake failed, or the certificate is not trusted, expired, or another host's."""

    outcome = "upstream_tls_failed"


class LacksXCLIENT(UpstreamError):
    """The mail server has to be told who the client is, and does not offer to hear it."""

    outcome = "upstream_lacks_xclient"


class LacksMechanism(UpstreamError):
    """The mail server and the destination share no way to log in."""

    outcome = "upstream_lacks_mechanism"


class RefusedLogin(UpstreamError):
    """
    The mail server refused the credentials for good (`temporary` False on the instance) or for now.

    `response_code` is a POP3 response code that a client may be told (`IN-USE`, `LOGIN-DELAY`), else None.
    """

    outcome = "upstream_refused_login"

    def __init__(self, text: str, *, temporary: bool, response_code: str | None = None) -> None:
        super().__init__(text)
        self.temporary = temporary
        self.response_code = response_code


class LoopDetected(UpstreamError):
    """The destination leads back to one of our own listeners."""

    temporary = False
    outcome = "loop"


class DestinationError(MailProxyError):
    """Where to log in, or as whom, could not be found out."""

    outcome = "destination_error"


class DestinationUnavailable(DestinationError):
    """
    The destination service or the token service failed, was slow, or answered nonsense.

    `retry_after` is the pause in seconds that the service asked for, else None.
    """

    outcome = "destination_unavailable"

    def __init__(self, text: str, *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class TokenRefused(DestinationError):
    """The token service refused the client's credentials, or answered without a usable token."""

    temporary = False
    outcome = "token_refused"


class DestinationUnknown(DestinationError):
    """The destination service knows no such destination, fragment or tenant."""

    temporary = False
    outcome = "destination_unknown"


class DestinationUnusable(DestinationError):
    """
    A destination that cannot be used as it stands: wrong type, unsupported protocol, bad port, missing key.

    `key` names the property at fault.
    """

    temporary = False
    outcome = "destination_unusable"

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class LimitReached(MailProxyError):
    """One of our own limits: sessions, size, time."""

    outcome = "limit_reached"
