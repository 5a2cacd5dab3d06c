"""
Providers as the sandbox plays them: their host names and ports, what they greet with, and what they refuse with.

The doctor is given a reactor in which those names and ports lead to loopback, and the configuration of a page.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.address import IPv4Address
from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.ssl import CertificateOptions
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import directlyProvides, providedBy

from mailproxy.config import load
from mailproxy.doctor import program
from mailproxy.doctor.run import Report, check_all, patients
from mailproxy.doctor.show import report_text
from mailproxy.doctor.table import known_answers
from mailproxy.doctor.visiting import Wishes
from mailproxy.names import LocalhostResolver
from mailproxy.recipes import OwnNames
from mailproxy.sandbox.catalog import Catalog
from mailproxy.sandbox.conversation import Provider, ProviderFactory, Refusal
from mailproxy.sandbox.mailboxes import Mailboxes
from mailproxy.sandbox.oauth import Client, TokenEndpoint
from mailproxy.sandbox.pki import Authority
from mailproxy.sandbox.pop3 import POP3Server
from mailproxy.sandbox.services import Services
from mailproxy.sandbox.smtp import SMTPServer
from mailproxy.sandbox.tokens import TokenBook
from tests.support.pages import Page, page

SECRET = "a-secret-of-the-test"
"""What stands for `...` on a page."""

SUBACCOUNTS = {"acme": "11111111-2222-3333-4444-555555555555", "provider": "00000000-0000-0000-0000-000000000000"}


@frozen
class Server:
    """One port of a provider's."""

    host: str
    port: int
    kind: str
    """`smtp`, `smtps`, `pop3s` or `https`."""
    greeting: str = ""
    keywords: tuple[str, ...] = ()


