"""
Which transports connections get.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import frozen

from mailproxy.sockets.connect import connecting
from mailproxy.sockets.listen import serving

T = TypeVar("T")


@frozen
class Sockets:
    """
    `connecting` makes of a reactor what connections come from, `serving` goes over each port that is open.
    """

    connecting: Callable[[Any], Any]
    serving: Callable[[Any], Any]


def _as_it_is(what: T) -> T:
    return what


OURS = Sockets(connecting, serving)

TWISTED = Sockets(_as_it_is, _as_it_is)
"""For comparison: the same suites pass with it."""
