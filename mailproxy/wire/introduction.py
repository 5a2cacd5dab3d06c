"""
What a mail server is told of the client behind us.
"""

from __future__ import annotations

from attrs import frozen

from mailproxy.wire.proxyprotocol import Addresses


@frozen
class Introduction:
    """
    The client, as far as it is known when the mail server is asked for.

    `addresses` is None for who has none, like a program at a local socket.  `helo` is what the client called itself,
    empty where it has not yet; `extended` whether that was with EHLO.
    """

    addresses: Addresses | None
    helo: bytes = b""
    extended: bool = False
