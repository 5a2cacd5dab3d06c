"""
Destinations of every kind, and the properties that describe them.
"""

from __future__ import annotations

from attrs import frozen

from tests.support.accounts import Account
from tests.support.bed import MAIL_HOST, Bed
from tests.support.cloud import MailClient

BASIC = "BasicAuthentication"
OAUTH = "OAuth2ClientCredentials"
KINDS = ("smtp", "smtps", "pop3", "pop3s")

Properties = dict[str, str]


@frozen
class Route:
    """
    A kind of destination: its `mail.transport.protocol`, its authentication, and where its properties come from.
    """

    kind: str
    authentication: str
    service: str

    @property
    def name(self) -> str:
        """The destination's name; the same for every tenant."""
        short = {BASIC: "basic", OAUTH: "oauth"}[self.authentication]
        return f"{self.kind}-{short}-{self.service}"


def server_port(bed: Bed, kind: str) -> int:
    """Where the test bed serves this kind."""
    ports = bed.postfix.ports
    return {
        "smtp": ports["submission"],
        "smtps": ports["submissions"],
        "pop3": bed.dovecot.pop3,
        "pop3s": bed.dovecot.pop3s,
    }[kind]


def basic(name: str, kind: str, port: int, account: Account, **changes: str) -> Properties:
    """A destination that logs in with the account's password; `changes` win."""
    return {
        "Name": name,
        "Type": "MAIL",
        "Authentication": BASIC,
        "ProxyType": "Internet",
        "mail.user": account.user,
        "mail.password": account.password,
        "mail.transport.protocol": kind,
        f"mail.{kind}.host": MAIL_HOST,
        f"mail.{kind}.port": str(port),
        f"mail.{kind}.auth": "true",
    } | changes


def oauth(name: str, kind: str, port: int, account: Account, url: str, **changes: str) -> Properties:
    """A destination that logs in with an access token, fetched by the account's own client at `url`; `changes` win."""
    client = MailClient.of(account)
    properties = basic(name, kind, port, account) | {
        "Authentication": OAUTH,
        "tokenServiceURL": url,
        "tokenServiceURLType": "Dedicated",
        "clientId": client.id,
        "clientSecret": client.secret,
    }
    del properties["mail.password"]
    return properties | changes


def properties_of(route: Route, bed: Bed, account: Account, url: str) -> Properties:
    """The properties of this route for the account's tenant."""
    port = server_port(bed, route.kind)
    if route.authentication == BASIC:
        return basic(route.name, route.kind, port, account)
    return oauth(route.name, route.kind, port, account, url)
