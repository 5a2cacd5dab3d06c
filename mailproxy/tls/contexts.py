"""
What all OpenSSL contexts of ours have in common.
"""

from __future__ import annotations

from OpenSSL import SSL
from OpenSSL._util import lib as _lib

from mailproxy.observe.text import printable

_VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

_PARTIAL_WRITE = 0x1  # SSL_MODE_ENABLE_PARTIAL_WRITE of OpenSSL's API, which pyOpenSSL sets and gives no name

# Forward secrecy always (RFC 9325 §4.1); for TLS 1.2 only, TLS 1.3 has no others.
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:!aNULL:!aDSS"
# The star: of these only X25519 is prepared in the first message.  A key of ML-KEM takes a quarter of a millisecond and
# nine KiB for each connection; a server that wants it asks for it, at the price of a round trip (RFC 8446 §4.1.4), and
# the next connection to it brings the key along.
_LARGE = "X25519MLKEM768"
_SMALL_KEY = b"X25519MLKEM768:*X25519:P-256:P-384:P-521"
_LARGE_KEY = b"*X25519MLKEM768:X25519:P-256:P-384:P-521"


def new_context(method: int, minimum: str, maximum: str | None = None) -> SSL.Context:
    """
    A context that speaks these versions, without compression and renegotiation, and knows nobody yet.

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
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # Many records are written in one call; what a full socket does not take of them is OpenSSL's to remember.
    context.clear_mode(_PARTIAL_WRITE)
    context.set_cipher_list(_CIPHERS)
    if method == SSL.TLS_CLIENT_METHOD:
        _choose_groups(context)
    return context


def _choose_groups(context: SSL.Context) -> None:
    """An OpenSSL that does not know them all keeps its own choice.  pyOpenSSL has no public name for it."""
    if not _lib.SSL_CTX_set1_curves_list(context._context, _SMALL_KEY):  # noqa: SLF001 - it has no public name
        _lib.ERR_clear_error()


def bring_large_key(connection: SSL.Connection) -> None:
    """The first message has the large key and no other."""
    if not _lib.SSL_set1_curves_list(connection._ssl, _LARGE_KEY):  # noqa: SLF001 - it has no public name
        _lib.ERR_clear_error()


def used_large_key(connection: SSL.Connection) -> bool:
    """Whether the handshake that is done took the large key."""
    return connection.get_group_name() == _LARGE


def _version(name: str) -> int:
    try:
        return _VERSIONS[name]
    except KeyError:
        raise ValueError(f"TLS version {printable(name)!r} is not one of {', '.join(_VERSIONS)}") from None
