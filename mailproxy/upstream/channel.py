"""
What a connection to a mail server is bound to from its first octet to its last.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from attrs import frozen

from mailproxy.destination.model import Login


@frozen(eq=False)
class Channel:
    """
    All that a connection was made with, and that RSET does not undo.  Two that are not equal, in full, never stand in
    for each other.

    `way` is everything that the configuration says of it: tenant, service, destination, our name, what may travel in
    plain text.  `login` has host, port, TLS settings, mechanisms, user and secret.  `trust` is whom we believed.
    A connection whose mail server was told of a client is that client's alone, and in no pool.
    """

    way: Hashable
    login: Login
    trust: Any

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Channel):
            return NotImplemented
        return (self.way, self.login, self.trust) == (other.way, other.login, other.trust)

    def __hash__(self) -> int:
        return hash((self.way, self.login, self.trust))
