"""
The statistics of a running proxy.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path

from attrs import frozen

from tests.support.proxy import Proxy
from tests.support.waiting import until


def report_of(proxy: Proxy, report: Path) -> Mapping[str, str]:
    """What the proxy, which was started with this file, says of itself now; with workers nothing else does."""
    report.unlink(missing_ok=True)
    os.kill(proxy.pid, signal.SIGUSR1)
    return until(lambda: json.loads(report.read_text()) if report.exists() else None, "what is inside")


@frozen
class Desk:
    """The admin endpoint of a running proxy, on whatever port it got."""

    port: int

    @classmethod
    def of(cls, proxy: Proxy) -> Desk:
        """The one that the log tells of."""
        line = proxy.wait_for_log(r"admin endpoint: listening on tcp:\d+:")
        found = re.search(r" on tcp:(\d+):", line)
        assert found
        return cls(int(found[1]))

    def read(self, path: str) -> str:
        """What stands there."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, (path, answer.status)
            return answer.read().decode()
        finally:
            connection.close()

    def statistics(self) -> dict[str, int]:
        """Every number by its whole name, `smtp.PREFIX.sessions`."""
        return read_statistics(self.read("/stats"))


def read_statistics(text: str) -> dict[str, int]:
    """Every number by its name, out of the text of the statistics."""
    lines = (line.rpartition(": ") for line in text.splitlines())
    return {name: int(number) for name, _, number in lines}


def that_do_not_add_up(found: Mapping[str, int]) -> list[str]:
    """The listeners whose sessions are not those that live and those that have ended, taken together."""
    wrong = []
    for root in {name.rsplit(".", 1)[0] for name in found if name.endswith(".sessions")}:
        ended = sum(number for name, number in found.items() if name.startswith(f"{root}.outcomes."))
        if found[f"{root}.sessions"] != found[f"{root}.sessions_active"] + ended:
            wrong.append(root)
    return wrong
