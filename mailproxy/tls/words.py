"""
Why TLS came to nothing, in one sentence for the operator.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from mailproxy.errors import TLSFailed
from mailproxy.observe.text import printable

# Source: X509_V_ERR_* of OpenSSL; the numbers are part of its API.
_VERIFY_WORDS = {
    2: "issuer's certificate is missing",
    7: "certificate has a bad signature",
    9: "certificate is not yet valid",
    10: "certificate has expired",
    18: "certificate is self-signed and not trusted",
    19: "certificate was issued by an authority that is not trusted",
    20: "certificate was issued by an authority that is not trusted or not known",
    21: "certificate's issuer is not trusted or not known, or was not sent along",
    22: "certificate chain is too long",
    23: "certificate was revoked",
    24: "certificate was issued by one that is no authority",
    25: "certificate chain is longer than an authority in it allows",
    26: "certificate is not meant for {peers}",
    28: "certificate is marked as rejected",
    66: "certificate's key is too weak",
    67: "key of an authority in the chain is too weak",
    68: "signature in the chain is too weak",
}

# Reasons as OpenSSL words them, "ssl/tls alert" and older "sslv3 alert" alike; the first row that fits counts.
_HANDSHAKE_WORDS = (
    ("wrong version number", "peer does not speak TLS"),
    ("packet length too long", "peer does not speak TLS"),
    ("record layer failure", "peer does not speak TLS"),
    ("http request", "peer does not speak TLS"),
    ("unsupported protocol", "no TLS version in common"),
    ("alert protocol version", "no TLS version in common"),
    ("no ciphers available", "no cipher in common"),
    ("no shared cipher", "no cipher in common"),
    ("certificate required", "peer wants a client certificate"),
    ("alert bad certificate", "peer refused our client certificate"),
    ("alert certificate", "peer refused our client certificate"),
    ("alert unsupported certificate", "peer refused our client certificate"),
    ("alert unknown ca", "peer refused our client certificate"),
    ("alert handshake failure", "peer refused our TLS parameters, or wants a client certificate"),
    ("unrecognized name", "peer does not know the host name"),
    ("dh key too small", "peer's key is too weak"),
    ("certificate verify failed", "certificate was refused"),
)

# The same where we are the server.
_CLIENT_HANDSHAKE_WORDS = (
    ("http request", "client speaks HTTP and not TLS"),
    ("https proxy request", "client speaks HTTP and not TLS"),
    ("wrong version number", "client does not speak TLS"),
    ("packet length too long", "client does not speak TLS"),
    ("record layer failure", "client does not speak TLS"),
    ("unsupported protocol", "no TLS version in common"),
    ("version too low", "no TLS version in common"),
    ("alert protocol version", "no TLS version in common"),
    ("inappropriate fallback", "client fell back to an older TLS version than both know"),
    ("no shared cipher", "no cipher in common"),
    ("no suitable signature algorithm", "client cannot use our certificate's kind of key"),
    ("no shared signature algorithms", "client cannot use our certificate's kind of key"),
    ("no suitable groups", "no key exchange in common"),
    ("no suitable key share", "no key exchange in common"),
    ("did not return a certificate", "client showed no certificate, and one is required"),
    ("alert unknown ca", "client does not trust our certificate's authority"),
    ("alert certificate expired", "client says that our certificate has expired"),
    ("alert bad certificate", "client refused our certificate"),
    ("alert certificate", "client refused our certificate"),
    ("alert unsupported certificate", "client refused our certificate"),
    ("alert handshake failure", "client refused our TLS parameters"),
    ("certificate verify failed", "client's certificate was refused"),
)


class CertificateRejected(TLSFailed):
    """
    The peer's certificate proves nothing, or another identity than the one we want.

    `verify_error` is OpenSSL's number and `depth` the place in the chain, 0 being the peer; `verify_error` is 0 when
    the chain is good and the name is not.
    """

    def __init__(self, text: str, *, verify_error: int = 0, depth: int = 0) -> None:
        super().__init__(text)
        self.verify_error = verify_error
        self.depth = depth


class ClientRefused(SSL.Error):
    """
    A mail client's certificate proves nothing.

    It is an error of OpenSSL's, queue and all, with better words: it ends the handshake as any other does, and the
    client gets its alert.
    """

    def __init__(self, problem: str) -> None:
        super().__init__([("SSL routines", "", problem)])
        self.problem = problem


def chain_problem(number: int, depth: int, peers: str) -> str:
    """What OpenSSL's verify error means; `peers` are those whose certificates are judged."""
    words = _VERIFY_WORDS.get(number, "certificate was refused").format(peers=peers)
    return f"{words} (verify error {number} at depth {depth})"


def describe_tls_failure(failure: Failure) -> str:
    """One sentence about why a connection of ours that wanted TLS came to nothing."""
    error = failure.value
    if isinstance(error, CertificateRejected):
        return str(error)
    if isinstance(error, SSL.Error):
        return _describe_openssl_error(error, _HANDSHAKE_WORDS)
    if isinstance(error, (ResponseFailed, RequestTransmissionFailed)) and error.reasons:
        return describe_tls_failure(error.reasons[0])
    return f"TLS failed ({type(error).__name__})"


def describe_client_tls_failure(failure: Failure) -> str:
    """One sentence about why the handshake with a mail client came to nothing."""
    error = failure.value
    if isinstance(error, ClientRefused):
        return f"client's {error.problem}"
    if isinstance(error, SSL.Error):
        return _describe_openssl_error(error, _CLIENT_HANDSHAKE_WORDS)
    if isinstance(error, (ConnectionDone, ConnectionLost)):
        return "client closed the connection"
    return f"TLS failed ({type(error).__name__})"


def openssl_reason(error: SSL.Error) -> str:
    """What OpenSSL says, made fit for an operator's eyes."""
    queue = error.args[0] if error.args and isinstance(error.args[0], (list, tuple)) else ()
    return "; ".join(printable(str(entry[-1])) for entry in queue) or type(error).__name__


def _describe_openssl_error(error: SSL.Error, table: tuple[tuple[str, str], ...]) -> str:
    reason = openssl_reason(error)
    for sign, words in table:
        if sign in reason:
            return f"{words} ({reason})"
    return f"TLS handshake failed ({reason})"
