"""
Destinations that are ill in one way each, and a sandbox beside them; what the doctor says about them is on a page.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions

from mailproxy.config import load
from mailproxy.doctor import program
from mailproxy.doctor.run import Report, check_all, patients
from mailproxy.doctor.show import report_text
from mailproxy.doctor.visiting import Wishes
from mailproxy.recipes import OwnNames
from mailproxy.sandbox import pki
from mailproxy.sandbox.conversation import HOST_NAME, Provider, ProviderFactory
from mailproxy.sandbox.layout import OFFERS, token_url
from mailproxy.sandbox.pki import Authority, Issued
from mailproxy.sandbox.smtp import SMTPServer
from mailproxy.sandbox.world import World
from tests.support.ports import free_port
from tests.support.scripted import Script, Visit, serving

SHOWN_FOLDER = "/etc/mailproxy"
"""Where the page has the configuration."""

NAME = "example-dest"
UNKNOWN_TENANT = "3b6f7a52-9c1e-4d0b-8a57-1d2f3e4c5b6a"


@define
class Ward:
    """
    A running sandbox, and one destination of tenant acme for each case; whatever was opened is closed by `close`.
    """

    reactor: object
    folder: Path
    world: World
    authority: Authority
    wanted: str = f"{NAME}/acme"
    tenant: str = "acme"
    tenant_table: str = ""
    service: str = 'directory = "destinations"'
    protocol: str = "smtp"
    more: str = ""
    _closers: list[Callable[[], object]] = field(factory=list)

    @property
    def acme(self):
        return self.world.tenants[0]

    def properties(self, transport: str = "smtp", **changes: str | None) -> dict[str, str]:
        """A destination that works, but for the changes; `_` in a name stands for a dot, None takes one away."""
        offer = next(each for each in OFFERS if each.transport == transport and not each.with_token)
        found = {**offer.properties(self.acme, self.world.servers), "Name": NAME, "mail.transport.protocol": transport}
        return _changed(found, changes)

    def token_properties(self, **changes: str | None) -> dict[str, str]:
        """The same with a login by token."""
        offer = next(each for each in OFFERS if each.with_token and each.protocol == "smtp")
        found = {**offer.properties(self.acme, self.world.servers), "Name": NAME}
        return _changed({**found, "tokenServiceURL": token_url(self.world.servers)}, changes)

    def file(self, properties: dict[str, str]) -> None:
        """The destination lies in the directory."""
        path = self.folder / "destinations" / f"{NAME}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(properties))

    def in_service(self, properties: dict[str, str]) -> None:
        """The destination is known to the Destination service."""
        self.world.services.catalog.add("acme", properties)
        self.use_service()

    def use_service(self) -> None:
        """The configuration leads to the Destination service."""
        self.service = f'binding = "{self.world.directory / "bindings" / "destination"}"'
        self.tenant_table = self.tenant_table or f'[tenants.acme]\nid = "{self.acme.id}"\n'

    def mail_server(self, issued: Issued) -> int:
        """The port of an SMTP server of the sandbox's that shows this certificate."""
        key = load_pem_private_key(issued.key_pem, password=None)
        tls = CertificateOptions(privateKey=key, certificate=load_pem_x509_certificate(issued.certificate_pem))
        factory = ProviderFactory(SMTPServer, Provider(self.world.mailboxes, tls, self.reactor))
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self._closers.append(port.stopListening)
        return port.getHost().port

    def scripted(self, script: Script, **settings) -> int:
        """The port of a server that does what the script says."""
        server = serving(script, **settings)
        port = server.__enter__()
        self._closers.append(lambda: server.__exit__(None, None, None))
        return port

    def web_server(self, answer: bytes) -> str:
        """The URL of a token service that always says this."""
        files = self.authority.issue("login.localhost").write(self.folder, "web")
        port = self.scripted(_web_script(answer), certificate=files[0], key=files[1])
        return f"https://login.localhost:{port}/oauth2/token"

    def write(self) -> Path:
        """The configuration as a file."""
        (self.folder / "destinations").mkdir(exist_ok=True)
        path = self.folder / "mailproxy.toml"
        path.write_text(
            f'[trust]\nca_files = ["{self.world.directory / "ca.pem"}", "{self.folder / "ca.pem"}"]\n'
            f"platform = false\n{self.tenant_table}\n[destination_services.here]\n{self.service}\n\n"
            f'[[destinations]]\nname = "{NAME}"\nservice = "here"\nprotocol = "{self.protocol}"\n'
            f'listen = {{ {self.tenant} = "tcp:{free_port()}:interface=127.0.0.1" }}\n{self.more}\n'
        )
        return path

    async def check(self, command: str = "") -> Report:
        """What the doctor finds for a command line, by default one that checks everything."""
        options = program._parser().parse_args(shlex.split(command)[2:])
        config = load(self.write())
        found = patients(config, OwnNames("proxy.example.com"), options.subject)
        wishes = Wishes(options.timeout, options.send_to, options.send_from)
        return await check_all(self.reactor, config, found, wishes, lambda _subject, _step: None)

    async def said(self, command: str) -> str:
        """The same as the page has it."""
        text = report_text(await self.check(command))
        for folder in (self.folder, self.world.directory):
            text = text.replace(str(folder), SHOWN_FOLDER)
        return f"$ {command}\n{text}".rstrip() + "\n"

    async def close(self) -> None:
        """Nothing listens any more."""
        for closer in self._closers:
            closed = closer()
            if isinstance(closed, Deferred):
                await closed
        await self.world.close()


