"""
The product's own logins, listened to: which step they are in, what the mail server says, whom it shows.

What a login decides is decided by the classes that the proxy uses; nothing in here changes it.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from mailproxy.destination.model import Credentials, Login, MailProtocol
from mailproxy.doctor.certificates import Seen
from mailproxy.doctor.remedies import MAX_TEXT_CHARACTERS
from mailproxy.doctor.steps import Record
from mailproxy.errors import MailProxyError, NameLookupFailed, Unreachable
from mailproxy.observe.text import printable
from mailproxy.tls import StrictClientTLS
from mailproxy.tls.client import ClientTLS
from mailproxy.upstream.attempt import Attempt
from mailproxy.upstream.connector import Connector
from mailproxy.upstream.pop3 import POP3Upstream
from mailproxy.upstream.smtp import SMTPUpstream
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.introduction import Introduction
from mailproxy.wire.proxyprotocol import Addresses
from mailproxy.wire.smtp import Extensions

_STEP_BY_WORDS = (
    ("TLS handshake", "tls"),
    ("greeting", "greeting"),
    ("STARTTLS", "starttls"),
    ("STLS", "starttls"),
    ("EHLO", "capabilities"),
    ("XCLIENT", "capabilities"),
    ("AUTH", "login"),
    ("USER", "login"),
    ("PASS", "login"),
)
"""What a stream is `doing`, and the step it stands for; CAPA behind the login belongs to the login."""


class Watch:
    """
    What is heard of one connection.

    Args:
        record: what becomes of each step.
        login: the login that is tried.
    """

    def __init__(self, record: Record, login: Login) -> None:
        self.record = record
        self.login = login
        self.certificates = Seen()
        self._heard: dict[str, bytearray] = {}
        self._connected = False

    def heard(self, step: str) -> str:
        """The reply lines of a step as they came, without CR."""
        return bytes(self._heard.get(step, b"")).decode("utf-8", "replace").replace("\r", "").strip("\n")

    def told(self, step: str) -> list[str]:
        """What was said in a step: why a token was refused, which a challenge holds, comes before the reply to it."""
        heard = self.heard(step)
        return [*_challenges(heard), heard]

    def doing(self, words: str) -> None:
        """The stream waits for something else now."""
        step = next((step for sign, step in _STEP_BY_WORDS if sign in words), None)
        if "CAPA" in words:
            step = "login" if self.record.current == "login" else "capabilities"
        if step is not None and self._connected:
            self._turn_to(step)

    def connected(self, peer: Any, words: str) -> None:
        """There is a TCP connection, and the stream waits for this."""
        self._connected = True
        self.record.facts("connect", address=printable(f"{peer.host}"), port=peer.port)
        self.doing(words)

    def logging_in(self) -> None:
        """The capabilities are known, and the login begins."""
        self._turn_to("login")

    def listen(self, chunk: bytes) -> None:
        """The mail server has said this."""
        heard = self._heard.setdefault(self.record.current, bytearray())
        heard += chunk[: 2 * MAX_TEXT_CHARACTERS - len(heard)]

    def offered(self, names: list[str]) -> None:
        """What the mail server offers now; the last list counts."""
        self.record.facts("capabilities", offers=[printable(name, 200) for name in names])

    def secured(self, connection: Any) -> None:
        """The handshake is done."""
        facts = {"version": connection.get_protocol_version_name(), "cipher": connection.get_cipher_name()}
        self.record.facts("tls", **facts)

    def _turn_to(self, step: str) -> None:
        if step != self.record.current:
            self._heard.pop(step, None)
            self.record.begin(step)


class Overheard(UpstreamStream):
    """A stream that is listened to; a mixin that goes before the class of the product."""

    _watch: Watch

    @classmethod
    def with_watch(cls, watch: Watch) -> Any:
        """The class, with somebody who listens: what `Kind.stream` wants."""
        return type(cls.__name__, (cls,), {"_watch": watch})

    def __setattr__(self, name: str, value: Any) -> None:
        # No property: `ESMTPClient` writes attributes past them.
        super().__setattr__(name, value)
        if name == "doing":
            self._watch.doing(value)

    def connectionMade(self) -> None:  # noqa: D102 - Twisted's
        peer, own = self.transport.getPeer(), self.transport.getHost()
        self._watch.connected(peer, self.doing)
        # No client is behind us: a mail server that has to be told of one is told of ourselves.
        self.introduction = Introduction(Addresses(own.host, own.port, peer.host, peer.port))
        super().connectionMade()

    def converse(self, chunk: bytes) -> None:
        """Octets that belong to the login."""
        self._watch.listen(chunk)
        super().converse(chunk)

    def handshakeCompleted(self) -> None:
        """The peer is verified."""
        self._watch.secured(self.transport.getHandle())
        super().handshakeCompleted()


class OverheardSMTP(Overheard, SMTPUpstream):
    """An SMTP login."""

    def tryTLS(self, code: int, resp: bytes, items: Extensions) -> None:  # noqa: D102 - Twisted's
        self._watch.offered([f"{name} {value}".strip() for name, value in items.keywords.items()])
        super().tryTLS(code, resp, items)

    def authenticate(self, code: int, resp: bytes, items: Extensions) -> None:  # noqa: D102 - Twisted's
        super().authenticate(code, resp, items)
        if self._mechanism is not None:
            self._watch.record.facts("login", mechanism=self._mechanism.name)

    def _begins_introduction(self, items: Extensions) -> bool:
        begins = super()._begins_introduction(items)
        if not begins and self.login.credentials is not None:
            self._watch.logging_in()
        return begins


class OverheardPOP3(Overheard, POP3Upstream):  # type: ignore[misc]  # the product's class hides two names
    """A POP3 login."""

    async def _ask_capabilities(self) -> Mapping[str, tuple[str, ...]] | None:
        found = await super()._ask_capabilities()
        if self._watch.record.current == "capabilities":
            self._watch.offered([" ".join((name, *values)) for name, values in (found or {}).items()])
        return found

    async def _authenticate(self, offered: Mapping[str, tuple[str, ...]] | None, credentials: Credentials) -> None:
        self._watch.logging_in()
        await super()._authenticate(offered, credentials)

    def _choose(self, offered: Mapping[str, tuple[str, ...]] | None, kind: Any) -> str:
        name = super()._choose(offered, kind)
        self._watch.record.facts("login", mechanism="USER/PASS" if name == "LOGIN" else name)
        return name


STREAMS: Mapping[MailProtocol, type[Overheard]] = {
    MailProtocol.SMTP: OverheardSMTP,
    MailProtocol.POP3: OverheardPOP3,
}


class WatchedTLS(ClientTLS):
    """TLS as the proxy does it; `witness` sees the certificates."""

    witness: Seen | None = None

    def options(self, *args: Any, **settings: Any) -> StrictClientTLS:
        """As the product's."""
        made = super().options(*args, **settings)
        made.witness = self.witness
        return made


