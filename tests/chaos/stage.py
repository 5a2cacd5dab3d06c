"""
The stage: sites, services, proxy and configuration, ready for the chaos.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from pathlib import Path

from attrs import frozen

from mailproxy.sandbox.pki import Authority
from tests.chaos.configuration import Configuration, Variant, socket_name
from tests.chaos.letters import Found, find
from tests.chaos.network import Wire
from tests.chaos.plan import POP3, SITES, SMTP, TENANTS, WITH_EXTRA, Place, Tenant
from tests.chaos.proxy import Supervisor
from tests.chaos.records import Record
from tests.chaos.senders import Door
from tests.chaos.site import Site
from tests.support.cloud import Cloud, new_plan, token_url
from tests.support.ports import free_port

_HOSTS = Path("/etc/hosts")


@frozen
class Stage:
    """All that clients and the monkey meet."""

    sites: list[Site]
    proxy: Supervisor
    configuration: Configuration
    smtp: list[Door]
    pop3: list[Door]

    @classmethod
    async def build(cls, folder: Path, record: Record) -> Stage:
        """Everything runs."""
        authority, token_key = Authority.create(), secrets.token_bytes(32)
        places = {number: _place(number) for number in SITES}
        _name_hosts(folder, list(places.values()))
        sites = [_site(place, folder, authority, token_key) for place in places.values()]
        await asyncio.gather(*(site.start() for site in sites))
        plan = new_plan(folder, token_key, tuple(tenant.account for tenant in TENANTS))
        Cloud.start(plan, authority)
        configuration = Configuration(folder, authority.write(folder / "ca.pem"), free_port())
        for tenant in TENANTS:
            configuration.write_destinations(tenant, places[tenant.site], token_url(plan.port))
        configuration.write(Variant())
        proxy = Supervisor(configuration.path, folder, record)
        smtp, pop3 = (
            [Door(tenant, proxy.listen(socket_name(tenant, name))) for tenant in TENANTS] for name in (SMTP, POP3)
        )
        smtp.append(Door(WITH_EXTRA, configuration.extra_port, steady=False))
        await proxy.start()
        return cls(sites, proxy, configuration, smtp, pop3)

    def queued(self) -> int:
        """Messages that are on their way to a mailbox."""
        return sum(site.queued() for site in self.sites)

    def mailboxes(self) -> dict[tuple[str, str], list[Found | None]]:
        """What each tenant's mailboxes hold."""
        return {
            (tenant.name, box): [find(path.read_bytes()) for path in self._messages(tenant, folder)]
            for tenant in TENANTS
            for box, folder in tenant.folders.items()
        }

    def _messages(self, tenant: Tenant, folder: str) -> list[Path]:
        (site,) = (site for site in self.sites if site.place.number == tenant.site)
        return [path for name in ("new", "cur") for path in (site.folder(folder) / name).iterdir()]


def _site(place: Place, folder: Path, authority: Authority, token_key: bytes) -> Site:
    tenants = [tenant for tenant in TENANTS if tenant.site == place.number]
    return Site.prepare(place, Wire.lay(place), folder / f"site{place.number}", authority, tenants, token_key)


def _place(number: int) -> Place:
    base = 2500 + 100 * number
    return Place(number, smtp=base, smtps=base + 1, pop3=base + 2, pop3s=base + 3)


def _name_hosts(folder: Path, places: list[Place]) -> None:
    """The sites have names, in the hosts file that only this mount namespace sees."""
    text = _HOSTS.read_text() + "".join(f"{place.address} {place.host}\n" for place in places)
    (folder / "hosts").write_text(text)
    subprocess.run(["mount", "--bind", folder / "hosts", _HOSTS], check=True)