def opened(reactor, folder: Path) -> Ward:
    """A ward with its sandbox."""
    (folder / "sandbox").mkdir(parents=True)
    authority = Authority.create("mailproxy test CA")
    authority.write(folder / "ca.pem")
    return Ward(reactor, folder, World.open(reactor, folder / "sandbox"), authority)


def _changed(properties: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in {**properties, **named}.items() if value is not None}


def _web_script(answer: bytes) -> Script:
    def script(visit: Visit) -> None:
        length = 0
        while line := visit.read_line():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        body = visit.take_unread()
        while len(body) < length:
            body += visit.read_some(length - len(body))
        visit.send(answer)

    return script


def _http(status: str, body: str, kind: str = "application/json") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode()


# The cases; each has a section on the page.


def well(ward: Ward) -> None:
    ward.file(ward.token_properties())


def wrong_password(ward: Ward) -> None:
    ward.file(ward.properties(mail__password="not this one"))


def wrong_host_name(ward: Ward) -> None:
    ward.file(ward.properties(mail__smtp__host="smtp.localhost"))


def expired_certificate(ward: Ward) -> None:
    now = dt.datetime.now(dt.UTC)
    issued = ward.authority.issue(
        HOST_NAME, not_before=now - dt.timedelta(days=92), not_after=now - dt.timedelta(days=2)
    )
    ward.file(ward.properties(mail__smtp__port=str(ward.mail_server(issued))))


def self_signed_certificate(ward: Ward) -> None:
    other = Authority.create(HOST_NAME)
    port = ward.mail_server(_of_authority(other))
    ward.file(ward.properties(mail__smtp__port=str(port)))


def _of_authority(authority: Authority) -> Issued:
    return Issued(authority.certificate_pem, pki._key_pem(authority.key), authority.certificate_pem)


def starttls_missing(ward: Ward) -> None:
    ward.file(ward.properties(mail__smtp__port=str(ward.scripted(Visit.log_in_smtp))))


def token_401(ward: Ward) -> None:
    ward.file(ward.token_properties(clientSecret="not this one"))


def token_429(ward: Ward) -> None:
    answer = _http("429 Too Many Requests", '{"error": "Too many requests"}')
    ward.file(ward.token_properties(tokenServiceURL=ward.web_server(answer)))


def token_500(ward: Ward) -> None:
    answer = _http("500 Internal Server Error", '{"error": "server_error"}')
    ward.file(ward.token_properties(tokenServiceURL=ward.web_server(answer)))


def token_garbage(ward: Ward) -> None:
    answer = _http("200 OK", "Welcome to nginx!", "text/plain")
    ward.file(ward.token_properties(tokenServiceURL=ward.web_server(answer)))


def auth_tokens_error(ward: Ward) -> None:
    ward.in_service(ward.token_properties(clientSecret="not this one"))


def unknown_tenant(ward: Ward) -> None:
    ward.wanted = f"{NAME}/initech"
    ward.tenant, ward.tenant_table = "initech", f'[tenants.initech]\nid = "{UNKNOWN_TENANT}"\n'
    ward.use_service()


def port_closed(ward: Ward) -> None:
    ward.file(ward.properties(mail__smtp__port=str(free_port())))


def silent_port(ward: Ward) -> None:
    ward.file(ward.properties(mail__smtp__port=str(ward.world.servers.smtps)))


def pop3_on_an_smtp_port(ward: Ward) -> None:
    ward.protocol = "pop3"
    found = ward.properties("pop3s")
    place = {"mail.pop3.host": HOST_NAME, "mail.pop3.port": str(ward.world.servers.smtp)}
    plain = {key: value for key, value in found.items() if not key.startswith("mail.pop3s.")}
    ward.file(plain | place | {"mail.transport.protocol": "pop3"})


def smtp_on_a_pop3_port(ward: Ward) -> None:
    ward.file(ward.properties(mail__smtp__port=str(ward.world.servers.pop3)))


CASES: dict[str, Callable[[Ward], None]] = {
    "well": well,
    "wrong-password": wrong_password,
    "wrong-host-name": wrong_host_name,
    "expired-certificate": expired_certificate,
    "self-signed-certificate": self_signed_certificate,
    "starttls-missing": starttls_missing,
    "token-401": token_401,
    "token-429": token_429,
    "token-500": token_500,
    "token-garbage": token_garbage,
    "auth-tokens-error": auth_tokens_error,
    "unknown-tenant": unknown_tenant,
    "port-closed": port_closed,
    "silent-port": silent_port,
    "pop3-on-an-smtp-port": pop3_on_an_smtp_port,
    "smtp-on-a-pop3-port": smtp_on_a_pop3_port,
}


def masked(text: str) -> str:
    """The text without what is another at every run: times, dates, ports, numbers of sessions; and without its wrap."""
    for pattern, mask in (
        (r"\b\d+\.\d\d s\b", "# s"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "#date"),
        (r"\bport \d+", "port #"),
        (r"(localhost|127\.0\.0\.1):\d+", r"\1:#"),
        (r"<[0-9a-f]{12}\.check@", "<#.check@"),
        (r"seconds left \d+", "seconds left #"),
        (r"\s+", " "),
    ):
        text = re.sub(pattern, mask, text)
    return text.strip()
