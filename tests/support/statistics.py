"""
The statistics of a running proxy.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from tests.support.proxy import Proxy
from tests.support.waiting import until


def report_of(proxy: Proxy, report: Path) -> Mapping[str, str]:
    """What the proxy, which was started with this file, says of itself now."""
    report.unlink(missing_ok=True)
    os.kill(proxy.pid, signal.SIGUSR1)
    return until(lambda: json.loads(report.read_text()) if report.exists() else None, "what is inside")


def statistics(proxy: Proxy, report: Path) -> dict[str, int]:
    """Every number by its whole name, `smtp.PREFIX.sessions`."""
    lines = (line.rpartition(": ") for line in report_of(proxy, report)["stats"].splitlines())
    return {name: int(number) for name, _, number in lines}
