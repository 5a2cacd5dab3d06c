"""
The sandbox put together: mailboxes, mail servers, HTTP services, and the files that tell mailproxy about them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import CertificateOptions
from twisted.web.server import Site

from mailproxy.sandbox.catalog import Catalog
from mailproxy.sandbox.conversation import HOST_NAME, Provider, ProviderFactory
from mailproxy.sandbox.layout import (
    CA_FILE,
    LOGINS_FILE,
    OFFERS,
    PROVIDER,
    SERVICES_HOST,
    Ports,
    ServiceKey,
    Tenant,
    choose_listeners,
    write_files,
)
from mailproxy.sandbox.mailboxes import Login, Mailboxes
from mailproxy.sandbox.oauth import Client, TokenEndpoint
from mailproxy.sandbox.pki import Authority
from mailproxy.sandbox.pop3 import POP3Server
from mailproxy.sandbox.services import Services
from mailproxy.sandbox.smtp import SMTPServer
from mailproxy.sandbox.tokens import TokenBook

_LOOPBACK = "127.0.0.1"


@frozen
class World:
    """
    A running sandbox.

    `config` is the file for mailproxy; `listeners` are the ports in it, by destination and tenant.
    """

    directory: Path
    config: Path
    tenants: tuple[Tenant, ...]
    mailboxes: Mailboxes
    services: Services
    servers: Ports
    listeners: dict[str, dict[str, int]]
    _listening: tuple[IListeningPort, ...]

    @classmethod
    def open(cls, reactor: Any, directory: Path) -> World:
        """Everything listens on loopback, and the files stand in the directory."""
        tenants, key = (Tenant("acme"), Tenant("globex")), ServiceKey()
        authority = Authority.create()
        authority.write(directory / CA_FILE)
        mailboxes = Mailboxes(TokenBook(time.time), on_login=_Journal(directory / LOGINS_FILE).write)
        services = _services(tenants, key, mailboxes)
        web_tls = _server_tls(authority, SERVICES_HOST, *(f"{tenant.name}.localhost" for tenant in tenants))
        provider = Provider(mailboxes, _server_tls(authority, HOST_NAME), reactor)
        listening = (
            *_listen_for_mail(reactor, provider),
            reactor.listenSSL(0, _site(services), web_tls, interface=_LOOPBACK),
        )
        servers = Ports(*(port.getHost().port for port in listening))
        for tenant in tenants:
            mailboxes.add_account(tenant.user, tenant.password)
            for offer in OFFERS:
                services.catalog.add(tenant.name, offer.properties(tenant, servers))
        listeners = choose_listeners(tenants)
        config = write_files(directory, tenants, key, servers, listeners)
        return cls(directory, config, tenants, mailboxes, services, servers, listeners, listening)

    async def close(self) -> None:
        """Nothing listens any more."""
        await gatherResults([maybeDeferred(port.stopListening) for port in self._listening])


@frozen
class _Journal:
    """Writes down who has logged in, one JSON object a line: the demonstration's proof."""

    path: Path

    def write(self, login: Login) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(attrs.asdict(login)) + "\n")


def _services(tenants: tuple[Tenant, ...], key: ServiceKey, mailboxes: Mailboxes) -> Services:
    application = Client(key.client_id, key.client_secret)
    clients = [Client(tenant.client_id, tenant.client_secret, tenant.user) for tenant in tenants]
    mail_tokens = TokenEndpoint(mailboxes.tokens, {client.client_id: client for client in clients})
    subaccounts = {PROVIDER: key.tenant_id, **{tenant.name: tenant.id for tenant in tenants}}
    service_tokens = TokenEndpoint(TokenBook(time.time), {application.client_id: application})
    return Services(SERVICES_HOST, service_tokens, mail_tokens, Catalog(subaccounts, PROVIDER))


def _listen_for_mail(reactor: Any, provider: Provider) -> Iterator[IListeningPort]:
    """The ports for SMTP, SMTP over TLS, POP3, POP3 over TLS, in the order of `Ports`."""
    for kind in (SMTPServer, POP3Server):
        factory = ProviderFactory(kind, provider)
        yield reactor.listenTCP(0, factory, interface=_LOOPBACK)
        yield reactor.listenSSL(0, factory, provider.tls, interface=_LOOPBACK)


def _site(services: Services) -> Site:
    site = Site(services)
    site.noisy = False
    return site


def _server_tls(authority: Authority, *names: str) -> CertificateOptions:
    issued = authority.issue(*names)
    key: Any = load_pem_private_key(issued.key_pem, password=None)
    certificate: Any = load_pem_x509_certificate(issued.certificate_pem)
    # pyOpenSSL wants these types; Twisted's annotations still name the older ones.
    return CertificateOptions(privateKey=key, certificate=certificate)