class OnlyLogin:
    """There is this login, and no other."""

    def __init__(self, login: Login) -> None:
        self._login = login

    async def login(self) -> Login:
        """As `LoginSource`."""
        return self._login

    async def replace(self, refused: Login) -> Login | None:
        """As `LoginSource`."""
        del refused
        return None


class WatchedConnector(Connector):
    """A connector whose first step is watched, too; nothing is held off, and nobody waits for others."""

    watch: Watch

    async def addresses(self, destination: Any) -> list[Any]:
        """As the product's."""
        found = await super().addresses(destination)
        self.watch.record.facts("name", addresses=[str(each.host) for each in found])
        return found

    async def try_login(self, login: Login, attempt: Attempt) -> UpstreamStream:
        """One connection, one login, now."""
        return await attempt.log_in(self.log_in(login, attempt))


class WatchedAttempt(Attempt):
    """One attempt, with the time limits of a session."""

    def __init__(self, connector: WatchedConnector, clock: Any, seconds: float) -> None:
        self._watch = connector.watch
        super().__init__(connector, clock, seconds)

    def begin(self, doing: str, late: type[MailProxyError], *, at_server: bool = False) -> None:
        """Another step begins."""
        super().begin(doing, late, at_server=at_server)
        if late is NameLookupFailed:
            self._watch.record.begin("name")
        elif late is Unreachable:
            self._watch.record.begin("connect")


def _challenges(text: str) -> list[str]:
    """The challenges of a login, each with what its base64 holds."""
    found = []
    for line in text.split("\n"):
        sign, _, words = line.partition(" ")
        if sign in ("334", "+") and words:
            try:
                found.append(f"{line}\n{b64decode(words, validate=True).decode('utf-8', 'replace')}")
            except (binascii.Error, ValueError):
                continue
    return found
