"""
The cloud: a Destination service and its token services, over HTTPS on loopback, in a process of its own.

`cloud_process.py` is what runs there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from attrs import asdict, define, field, frozen

from mailproxy.sandbox.pki import Authority
from tests.support.accounts import Account
from tests.support.ports import free_port
from tests.support.programs import Daemon
from tests.support.tools import CHECKOUT

PROVIDER = "provider"
SERVICE_CLIENT = "sb-mailproxy"
SERVICE_SECRET = "service-sentinel-secret"

TOKEN_HOST = "tokens.localhost"


@frozen
class MailClient:
    """Who gets access tokens for an account's mailbox."""

    id: str
    secret: str = field(repr=False)
    user: str

    @classmethod
    def of(cls, account: Account) -> MailClient:
        """The account's own."""
        return cls(f"{account.tenant}-client", f"{account.tenant}-sentinel-client-secret", account.user)


@define
class Plan:
    """
    What the cloud is to know: `destinations` by subaccount and name, `subaccounts` with their ids.
    """

    port: int
    folder: str
    token_key: str = field(repr=False)
    subaccounts: dict[str, str]
    clients: list[MailClient]
    destinations: list[tuple[str, dict[str, str]]] = field(factory=list)


@frozen
class Cloud:
    """The running services."""

    port: int
    daemon: Daemon

    @classmethod
    def start(cls, plan: Plan, authority: Authority) -> Cloud:
        """They answer; `plan.folder` holds what they log."""
        folder = Path(plan.folder)
        names = [f"{subdomain}.localhost" for subdomain in (*plan.subaccounts, "stranger", "tokens")]
        authority.issue(*names).write(folder, "cloud")
        (folder / "plan.json").write_text(json.dumps(asdict(plan)))
        command = [sys.executable, "-m", "tests.support.cloud_process", folder / "plan.json"]
        daemon = Daemon.start(command, log=folder / "cloud.log", cwd=CHECKOUT)
        try:
            daemon.wait_for(plan.port)
        except AssertionError:
            daemon.stop()
            raise
        return cls(plan.port, daemon)


def token_url(port: int) -> str:
    """Where access tokens for mailboxes come from."""
    return f"https://{TOKEN_HOST}:{port}/oauth2/token"


def binding(port: int) -> dict[str, str]:
    """The service key that leads to the Destination service."""
    return {
        "clientid": SERVICE_CLIENT,
        "clientsecret": SERVICE_SECRET,
        "url": f"https://{PROVIDER}.localhost:{port}",
        "uri": f"https://{PROVIDER}.localhost:{port}",
        "identityzone": PROVIDER,
    }


def new_plan(folder: Path, token_key: bytes, accounts: tuple[Account, ...]) -> Plan:
    """A plan in which every account's tenant is known, and no destination yet."""
    tenants = [PROVIDER, *(account.tenant for account in accounts)]
    ids = {name: f"00000000-0000-4000-8000-{number:012d}" for number, name in enumerate(tenants)}
    return Plan(free_port(), str(folder), token_key.hex(), ids, [MailClient.of(account) for account in accounts])
