"""
What all OpenSSL contexts of ours have in common.
"""

from __future__ import annotations

from OpenSSL import SSL

from mailproxy.observe.text import printable

_VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

# Forward secrecy always (RFC 9325 §4.1); for TLS 1.2 only, TLS 1.3 has no others.
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:!aNULL:!aDSS"


def new_context(method: int, minimum: str, maximum: str | None = None) -> SSL.Context:
    """
    A context that speaks these versions, without compression and without resumption, and knows nobody yet.

    Args:
        method: `SSL.TLS_CLIENT_METHOD` or `SSL.TLS_SERVER_METHOD`.
        minimum: "TLSv1.2" or "TLSv1.3".
        maximum: the same; None for the newest there is.

    Raises:
        ValueError: a version is neither.
    """
    context = SSL.Context(method)
    context.set_min_proto_version(_version(minimum))
    if maximum is not None:
        context.set_max_proto_version(_version(maximum))
    # A resumed session would show us no certificate to judge.
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(_CIPHERS)
    return context


def _version(name: str) -> int:
    try:
        return _VERSIONS[name]
    except KeyError:
        raise ValueError(f"TLS version {printable(name)!r} is not one of {', '.join(_VERSIONS)}") from None
