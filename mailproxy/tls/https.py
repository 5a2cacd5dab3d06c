"""
The way we judge TLS servers, for `twisted.web.client.Agent` and so for treq.
"""

from __future__ import annotations

from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from mailproxy.destination.model import ClientIdentity, TLSMode, TLSSettings
from mailproxy.tls.client import ClientTLS, StrictClientTLS


@implementer(IPolicyForHTTPS)
class HTTPSPolicy:
    """The same strictness as towards mail servers."""

    def __init__(self, tls: ClientTLS, identity: ClientIdentity | None = None) -> None:
        self._tls = tls
        self._identity = identity
        self._settings = TLSSettings(TLSMode.IMPLICIT)

    def creatorForNetloc(self, hostname: bytes, port: int) -> StrictClientTLS:  # noqa: ARG002 - the interface's
        """The creator for one network location; the port does not matter."""
        return self._tls.options(hostname.decode("ascii"), self._settings, self._identity)
