"""
What all worlds share: tenants, destinations, hosts, and the configuration that names them.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs
from attrs import frozen

from mailproxy.config import CertificateConfig, ListenerTLSConfig, load
from tests.simulation.marker import BROKEN
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
    is what the mail server does on its own.  `encryption` is the listener's.  A `daring` operator allows credentials to
    travel unencrypted where the destination wants TLS: which counts, and is not left out.
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
    daring: bool = False
    access: str = "password"
    encryption: str = "plaintext"

    @property
    def tls_by_command(self):
        """Whether a client begins TLS with STARTTLS or STLS here."""
        return self.encryption in ("offered", "required")

    @property
    def is_smtp(self):
        return self.protocol.startswith("smtp")

    @property
    def user(self):
        return f"{self.owner}@{self.tenant}.example"


_KINDS = (
    # destination, protocol, host (shared by the tenants or not), port, more
    ("relay", "smtp", "mx.shared.test", 587, {}),
    ("safe", "smtps", "{tenant}.safe.test", 465, {"implicit": True, "encryption": "implicit"}),
    ("cloud", "smtp", "mx.shared.test", 587, {"access": "cloud"}),
    ("token", "smtps", "mx.token.test", 465, {"implicit": True, "access": "token", "encryption": "offered"}),
    ("lax", "smtp", "{tenant}.lax.test", 587, {"offers_tls": False}),
    ("open", "smtp", "{tenant}.open.test", 25, {"offers_tls": False, "open_text": True}),
    ("must", "smtp", "{tenant}.must.test", 587, {"encryption": "required", "daring": True}),
    ("drop", "pop3s", "pop.shared.test", 995, {"implicit": True, "encryption": "implicit"}),
    ("stls", "pop3", "{tenant}.stls.test", 110, {"encryption": "offered", "daring": True}),
    ("want", "pop3", "{tenant}.want.test", 110, {"encryption": "required"}),
    ("maildrop", "pop3s", "pop.shared.test", 995, {"implicit": True}),
)

DESTINATIONS = [destination for destination, *_ in _KINDS]
ENCRYPTIONS = ("offered", "required", "implicit")


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


def first_secret(place):
    """What opens the mail server, or the token service, as long as nobody has changed it."""
    return secret(place.owner, "pw" if place.access == "password" else "client")


def properties(place, opens):
    """The destination, as the Destination service would have it; `opens` is its secret."""
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
        return common | {"Authentication": "BasicAuthentication", "mail.password": opens}
    return common | {
        "Authentication": "OAuth2ClientCredentials",
        "tokenServiceURL": f"https://{TOKEN_HOST}/oauth2/token",
        "clientId": place.owner,
        "clientSecret": opens,
    }


def file_of(folder, place):
    """Where the destination lies."""
    return folder / "destinations" / place.tenant / f"{place.destination}.json"


def key(opens):
    """The service key."""
    return {
        "clientid": "all-binding",
        "clientsecret": opens,
        "url": "https://provider.auth.test",
        "uri": f"https://{SERVICE_HOST}",
    }


def write(folder: Path):
    """The configuration of the proxy, with the files it names."""
    for place in PLACES:
        if place.access != "cloud":
            path = file_of(folder, place)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(properties(place, first_secret(place))))
    (folder / "key.json").write_text(json.dumps(key(BINDING_SECRET)))
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
    for name in ENCRYPTIONS:
        yield f"[listener_tls.{name}]"
        yield f'mode = "{name}"'
        yield f'certificates = [{{ certificate = "{name}.pem", key = "{name}.pem" }}]'
    for destination, protocol, _, _, more in _KINDS:
        yield "[[destinations]]"
        yield f'name = "{destination}"'
        yield f'service = "{"cloud" if more.get("access") == "cloud" else "local"}"'
        yield f'protocol = "{protocol.removesuffix("s")}"'
        yield f"listen = {{ {', '.join(_listen(destination))} }}"
        yield f"allow_plaintext_auth = {str(bool({'open_text', 'daring'} & set(more))).lower()}"
        if more.get("encryption"):
            yield f'tls = "{more["encryption"]}"'


def _listen(destination):
    places = [place for place in PLACES if place.destination == destination]
    return [f'{place.tenant} = "{endpoint(place)}"' for place in places]


def endpoint(place):
    """Where a place is listened for."""
    return f"tcp:{place.listen}:interface=127.0.0.1"


def configured(config, places, known, **settings):
    """
    The configuration with these places and no others; all at one destination have the same encryption.

    `known` are all destinations, as `write` has made them.
    """
    certificate = CertificateConfig(config.path.with_name(f"{BROKEN}.pem"), config.path)
    tables = {**config.listener_tls, BROKEN: ListenerTLSConfig("implicit", (certificate,))}
    destinations = []
    for destination in known:
        here = [place for place in places if place.destination == destination.name]
        if here:
            encryption = here[0].encryption
            tls = None if encryption == "plaintext" else encryption
            listen = {place.tenant: endpoint(place) for place in here}
            destinations.append(attrs.evolve(destination, listen=listen, tls=tls))
    return attrs.evolve(config, destinations=tuple(destinations), listener_tls=tables, **settings)
