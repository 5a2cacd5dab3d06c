"""
Port numbers for throw-away servers.
"""

from __future__ import annotations

import random
import socket

_LOWEST, _HIGHEST = 20000, 32000
"""Below the kernel's range for outgoing connections: a busy program cannot sit on one of these by chance."""

_chooser = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A number on loopback that nobody listens on, and that this function has not given out before."""
    for _ in range(200):
        port = _chooser.randrange(_LOWEST, _HIGHEST)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise AssertionError(f"no free port between {_LOWEST} and {_HIGHEST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
