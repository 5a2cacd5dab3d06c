"""
Who takes part in the chaos: tenants, their mailboxes, and which mail server has them.
"""

from __future__ import annotations

from attrs import field, frozen

from tests.support.accounts import Account
from tests.support.routes import Properties, basic, oauth

DOMAIN = "inbox.test"
SMTP, POP3, EXTRA = "chaos-smtp", "chaos-pop3", "chaos-extra"
"""Names of destinations; every tenant has the first two, and the first tenant has the third as long as it lasts."""

TAKEN, KEPT = "taken", "kept"
"""A tenant's two mailboxes: POP3 clients empty the one, nobody touches the other."""


@frozen
class Place:
    """Where the servers of a site listen, seen from the proxy."""

    number: int
    smtp: int
    smtps: int
    pop3: int
    pop3s: int

    @property
    def host(self) -> str:
        """Its name, as destinations and its certificate have it."""
        return f"mail{self.number}.chaos.test"

    @property
    def address(self) -> str:
        """Its address; the name leads to it."""
        return f"10.90.{self.number}.2"

    @property
    def our_address(self) -> str:
        """The proxy's own on the way to it."""
        return f"10.90.{self.number}.1"

    def port(self, kind: str) -> int:
        """Where it serves this `mail.transport.protocol`."""
        return {"smtp": self.smtp, "smtps": self.smtps, "pop3": self.pop3, "pop3s": self.pop3s}[kind]


@frozen
class Tenant:
    """One tenant: its site, and how it logs in there."""

    name: str
    site: int
    smtp: str
    pop3: str
    with_tokens: bool = False
    account: Account = field(init=False)

    @account.default
    def _own_account(self) -> Account:
        return Account(self.name, f"{self.name}-robot", f"{self.name}-sentinel-pa55word")

    @property
    def folders(self) -> dict[str, str]:
        """The folder of each mailbox; the user of `account` collects from one of them."""
        return {TAKEN: self.account.user, KEPT: f"{self.name}-kept"}

    def address(self, box: str, marker: str) -> str:
        """A recipient that no other message has."""
        return f"{self.name}-{box}+{marker}@{DOMAIN}"

    def properties(self, name: str, place: Place, token_url: str) -> Properties:
        """One of its destinations."""
        kind = self.pop3 if name == POP3 else self.smtp
        host = {f"mail.{kind}.host": place.host}
        if self.with_tokens:
            return oauth(name, kind, place.port(kind), self.account, token_url, **host)
        return basic(name, kind, place.port(kind), self.account, **host)


TENANTS = (
    Tenant("acme", 1, "smtp", "pop3"),
    Tenant("globex", 1, "smtps", "pop3s", with_tokens=True),
    Tenant("initech", 2, "smtps", "pop3"),
    Tenant("hooli", 2, "smtp", "pop3s"),
)
SITES = (1, 2)
WITH_EXTRA = TENANTS[0]
