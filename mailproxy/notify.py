"""
Words to the service manager: systemd's notification protocol, without its library.

Source: sd_notify(3), systemd.service(5) (Type=notify, WatchdogSec=).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_log = Logger(namespace="mailproxy.process")

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """
    Tells the service manager how we are; where there is none, nobody is told.

    Args:
        clock: for the watchdog.
        environ: where the service manager says how to tell it; that is taken out, for it is for us alone.
    """

    def __init__(self, clock: IReactorTime, environ: MutableMapping[str, str]) -> None:
        address, microseconds, pid = (environ.pop(name, "") for name in _VARIABLES)
        self._clock = clock
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        ours = not pid or pid == str(os.getpid())
        self._watchdog_seconds = int(microseconds) / 2e6 if ours and microseconds.isdecimal() else 0.0
        self._next: Any = None
        self._told = False

    def start(self) -> None:
        """The watchdog is fed from now on, twice as often as it wants."""
        if self._address and self._watchdog_seconds:
            self._feed()

    def stop(self) -> None:
        """Nothing is left to be done later."""
        if self._next is not None and self._next.active():
            self._next.cancel()

    def ready(self, status: str) -> None:
        """All ports are open, or a configuration has been loaded."""
        self._say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A configuration is being loaded; `ready` follows, whatever comes of it."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self._say("STOPPING=1", f"STATUS={status}")

    def _feed(self) -> None:
        self._say("WATCHDOG=1")
        self._next = self._clock.callLater(self._watchdog_seconds, self._feed)

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
                channel.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._told:
                self._told = True
                reason = error.strerror or str(error)
                _log.warn("the service manager cannot be told how we are: {reason}", reason=reason)
