"""
A Destination service and its token services: `python -m tests.support.cloud_process PLAN`.

What they answer is the sandbox's code; the access tokens for mailboxes are such that Dovecot takes them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import endpoints, reactor
from twisted.web.server import Site

from mailproxy.sandbox.catalog import Catalog
from mailproxy.sandbox.oauth import Client, TokenEndpoint
from mailproxy.sandbox.services import Services
from mailproxy.sandbox.tokens import TokenBook
from tests.support.cloud import PROVIDER, SERVICE_CLIENT, SERVICE_SECRET, TOKEN_HOST
from tests.support.jwt import issue_token


@define
class _MailTokens(TokenBook):
    """Tokens that Dovecot takes."""

    dovecot_key: bytes = field(kw_only=True, repr=False)

    def issue(self, subject: str, lifetime_seconds: float, **claims: object) -> str:
        token = issue_token(self.dovecot_key, subject, lifetime=lifetime_seconds)
        self.accept(token, subject, self.now() + lifetime_seconds)
        return token


def _services(plan: Mapping[str, Any]) -> Services:
    mail_clients = {each["id"]: Client(each["id"], each["secret"], each["user"]) for each in plan["clients"]}
    mail_tokens = _MailTokens(time.time, dovecot_key=bytes.fromhex(plan["token_key"]))
    service_clients = {SERVICE_CLIENT: Client(SERVICE_CLIENT, SERVICE_SECRET)}
    catalog = Catalog(plan["subaccounts"], PROVIDER)
    for subdomain, properties in plan["destinations"]:
        catalog.add(subdomain, properties)
    return Services(
        TOKEN_HOST,
        TokenEndpoint(TokenBook(time.time), service_clients),
        TokenEndpoint(mail_tokens, mail_clients),
        catalog,
    )


def _serve(plan: Mapping[str, Any]) -> None:
    folder = plan["folder"]
    site = Site(_services(plan), logPath=f"{folder}/requests.log".encode())
    place = f"ssl:{plan['port']}:interface=127.0.0.1:certKey={folder}/cloud.pem:privateKey={folder}/cloud.key"
    listening = endpoints.serverFromString(reactor, place).listen(site)
    listening.addErrback(lambda failure: (failure.printTraceback(), reactor.stop()))
    reactor.run()


if __name__ == "__main__":
    _serve(json.loads(Path(sys.argv[1]).read_text()))
