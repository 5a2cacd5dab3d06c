"""
The proxy's configuration, and the changes to it that a reload has to take.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from attrs import define, evolve, frozen

from tests.chaos.plan import EXTRA, POP3, SMTP, TENANTS, WITH_EXTRA, Place, Tenant
from tests.chaos.proxy import DRAIN_SECONDS, FINAL_REPLY_SECONDS

_TEXT = """\
server_name = "proxy.chaos.test"
ehlo_name = "proxy.chaos.test"
watch_seconds = 0

[trust]
ca_files = ["{ca_file}"]
platform = false

[timeouts]
login_seconds = 10
connect_seconds = 4
reply_seconds = 15
data_reply_seconds = 15
final_reply_seconds = 8
rset_reply_seconds = 5
quit_reply_seconds = 15
body_seconds = 15
stall_seconds = 15
token_seconds = 5
command_seconds = {command_seconds}
drain_seconds = {drain_seconds}
drain_final_reply_seconds = {final_reply_seconds}

[hold_off]
login_first_seconds = 1
login_longest_seconds = 2
connect_first_seconds = 0.2
connect_longest_seconds = 1

[log]
format = "text"
fold_seconds = 0

[smtp]
max_message_octets = {max_message_octets}
{mistake}
[destination_services.files]
directory = "destinations"
{destinations}"""

_DESTINATION = """
[[destinations]]
name = "{name}"
protocol = "{protocol}"
listen = {{ {listen} }}
"""


@frozen
class Variant:
    """What may change while the proxy runs."""

    command_seconds: int = 60
    max_message_octets: int = 0
    extra: bool = True
    mistake: str = ""

    def changed(self, chance: random.Random) -> Variant:
        """Another one."""
        match chance.choice(("seconds", "size", "extra")):
            case "seconds":
                return evolve(self, command_seconds=60 if self.command_seconds != 60 else 45)
            case "size":
                return evolve(self, max_message_octets=0 if self.max_message_octets else 1_500_000)
            case _:
                return evolve(self, extra=not self.extra)

    def spoilt(self) -> Variant:
        """One that cannot be used."""
        return evolve(self, mistake="no_such_key = 1")


@define
class Configuration:
    """The file, and the destinations beside it."""

    folder: Path
    ca_file: Path
    extra_port: int
    variant: Variant = Variant()

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / "mailproxy.toml"

    def write(self, variant: Variant) -> None:
        """It is replaced in one step."""
        self.variant = variant
        everybody = [*((SMTP, "smtp", TENANTS), (POP3, "pop3", TENANTS))]
        parts = [
            _DESTINATION.format(name=name, protocol=protocol, listen=", ".join(_sockets(name, tenants)))
            for name, protocol, tenants in everybody
        ]
        if variant.extra:
            listen = f'{WITH_EXTRA.name} = "tcp:{self.extra_port}:interface=127.0.0.1"'
            parts.append(_DESTINATION.format(name=EXTRA, protocol="smtp", listen=listen))
        text = _TEXT.format(
            ca_file=self.ca_file,
            command_seconds=variant.command_seconds,
            drain_seconds=DRAIN_SECONDS,
            final_reply_seconds=FINAL_REPLY_SECONDS,
            max_message_octets=variant.max_message_octets,
            mistake=variant.mistake,
            destinations="".join(parts),
        )
        _replace(self.path, text)

    def write_destinations(self, tenant: Tenant, place: Place, token_url: str) -> None:
        """The tenant's destinations are known."""
        names = [SMTP, POP3, *([EXTRA] if tenant is WITH_EXTRA else [])]
        folder = self.folder / "destinations" / tenant.name
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            _replace(folder / f"{name}.json", json.dumps(tenant.properties(name, place, token_url), indent=4))


def socket_name(tenant: Tenant, name: str) -> str:
    """Of the listener's socket."""
    return f"{tenant.name}-{name}"


def _sockets(name: str, tenants: tuple[Tenant, ...]) -> list[str]:
    return [f'{tenant.name} = "systemd:INET:name={socket_name(tenant, name)}"' for tenant in tenants]


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)
