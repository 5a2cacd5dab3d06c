"""
Host names as a client: which are this very machine, and why a lookup failed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any, Literal

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from mailproxy.errors import HostNotFound, MailProxyError, NameLookupFailed
from mailproxy.observe.text import printable

CLASSIFY_SECONDS = 5.0

# "There is no such name" and "the name exists, without an address"; every other code is the name service's trouble.
_NOT_FOUND = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

# IPv4 first: what listens on loopback mostly does so there, and a second address is tried 0.3 s later.
_LOOPBACK: tuple[tuple[type[IPv4Address | IPv6Address], str], ...] = (
    (IPv4Address, "127.0.0.1"),
    (IPv6Address, "::1"),
)


def is_localhost_name(host: str) -> bool:
    """Whether the name is `localhost` or ends in `.localhost` (RFC 6761 §6.3)."""
    name = host.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def is_loopback_host(host: str) -> bool:
    """Whether a host can only be this machine: 127.0.0.0/8, ::1, or a localhost name (with `LocalhostResolver`)."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return is_localhost_name(host)


@implementer(IHostResolution)
@frozen
class _Answered:
    """A resolution that is over before anybody could cancel it."""

    name: str

    def cancel(self) -> None:
        """Nothing is in progress."""


@implementer(IHostnameResolver)
@frozen
class LocalhostResolver:
    """
    Answers localhost names with the loopback addresses, asking nobody; every other name goes to `others`.

    Source: RFC 6761 §6.3 (a localhost name is not for the DNS to answer).
    """

    others: IHostnameResolver

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803 - Twisted's names, here and below
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: N803
        transportSemantics: str = "TCP",  # noqa: N803
    ) -> IHostResolution:
        """The receiver gets each address, then the end; for localhost names all at once."""
        if not is_localhost_name(hostName):
            return self.others.resolveHostName(
                resolutionReceiver, hostName, portNumber, addressTypes, transportSemantics
            )
        resolution = _Answered(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        transport: Literal["TCP", "UDP"] = "UDP" if transportSemantics == "UDP" else "TCP"
        for kind, address in _LOOPBACK:
            if addressTypes is None or kind in addressTypes:
                resolutionReceiver.addressResolved(kind(transport, address, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


def install(reactor: IReactorPluggableNameResolver) -> None:
    """Every name that this reactor looks up from now on goes through a `LocalhostResolver`, once."""
    if not isinstance(reactor.nameResolver, LocalhostResolver):
        reactor.installNameResolver(LocalhostResolver(reactor.nameResolver))


async def classify_lookup_failure(
    reactor: Any, host: str, *, getaddrinfo: Callable[..., object] = socket.getaddrinfo
) -> MailProxyError:
    """
    What was wrong when Twisted could not look up the host: it reports the same for "no such name" and "no answer".

    Asks once more, in the reactor's thread pool, for `CLASSIFY_SECONDS` at most.
    """
    lookup: Deferred[object] = deferToThreadPool(
        reactor, reactor.getThreadPool(), getaddrinfo, host, None, type=socket.SOCK_STREAM
    )
    lookup.addTimeout(CLASSIFY_SECONDS, reactor)
    name = printable(host)
    try:
        await lookup
    except socket.gaierror as error:
        kind = HostNotFound if error.errno in _NOT_FOUND else NameLookupFailed
        return kind(f"{name}: {error.strerror}")
    except ValueError:  # UnicodeError too: a label that is empty or too long
        return HostNotFound(f"{name}: no host name")
    except Exception as error:  # noqa: BLE001 - the answer of a failed lookup is "failed"
        return NameLookupFailed(f"{name}: the name service does not answer ({type(error).__name__})")
    return NameLookupFailed(f"{name}: the name service answers again")
