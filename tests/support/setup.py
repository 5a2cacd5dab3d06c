"""
A configuration in the making: destinations in files and in the cloud, and where the proxy listens for them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from attrs import define, field

from tests.support.cloud import Plan, binding, token_url
from tests.support.ports import free_port
from tests.support.routes import Properties

FILES, CLOUD = "files", "cloud"


@define
class Setup:
    """
    All of it lies in `folder`; `head` is TOML that stands first.  `plan` is what the cloud will know.
    """

    folder: Path
    ca_file: Path
    plan: Plan
    head: str = ""
    ports: dict[tuple[str, str], int] = field(factory=dict)
    more: dict[str, str] = field(factory=dict)
    """TOML that stands in a destination besides, by its name."""
    _listeners: dict[tuple[str, str, str], list[str]] = field(factory=lambda: defaultdict(list))

    @property
    def token_url(self) -> str:
        """Where the cloud gives access tokens for mailboxes."""
        return token_url(self.plan.port)

    @property
    def config(self) -> Path:
        """The file that `write` writes."""
        return self.folder / "mailproxy.toml"

    def listen(self, tenant: str, name: str, kind: str, service: str) -> int:
        """The tenant reaches a destination, which may not exist, through a port of its own."""
        protocol = "pop3" if kind.startswith("pop3") else "smtp"
        self._listeners[name, service, protocol].append(tenant)
        return self.ports.setdefault((tenant, name), free_port())

    def add(self, tenant: str, properties: Properties, service: str, *, kind: str = "") -> int:
        """The tenant has a destination with these properties; `kind` where they do not say what to listen for."""
        name = properties["Name"]
        if service == CLOUD:
            self.plan.destinations.append((tenant, properties))
        else:
            self.write_file(tenant, properties)
        return self.listen(tenant, name, kind or properties["mail.transport.protocol"], service)

    def write_file(self, tenant: str, properties: Properties) -> None:
        """The tenant's file for this destination is new, or replaced in one step."""
        path = self.folder / "destinations" / tenant / f"{properties['Name']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".new").write_text(json.dumps(properties, indent=4))
        path.with_suffix(".new").rename(path)

    def write(self) -> Path:
        """The configuration as a file."""
        (self.folder / "destinations").mkdir(exist_ok=True)
        (self.folder / "binding.json").write_text(json.dumps(binding(self.plan.port)))
        self.config.write_text("\n".join([self.head, _SERVICES.format(ca_file=self.ca_file), *self._destinations()]))
        return self.config

    def _destinations(self) -> list[str]:
        return [
            _DESTINATION.format(name=name, service=service, protocol=protocol, listen=self._endpoints(name, tenants))
            + self.more.get(name, "")
            for (name, service, protocol), tenants in self._listeners.items()
        ]

    def _endpoints(self, name: str, tenants: list[str]) -> str:
        ports = {tenant: self.ports[tenant, name] for tenant in tenants}
        return ", ".join(f'{tenant} = "tcp:{port}:interface=127.0.0.1"' for tenant, port in ports.items())


_SERVICES = """\
[trust]
ca_files = ["{ca_file}"]
platform = false

[log]
format = "text"
fold_seconds = 0

[destination_services.files]
directory = "destinations"

[destination_services.cloud]
binding = "binding.json"
"""

_DESTINATION = """
[[destinations]]
name = "{name}"
service = "{service}"
protocol = "{protocol}"
listen = {{ {listen} }}
"""
