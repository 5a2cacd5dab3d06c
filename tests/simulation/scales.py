"""
How much a session keeps: all the octets that can be reached from its connection, whoever holds them.
"""

from __future__ import annotations

import gc
from collections import OrderedDict, deque
from types import BuiltinMethodType, MethodType

from tests.simulation.network import SimulatedTransport

_CONTAINERS = (dict, list, tuple, set, frozenset, deque, OrderedDict, MethodType, BuiltinMethodType)
_OCTETS = (bytes, bytearray, str)

_OURS = (
    "mailproxy.session.",
    "mailproxy.wire.",
    "mailproxy.relay",
    "mailproxy.downstream.protocol",
    "mailproxy.downstream.connection",
    "mailproxy.downstream.pump",
    "mailproxy.downstream.waits",
    "mailproxy.upstream.stream",
    "mailproxy.upstream.smtp",
    "mailproxy.upstream.pop3",
    "twisted.protocols.tls",
    "tests.simulation.marker",
)
"""Modules whose objects belong to one session.  What all sessions share, and what is the world's, is not weighed."""


def weigh(protocol):
    """The octets that one connection of a mail client makes the proxy keep, those of its mail server included."""
    total, seen, found = 0, set(), [protocol]
    while found:
        each = found.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, _OCTETS):
            total += len(each)
        elif isinstance(each, SimulatedTransport):
            found += [each.buffer, each.protocol]
        elif type(each) in _CONTAINERS or type(each).__module__.startswith(_OURS):
            found += gc.get_referents(each)
    return total
