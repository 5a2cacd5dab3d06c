"""
The whole proxy on a reactor in memory, with destinations in files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from mailproxy.config import Config, load
from mailproxy.service import Proxy, make_service
from tests.support.memory import MemoryReactor

HEAD = """
[destination_services.local]
directory = "destinations"
"""

LISTENER = """
[[destinations]]
name = "{name}"
service = "local"
protocol = "smtp"
listen = {listen}
allow_plaintext_auth = true
"""

PROPERTIES = {
    "Type": "MAIL",
    "ProxyType": "Internet",
    "Authentication": "BasicAuthentication",
    "mail.user": "robot",
    "mail.password": "pw",
    "mail.transport.protocol": "smtp",
    "mail.smtp.host": "mail.localhost",
    "mail.smtp.port": "25",
    "mail.smtp.auth": "true",
    "mail.smtp.starttls.enable": "false",
    "mail.smtp.starttls.required": "false",
}


class Site:
    """
    A folder with a configuration, and the proxy that it makes.

    `write` takes what differs: `top` are keys that stand first, `listen` is, by destination, TOML for its endpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reactor = MemoryReactor()
        (folder / "destinations").mkdir()

    def write(self, top: str = "", *, head: str = HEAD, **listen: str) -> Config:
        """The configuration, as it was read from the file."""
        for name in listen:
            path = self.folder / "destinations" / f"{name}.json"
            path.write_text(json.dumps({"Name": name, **PROPERTIES}))
        entries = [LISTENER.format(name=name, listen=text) for name, text in listen.items()]
        path = self.folder / "mailproxy.toml"
        path.write_text("\n".join([top, head, *entries]))
        return load(path)

    def start(self, *args: Any, **listen: str) -> Proxy:
        """The proxy runs with that configuration."""
        proxy = make_service(self.write(*args, **listen), self.reactor, random=lambda: 0.5)
        proxy.privilegedStartService()
        proxy.startService()
        return proxy


class Followed:
    """Whether a Deferred has come to its result, through all that it waits for, and which."""

    def __init__(self, deferred: Deferred[Any]) -> None:
        self.called = False
        self.result: Any = None
        deferred.addBoth(self._come)

    def _come(self, result: Any) -> None:
        self.called = True
        self.result = result
