"""
What all worlds share: tenants, destinations, hosts, and the configuration that names them.
"""

from __future__ import annotations

import json
from pathlib import Path

from attrs import frozen

from mailproxy.config import load
from tests.simulation.secrets import secret

TENANTS = ("acme", "globex")
SERVICE_HOST = "api.cloud.test"
TOKEN_HOST = "tokens.test"
BINDING_SECRET = secret("all-binding", "secret")


@frozen
class Place:
    """
    A listener of the proxy, and the mail server behind it.

    `owner` is its tenant and destination in one word.  `open_text` credentials may travel unencrypted, `offers_tls`
    is what the mail server does on its own.
    """

    owner: str
    tenant: str
    destination: str
    listen: int
    protocol: str
    host: str
    port: int
    implicit: bool = False
    offers_tls: bool = True
    open_text: bool = False
    access: str = "password"

    @property
    def is_smtp(self):
        return self.protocol.startswith("smtp")

    @property
    def user(self):
        return f"{self.owner}@{self.tenant}.example"


_KINDS = (
    # destination, protocol, host (shared by the tenants or not), port, more
    ("relay", "smtp", "mx.shared.test", 587, {}),
    ("safe", "smtps", "{tenant}.safe.test", 465, {"implicit": True}),
    ("cloud", "smtp", "mx.shared.test", 587, {"access": "cloud"}),
    ("token", "smtps", "mx.token.test", 465, {"implicit": True, "access": "token"}),
    ("lax", "smtp", "{tenant}.lax.test", 587, {"offers_tls": False}),
    ("open", "smtp", "{tenant}.open.test", 25, {"offers_tls": False, "open_text": True}),
    ("drop", "pop3s", "pop.shared.test", 995, {"implicit": True}),
    ("stls", "pop3", "{tenant}.stls.test", 110, {}),
)


def _places():
    number = 1024
    for destination, protocol, host, port, more in _KINDS:
        for tenant in TENANTS:
            number += 1
            yield Place(
                f"{tenant}-{destination}",
                tenant,
                destination,
                number,
                protocol,
                host.format(tenant=tenant),
                port,
                **more,
            )


PLACES = tuple(_places())
BY_OWNER = {place.owner: place for place in PLACES}
BY_HOST = {(place.host, place.port): place for place in PLACES}
"""One of the places at a mail server; all at one server have the same way of being reached."""

HOSTS = sorted(
    {place.host for place in PLACES} | {SERVICE_HOST, TOKEN_HOST, *(f"{each}.auth.test" for each in TENANTS)}
)
ADDRESSES = {host: f"192.0.2.{number}" for number, host in enumerate(HOSTS, 1)}
NAMES = {address: host for host, address in ADDRESSES.items()}


def properties(place):
    """The destination, as the Destination service would have it."""
    key = f"mail.{place.protocol}"
    common = {
        "Name": place.destination,
        "Type": "MAIL",
        "ProxyType": "Internet",
        "mail.transport.protocol": place.protocol,
        "mail.user": place.user,
        f"{key}.host": place.host,
        f"{key}.port": str(place.port),
    }
    if not place.offers_tls:
        common[f"{key}.starttls.required"] = "false"
    if place.access == "password":
        return common | {"Authentication": "BasicAuthentication", "mail.password": secret(place.owner, "pw")}
    return common | {
        "Authentication": "OAuth2ClientCredentials",
        "tokenServiceURL": f"https://{TOKEN_HOST}/oauth2/token",
        "clientId": place.owner,
        "clientSecret": secret(place.owner, "client"),
    }


def write(folder: Path):
    """The configuration of the proxy, with the files it names."""
    for place in PLACES:
        if place.access != "cloud":
            path = folder / "destinations" / place.tenant / f"{place.destination}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(properties(place)))
    key = {
        "clientid": "all-binding",
        "clientsecret": BINDING_SECRET,
        "url": "https://provider.auth.test",
        "uri": f"https://{SERVICE_HOST}",
    }
    (folder / "key.json").write_text(json.dumps(key))
    (folder / "mailproxy.toml").write_text("\n".join(_toml()))
    return load(folder / "mailproxy.toml")


def _toml():
    yield 'server_name = "proxy.test"'
    yield 'ehlo_name = "client.proxy.test"'
    yield "[destination_services.local]"
    yield 'directory = "destinations"'
    yield "[destination_services.cloud]"
    yield 'binding = "key.json"'
    for tenant in TENANTS:
        yield f'[tenants.{tenant}]\nsubdomain = "{tenant}"'
    for destination, protocol, _, _, more in _KINDS:
        ports = {place.tenant: place.listen for place in PLACES if place.destination == destination}
        listen = ", ".join(f'{tenant} = "tcp:{port}:interface=127.0.0.1"' for tenant, port in ports.items())
        yield "[[destinations]]"
        yield f'name = "{destination}"'
        yield f'service = "{"cloud" if more.get("access") == "cloud" else "local"}"'
        yield f'protocol = "{protocol.removesuffix("s")}"'
        yield f"listen = {{ {listen} }}"
        yield f"allow_plaintext_auth = {str(more.get('open_text', False)).lower()}"