EXCHANGE = ("SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "CHUNKING", "SMTPUTF8")
NEMESIS = ("8BITMIME", "SIZE 104857600")
POSTFIX = ("PIPELINING", "SIZE 10240000", "ETRN", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING")

SERVERS = (
    Server(
        "smtp.office365.com",
        587,
        "smtp",
        "220 AM0PR00CA0001.outlook.office365.com Microsoft ESMTP MAIL Service ready at Sat, 21 Nov 2026 10:00:00 +0000",
        (*EXCHANGE, "AUTH LOGIN XOAUTH2"),
    ),
    Server("outlook.office365.com", 995, "pop3s", "+OK The Microsoft Exchange POP3 service is ready. [QQBN]"),
    Server("login.microsoftonline.com", 443, "https"),
    Server(
        "smtp.gmail.com",
        465,
        "smtps",
        "220 smtp.gmail.com ESMTP a640c23a62f3a-aa4f - gsmtp",
        ("SIZE 35882577", "8BITMIME", "AUTH LOGIN PLAIN XOAUTH2", "ENHANCEDSTATUSCODES", "PIPELINING", "SMTPUTF8"),
    ),
    Server("pop.gmail.com", 995, "pop3s", "+OK Gpop ready for requests from 192.0.2.10"),
    Server(
        "email-smtp.eu-central-1.amazonaws.com",
        465,
        "smtps",
        "220 email-smtp.amazonaws.com ESMTP SimpleEmailService-d-ABCDEFGHI",
        ("8BITMIME", "AUTH PLAIN LOGIN"),
    ),
    Server("acme.authentication.eu10.hana.ondemand.com", 443, "https"),
    Server("destination-configuration.cfapps.eu10.hana.ondemand.com", 443, "https"),
    Server("smtp.ionos.de", 587, "smtp", "220 kundenserver.de (mreue011) Nemesis ESMTP Service ready", NEMESIS),
    Server("smtp.mail.yahoo.com", 465, "smtps", "220 smtp.mail.yahoo.com ESMTP ready", ("SIZE 41697280", "8BITMIME")),
    Server("smtppro.zoho.eu", 465, "smtps", "220 mx.zoho.eu SMTP Server ready", ("SIZE 53477376",)),
    Server("smtp.fastmail.com", 465, "smtps", "220 smtp.fastmail.com ESMTP ready", ("PIPELINING", "SIZE 71000000")),
    Server("mail.example.com", 587, "smtp", "220 mail.example.com ESMTP Postfix", POSTFIX),
    Server("mail.corp.example", 587, "smtp", "220 mail.corp.example ESMTP Postfix", POSTFIX),
    Server("mail.example.com", 995, "pop3s", "+OK Dovecot ready."),
    Server("exchange.example.com", 587, "smtp", "220 ex.example.com Microsoft ESMTP MAIL Service ready", EXCHANGE),
)


@frozen
class Fault:
    """
    What is wrong in a quotation: a known answer that is given, and when: at `auth`, `data`, `token` or `destination`.
    """

    page: str
    answer: str
    when: str


FAULTS = {
    "smtp-auth-switched-off": Fault("microsoft-365", "m365-smtpauth-off-mailbox", "auth"),
    "token-without-rights": Fault("microsoft-365", "m365-535-5-7-3", "auth"),
    "secret-of-the-wrong-kind": Fault("microsoft-365", "entra-7000215-wrong-secret", "token"),
    "pop3-switched-off": Fault("microsoft-365", "m365-pop-oauth-refused", "pop-login"),
    "usual-password": Fault("gmail", "gmail-bad-credentials", "auth"),
    "pop-switched-off": Fault("gmail", "gmail-pop-disabled", "pop-login"),
    "keys-of-another-kind": Fault("amazon-ses", "ses-credentials-invalid", "auth"),
    "sender-not-verified": Fault("amazon-ses", "ses-not-verified", "data"),
    "no-destination": Fault("sap-btp", "destination-not-found", "destination"),
    "no-subaccount": Fault("sap-btp", "tenant-unknown", "service_token"),
    "ionos-password": Fault("other-providers", "ionos-auth", "auth"),
    "yahoo-password": Fault("other-providers", "yahoo-too-many-bad-auth", "auth"),
    "zoho-password": Fault("other-providers", "zoho-auth-failed", "auth"),
    "fastmail-password": Fault("other-providers", "fastmail-auth", "auth"),
    "postfix-password": Fault("own-mail-servers", "postfix-auth-failed", "auth"),
    "dovecot-sessions": Fault("own-mail-servers", "dovecot-pop-connections", "pop-login"),
    "exchange-login": Fault("own-mail-servers", "exchange-auth-failed", "auth"),
}
"""By the name of the quotation."""


class SMTPPart(SMTPServer):
    """A provider's SMTP server, as far as one can tell it from another."""

    server: Server
    refused: Mapping[str, str] = {}

    def greet(self) -> None:
        self.send(self.server.greeting)

    def _ehlo(self, argument: bytes) -> str:
        self._introduce(argument)
        keywords = [word for word in self.server.keywords if not word.startswith("AUTH")]
        login = next((word for word in self.server.keywords if word.startswith("AUTH")), "AUTH PLAIN LOGIN")
        lines = [self.server.host, *keywords, login if self.encrypted else "STARTTLS"]
        self.send(*(f"250-{line}" for line in lines[:-1]))
        return f"250 {lines[-1]}"

    def _authenticate(self, exchange: Any, step: Callable[[], bytes | None]) -> str:
        try:
            said = super()._authenticate(exchange, step)
        except Refusal:
            said = "235"
        if said.startswith("235") and "auth" in self.refused:
            raise Refusal(self.refused["auth"])
        return said

    def _accept(self, transaction: Any, received: Any) -> str:
        if "data" in self.refused:
            raise Refusal(self.refused["data"])
        return super()._accept(transaction, received)


class POP3Part(POP3Server):
    """A provider's POP3 server."""

    server: Server
    refused: Mapping[str, str] = {}

    def greet(self) -> None:
        self.send(self.server.greeting)

    def _open(self, user: str, mechanism: str) -> str:
        if "pop-login" in self.refused:
            raise Refusal(self.refused["pop-login"])
        return super()._open(user, mechanism)


PARTS = {"smtp": SMTPPart, "smtps": SMTPPart, "pop3s": POP3Part}


class TokenService(Resource):
    """Gives one client tokens for one mailbox, or always says no."""

    isLeaf = True

    def __init__(self, endpoint: TokenEndpoint, refusal: str | None) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._refusal = refusal

    def render_POST(self, request: Any) -> bytes:
        if self._refusal is not None:
            request.setResponseCode(401)
            return self._refusal.encode()
        claims = {"aud": "https://outlook.office365.com", "roles": ["SMTP.SendAsApp", "POP.AccessAsApp"]}
        client = next(iter(self._endpoint.clients.values()))
        token = self._endpoint.tokens.issue(client.subject, 3599, **claims)
        return json.dumps({"token_type": "Bearer", "expires_in": 3599, "access_token": token}).encode()


class _Names:
    """Knows the providers' hosts, each at an address of its own."""

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self._hosts = hosts

    def resolveHostName(self, receiver, host, portNumber=0, *_others):
        receiver.resolutionBegan(None)
        address = host if _is_address(host) else self._hosts.get(host)
        if address is not None:
            receiver.addressResolved(IPv4Address("TCP", address, portNumber))
        receiver.resolutionComplete()


class Elsewhere:
    """A reactor in which the providers' ports are ours."""

    def __init__(self, reactor: Any, hosts: Mapping[str, str], ports: Mapping[tuple[str, int], int]) -> None:
        self._reactor = reactor
        self._ports = ports
        self.nameResolver = LocalhostResolver(_Names(hosts))
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(self, host: str, port: int, *arguments: Any, **settings: Any) -> Any:
        return self._reactor.connectTCP("127.0.0.1", self._ports[host, port], *arguments, **settings)


@define
class Stage:
    """Every provider is there; `folder` holds the configuration of a page."""

    reactor: Any
    folder: Path
    fault: Fault | None = None
    _listening: list[Any] = field(factory=list)

    async def check(self, where: Page, command: str) -> Report:
        """What the doctor finds for a command of a page."""
        authority = Authority.create()
        authority.write(self.folder / "ca.pem")
        path = self._write(where)
        elsewhere = self._open(authority, where)
        options = program._parser().parse_args(shlex.split(command)[2:])
        config = load(path)
        found = patients(config, OwnNames("proxy.example.com"), options.subject)
        wishes = Wishes(options.timeout, options.send_to, options.send_from)
        try:
            return await check_all(elsewhere, config, found, wishes, lambda _subject, _step: None)
        finally:
            await gatherResults([maybeDeferred(port.stopListening) for port in self._listening])

    async def said(self, where: Page, command: str) -> str:
        """The failure, as the page quotes it: the step that failed, and what belongs to it."""
        text = report_text(await self.check(where, command)).replace(str(self.folder), "/etc/mailproxy")
        found = re.search(r"^  FAILED .*\n(?:   .*\n)*", text, re.MULTILINE)
        assert found is not None, text
        return f"$ {command}\n{found[0]}"

    def _write(self, where: Page) -> Path:
        """The configuration and the files beside it, as they stand on the page, with secrets."""
        (config,) = [block.text for block in where.blocks if block.language == "toml"]
        path = self.folder / "mailproxy.toml"
        path.write_text(config + f'\n[trust]\nca_files = ["{self.folder / "ca.pem"}"]\nplatform = false\n')
        for name, given in documents(where).items():
            target = self.folder / name
            target.parent.mkdir(exist_ok=True)
            target.write_text(json.dumps(given))
        return path

    def _open(self, authority: Authority, where: Page) -> Elsewhere:
        """Servers for all of them."""
        mailboxes = self._mailboxes(where)
        hosts: dict[str, str] = {}
        ports: dict[tuple[str, int], int] = {}
        numbers = itertools.count(1)
        for server in SERVERS:
            address = hosts.setdefault(server.host, f"127.0.9.{next(numbers)}")
            port = self._listen(server, _tls(authority, server.host), mailboxes, where)
            self._listening.append(port)
            ports[address, server.port] = port.getHost().port
        return Elsewhere(self.reactor, hosts, ports)

    def _listen(self, server: Server, tls: CertificateOptions, mailboxes: Mailboxes, where: Page) -> Any:
        refused = {} if self.fault is None else {self.fault.when: _sample(self.fault.answer)}
        if server.kind == "https":
            site = Site(self._web(server, mailboxes, refused, where))
            site.noisy = False
            return self.reactor.listenSSL(0, site, tls, interface="127.0.0.1")
        lines = {when: text.replace("\n", "\r\n") for when, text in refused.items()}
        part = type("Part", (PARTS[server.kind],), {"server": server, "refused": lines})
        factory = ProviderFactory(part, Provider(mailboxes, tls, self.reactor))
        if server.kind == "smtp":
            return self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        return self.reactor.listenSSL(0, factory, tls, interface="127.0.0.1")

    def _web(self, server: Server, mailboxes: Mailboxes, refused: Mapping[str, str], where: Page) -> Any:
        if server.host == "login.microsoftonline.com":
            client = Client("anybody", SECRET, "robot@example.com")
            endpoint = TokenEndpoint(mailboxes.tokens, {client.client_id: client})
            return TokenService(endpoint, refused.get("token"))
        return _cloud(where, without=refused)

    def _mailboxes(self, where: Page) -> Mailboxes:
        mailboxes = Mailboxes(TokenBook(self.reactor.seconds))
        for given in documents(where).values():
            if "mail.user" in given:
                mailboxes.add_account(given["mail.user"], given.get("mail.password"))
        return mailboxes


def documents(where: Page) -> dict[str, dict[str, str]]:
    """The JSON of a page, by file, with secrets in it."""
    found = {}
    for block in where.blocks:
        if block.language == "json":
            given = json.loads(block.text)
            found[block.name or f"destinations/{given['Name']}.json"] = {
                key: SECRET if value == "..." else value for key, value in given.items()
            }
    return found


def _cloud(where: Page, *, without: Mapping[str, str]) -> Services:
    """SAP's services, with the destinations of the page, or without some of it."""
    known = {} if "service_token" in without else SUBACCOUNTS
    catalog = Catalog(known, "provider")
    clients = {}
    for name, given in documents(where).items():
        if "clientid" in given:
            clients[given["clientid"]] = Client(given["clientid"], given["clientsecret"])
        elif name.startswith("destinations/") and "destination" not in without:
            catalog.add("acme", given)
    return Services("nowhere", TokenEndpoint(_TOKENS, clients), TokenEndpoint(_TOKENS, {}), catalog)


_TOKENS = TokenBook(lambda: 0.0)


def _sample(answer: str) -> str:
    everything = (each for provider in known_answers().providers.values() for each in provider.answers)
    return next(each.sample for each in everything if each.id == answer)


def _tls(authority: Authority, host: str) -> CertificateOptions:
    issued = authority.issue(host)
    key = load_pem_private_key(issued.key_pem, password=None)
    return CertificateOptions(privateKey=key, certificate=load_pem_x509_certificate(issued.certificate_pem))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def pages() -> list[Page]:
    """The pages of the cookbook."""
    return [page(f"how-to/{name}.md") for name in sorted({fault.page for fault in FAULTS.values()})]
