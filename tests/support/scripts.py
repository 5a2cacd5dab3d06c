"""
Scripted mail servers that keep what they are given, and a proxy's configuration in front of them.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from attrs import define, field

from tests.support.ports import free_port
from tests.support.scripted import Visit

PATIENCE_SECONDS = 30.0


@define
class Submission:
    """
    An SMTP server that takes every message once `open` is set.

    `messages` are those that were complete, in order; `waiting` is set when one is, and its sender has no reply yet.
    """

    messages: list[bytes] = field(factory=list)
    goodbyes: int = 0
    open: threading.Event = field(factory=threading.Event)
    waiting: threading.Event = field(factory=threading.Event)

    def __call__(self, visit: Visit) -> None:
        """The script of one connection."""
        visit.log_in_smtp()
        while True:
            match visit.read_line().upper().split(b" ")[0]:
                case b"DATA":
                    visit.send(b"354 go on\r\n")
                    self._take(visit)
                case b"QUIT":
                    self.goodbyes += 1
                    visit.send(b"221 bye\r\n")
                    return
                case _:
                    visit.send(b"250 ok\r\n")

    def _take(self, visit: Visit) -> None:
        lines = []
        while (line := visit.read_line()) != b".":
            lines.append(line)
        self.messages.append(b"\n".join(lines))
        self.waiting.set()
        assert self.open.wait(PATIENCE_SECONDS)
        visit.send(b"250 2.0.0 taken\r\n")


@define
class Maildrop:
    """A POP3 server with one message; `goodbyes` counts those who said QUIT."""

    goodbyes: int = 0

    def __call__(self, visit: Visit) -> None:
        """The script of one connection."""
        visit.log_in_pop3()
        while True:
            match visit.read_line().upper().split(b" ")[0]:
                case b"CAPA":
                    visit.send_capabilities()
                case b"RETR":
                    visit.send(b"+OK\r\nSubject: x\r\n\r\nhello\r\n.\r\n")
                case b"QUIT":
                    self.goodbyes += 1
                    visit.send(b"+OK bye\r\n")
                    return
                case _:
                    visit.send(b"+OK\r\n")


def plain(name: str, protocol: str, port: int, **changes: str) -> dict[str, str]:
    """The properties of a destination on loopback, without TLS; `changes` win."""
    keys = f"mail.{protocol}."
    return {
        "Name": name,
        "Type": "MAIL",
        "ProxyType": "Internet",
        "Authentication": "BasicAuthentication",
        "mail.user": "robot",
        "mail.password": "sentinel-password",
        "mail.transport.protocol": protocol,
        f"{keys}host": "localhost",
        f"{keys}port": str(port),
        f"{keys}auth": "true",
        f"{keys}starttls.enable": "false",
        f"{keys}starttls.required": "false",
    } | changes


@define
class Household:
    """
    A configuration with destinations in files, each of them for the tenant acme.

    `top` are keys that stand before the first table; it has what `tests.support.proxy.start` wants of a setup.
    """

    folder: Path
    top: str = ""
    tables: str = ""
    ports: dict[tuple[str, str], int] = field(factory=dict)
    _entries: dict[str, str] = field(factory=dict)

    @property
    def config(self) -> Path:
        """The file that `write` writes."""
        return self.folder / "mailproxy.toml"

    def add(
        self, name: str, protocol: str, upstream: int, *, listen: str = "", service: str = "local", more: str = ""
    ) -> int:
        """There is a destination, and a listener for it, on a free port unless `listen` says where."""
        self.write_file(plain(name, protocol, upstream))
        port = 0
        if not listen:
            port = self.ports.setdefault(("acme", name), free_port())
            listen = f"tcp:{port}:interface=127.0.0.1"
        self._entries[name] = _ENTRY.format(name=name, protocol=protocol, service=service, listen=listen, more=more)
        return port

    def write_file(self, properties: dict[str, str]) -> None:
        """The file of the destination is new, or replaced in one step."""
        path = self.folder / "destinations" / f"{properties['Name']}.json"
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".new").write_text(json.dumps(properties))
        path.with_suffix(".new").rename(path)

    def remove(self, name: str) -> None:
        """Nobody listens for the destination any more."""
        del self._entries[name]
        self.ports.pop(("acme", name), None)

    def write(self) -> Path:
        """The configuration, in the place of the one before."""
        new = self.config.with_suffix(".new")
        new.write_text("\n".join([self.top, _SERVICE, self.tables, *self._entries.values()]))
        new.rename(self.config)
        return self.config


_SERVICE = """
[log]
format = "text"
fold_seconds = 0

[destination_services.local]
directory = "destinations"
"""

_ENTRY = """
[[destinations]]
name = "{name}"
service = "{service}"
protocol = "{protocol}"
listen = {{ acme = "{listen}" }}
allow_plaintext_auth = true
{more}
"""
