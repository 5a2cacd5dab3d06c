"""
Stands in for mailproxy: on each port of the sandbox's configuration a session that is logged in from the start.

It knows the tenant of a port and delivers straight into the sandbox's mailboxes.
"""

import re

from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.protocol import Factory

from mailproxy.sandbox.conversation import Provider
from mailproxy.sandbox.layout import OFFERS
from mailproxy.sandbox.pop3 import POP3Server
from mailproxy.sandbox.smtp import SMTPServer


class _LoggedIn:
    encrypted = True
    tls_version = "TLSv1.3"


class _SMTP(_LoggedIn, SMTPServer):
    def open_for(self, user, mechanism):
        self._client = "telnet"
        self._login = (user, mechanism)

    def line_received(self, line):
        if line.startswith(b"MAIL"):
            self.logged_in(*self._login)
        super().line_received(re.sub(rb"^(MAIL FROM|RCPT TO):([^<].*)", rb"\1:<\2>", line))


class _POP3(_LoggedIn, POP3Server):
    def open_for(self, user, mechanism):
        self._open(user, mechanism)


class _Factory(Factory):
    noisy = False

    def __init__(self, kind, provider, user, mechanism):
        self.kind, self.provider, self.user, self.mechanism = kind, provider, user, mechanism

    def buildProtocol(self, addr):
        protocol = self.kind(self.provider)
        protocol.open_for(self.user, self.mechanism)
        return protocol


class OpenProxy:
    """Listens on every port of a world's configuration until it is closed."""

    def __init__(self, reactor, world):
        provider = Provider(world.mailboxes, None, reactor)
        self._ports = [
            reactor.listenTCP(
                world.listeners[offer.name][tenant.name],
                _Factory(
                    _SMTP if offer.protocol == "smtp" else _POP3,
                    provider,
                    tenant.user,
                    "XOAUTH2" if offer.with_token else "PLAIN",
                ),
                interface="127.0.0.1",
            )
            for offer in OFFERS
            for tenant in world.tenants
        ]

    async def close(self):
        """Nothing listens any more."""
        await gatherResults([maybeDeferred(port.stopListening) for port in self._ports])
