"""
What is known of the process as a whole.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from functools import cache

from attrs import Factory, define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

import twisted
from mailproxy import __version__
from mailproxy.observe.histogram import Histogram
from mailproxy.observe.observation import CrewFigures, LedgerFigures

LAG_SECONDS = 1.0
"""How often it is looked how late the reactor is."""


@define
class ProcessFigures:
    """
    Of one process, since its start.

    `lag` is by how much timers were late: for so long nobody was served.  `sap_names` is whether the metrics have the
    names of SAP's Transparent Proxy, too.  `ledger` and `crew` are None where there is no ledger, or one process alone.
    """

    started_at: float = Factory(time.time)
    lag: Histogram = Factory(Histogram)
    sap_names: bool = False
    ledger: LedgerFigures | None = None
    crew: CrewFigures | None = None


figures = ProcessFigures()
"""Those of this process."""


class LagMeter:
    """
    Looks how late the reactor is.

    Args:
        clock: the reactor.
        lag: takes what is found.
    """

    def __init__(self, clock: IReactorTime, lag: Histogram) -> None:
        self._clock = clock
        self._lag = lag
        self._due = 0.0
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """It is looked at from now on."""
        self._due = self._clock.seconds() + LAG_SECONDS
        self._call = self._clock.callLater(LAG_SECONDS, self._look)

    def stop(self) -> None:
        """No timer is left."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look(self) -> None:
        self._lag.observe(self._clock.seconds() - self._due)
        self.start()


@cache
def versions() -> Mapping[str, str]:
    """Which versions run."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"version": __version__, "python": python, "twisted": twisted.__version__}
