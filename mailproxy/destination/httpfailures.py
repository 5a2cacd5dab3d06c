"""
Why a question got no answer, in words for an operator.
"""

from __future__ import annotations

from collections.abc import Iterator

from OpenSSL import SSL
from twisted.internet import error as net
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed

from mailproxy.errors import MailProxyError, TLSFailed
from mailproxy.observe.text import printable
from mailproxy.tls import describe_tls_failure

_WRAPPERS = (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed)

EXPECTED = (
    *_WRAPPERS,
    CancelledError,
    net.ConnectError,
    net.ConnectingCancelledError,
    net.ConnectionClosed,
    net.DNSLookupError,
    MailProxyError,
    SSL.Error,
    ValueError,  # a certificate or a host that cannot be used
)
"""What asking may end with without a mistake of ours."""

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (net.DNSLookupError, "cannot be found: its host name has no address"),
    (net.ConnectionRefusedError, "refuses connections"),
    (net.TimeoutError, "cannot be reached: no connection in time"),
    (net.ConnectError, "cannot be reached"),
    (net.ConnectionClosed, "closed the connection before its answer was complete"),
)


def explain(error: BaseException) -> str:
    """
    What happened, as the end of a sentence that begins with who was asked.
    """
    reasons = list(_reasons(error))
    for reason in reasons:
        if isinstance(reason, (TLSFailed, SSL.Error)):
            return f"cannot be asked over TLS: {describe_tls_failure(Failure(reason))}"
    for kind, words in _WORDS:
        if any(isinstance(reason, kind) for reason in reasons):
            return words
    # A ValueError is ours if it comes bare; inside of another error, it is about what the service said.
    if isinstance(error, (MailProxyError, ValueError)):
        return f"cannot be asked: {printable(str(error))}"
    return "answered with something that is no HTTP"


def was_cancelled(error: BaseException) -> bool:
    """Whether it ended because somebody here wanted it to."""
    return any(isinstance(reason, (CancelledError, net.ConnectingCancelledError)) for reason in _reasons(error))


def _reasons(error: BaseException) -> Iterator[BaseException]:
    """The error, or what is wrapped in it."""
    if not isinstance(error, _WRAPPERS):
        yield error
        return
    for failure in error.reasons:
        if failure.value is not None:
            yield from _reasons(failure.value)
