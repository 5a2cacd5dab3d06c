"""
What the sandbox offers to whom: two tenants, four destinations each, and the files that tell mailproxy about them.
"""

from __future__ import annotations

import json
import random
import secrets
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import Factory, field, frozen

from mailproxy.sandbox.conversation import HOST_NAME

PROVIDER = "provider"
SERVICES_HOST = f"{PROVIDER}.localhost"
"""The first label gives way to the tenant's subdomain when a service token is fetched."""

CONFIG_FILE = "mailproxy.toml"
CA_FILE = "ca.pem"
LOGINS_FILE = "logins.jsonl"

_LOWEST_PORT, _HIGHEST_PORT = 20000, 32000  # below those that the kernel gives to outgoing connections


def mailbox_of(tenant: str) -> str:
    """The address of a tenant's only mailbox, and the user who opens it."""
    return f"robot@{tenant}.example"


@frozen
class Tenant:
    """A customer: a subaccount, a mailbox, and two ways to log in there."""

    name: str
    id: str = Factory(lambda: str(uuid.uuid4()))
    password: str = field(factory=lambda: secrets.token_urlsafe(18), repr=False)
    client_secret: str = field(factory=lambda: secrets.token_urlsafe(18), repr=False)

    @property
    def user(self) -> str:
        """Who logs in."""
        return mailbox_of(self.name)

    @property
    def client_id(self) -> str:
        """Whom the token service knows."""
        return f"{self.name}-mail-client"


@frozen
class Ports:
    """Where the sandbox's own servers listen."""

    smtp: int
    smtps: int
    pop3: int
    pop3s: int
    https: int


@frozen
class Offer:
    """
    A destination that each tenant has, with its own credentials.

    `service` names the table of the configuration that it is looked up in, `level` the level if version 2 of the
    lookup is wanted; `ports` are the documented listeners, one for each tenant.
    """

    name: str
    transport: str
    authentication: str
    service: str
    ports: tuple[int, int]
    level: str | None = None

    @property
    def protocol(self) -> str:
        """What is spoken, with or without TLS around it."""
        return self.transport.removesuffix("s")

    @property
    def with_token(self) -> bool:
        """Whether the login takes an access token."""
        return self.authentication == "OAuth2ClientCredentials"

    def properties(self, tenant: Tenant, servers: Ports) -> dict[str, str]:
        """The destination as the Destination service has it for this tenant."""
        login = (
            {
                "tokenServiceURL": token_url(servers),
                "tokenServiceURLType": "Dedicated",
                "clientId": tenant.client_id,
                "clientSecret": tenant.client_secret,
            }
            if self.with_token
            else {"mail.password": tenant.password}
        )
        return {
            "Name": self.name,
            "Type": "MAIL",
            "ProxyType": "Internet",
            "Authentication": self.authentication,
            "mail.user": tenant.user,
            "mail.transport.protocol": self.transport,
            f"mail.{self.transport}.host": HOST_NAME,
            f"mail.{self.transport}.port": str(getattr(servers, self.transport)),
            f"mail.{self.transport}.auth": "true",
            **login,
        }


OFFERS = (
    Offer("example-dest-smtp", "smtp", "BasicAuthentication", "local", (1587, 1588)),
    Offer("example-dest-smtps", "smtps", "OAuth2ClientCredentials", "default", (1465, 1466)),
    Offer("example-dest-pop3s", "pop3s", "BasicAuthentication", "default", (1995, 1996), level="subaccount"),
    Offer("example-dest-pop3-oauth", "pop3s", "OAuth2ClientCredentials", "local", (1997, 1998)),
)


def token_url(servers: Ports) -> str:
    """The token endpoint for mailboxes."""
    return f"https://{SERVICES_HOST}:{servers.https}/oauth2/token"


@frozen
class ServiceKey:
    """What the provider's application shows to the Destination service."""

    tenant_id: str = Factory(lambda: str(uuid.uuid4()))
    client_id: str = "sb-clone-sandbox!b1|destination-xsappname!b2"
    client_secret: str = field(factory=lambda: secrets.token_urlsafe(18), repr=False)

    def fields(self, servers: Ports) -> dict[str, str]:
        """The binding, one entry for each of its files."""
        url = f"https://{SERVICES_HOST}:{servers.https}"
        return {
            "clientid": self.client_id,
            "clientsecret": self.client_secret,
            "url": url,
            "uri": url,
            "identityzone": PROVIDER,
            "tenantid": self.tenant_id,
            "tenantmode": "shared",
            "credential-type": "binding-secret",
        }


def choose_listeners(tenants: Iterable[Tenant]) -> dict[str, dict[str, int]]:
    """A free port for every destination (outer key) and tenant (inner key): the documented one if it is free."""
    taken: set[int] = set()
    chosen: dict[str, dict[str, int]] = {offer.name: {} for offer in OFFERS}
    for place, tenant in enumerate(tenants):
        for offer in OFFERS:
            port = _free_port(offer.ports[place], taken)
            taken.add(port)
            chosen[offer.name][tenant.name] = port
    return chosen


def write_files(
    directory: Path,
    tenants: Sequence[Tenant],
    key: ServiceKey,
    servers: Ports,
    listeners: Mapping[str, Mapping[str, int]],
) -> Path:
    """All that mailproxy reads, but for the CA, stands in the directory; the path of the configuration."""
    for name, value in key.fields(servers).items():
        _write(directory / "bindings" / "destination" / name, value)
    for tenant in tenants:
        for offer in OFFERS:
            properties = json.dumps(offer.properties(tenant, servers), indent=2)
            _write(directory / "destinations" / tenant.name / f"{offer.name}.json", properties + "\n")
    config = directory / CONFIG_FILE
    _write(config, _configuration(tenants, listeners))
    return config


def _configuration(tenants: Iterable[Tenant], listeners: Mapping[str, Mapping[str, int]]) -> str:
    parts = [_HEAD]
    parts += [f'[tenants.{tenant.name}]\nid = "{tenant.id}"\n' for tenant in tenants]
    for offer in OFFERS:
        listen = ", ".join(
            f'{tenant} = "tcp:{port}:interface=127.0.0.1"' for tenant, port in listeners[offer.name].items()
        )
        level = f'level = "{offer.level}"\n' if offer.level else ""
        parts.append(
            f'[[destinations]]\nname = "{offer.name}"\nservice = "{offer.service}"\n{level}'
            f'protocol = "{offer.protocol}"\nlisten = {{ {listen} }}\n'
        )
    return "\n".join(parts)


_HEAD = f"""\
# Written by the sandbox: everything in here is throw-away.
server_name = "mailproxy.localhost"
ehlo_name = "mailproxy.localhost"

[trust]
ca_files = ["{CA_FILE}"]

[pool]
enabled = false     # every session logs in, which is what there is to see here

[log]
format = "text"     # for people; what is no terminal gets JSON otherwise
fold_seconds = 0    # every session has its lines

[destination_services.default]
binding = "bindings/destination"

[destination_services.local]
directory = "destinations"
"""


def _write(path: Path, text: str) -> None:
    """The file is there, for its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _free_port(wanted: int, taken: set[int]) -> int:
    chooser = random.SystemRandom()
    candidates = [wanted, *(chooser.randrange(_LOWEST_PORT, _HIGHEST_PORT) for _ in range(200))]
    return next(port for port in candidates if port not in taken and _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
