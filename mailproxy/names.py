"""
Host names as a client: which are this very machine, and why a lookup failed.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Literal

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IReactorThreads,
    IResolutionReceiver,
)
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from mailproxy.errors import HostNotFound, LimitReached, MailProxyError, NameLookupFailed
from mailproxy.observe.text import printable

CLASSIFY_SECONDS = 5.0

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What there is not enough of on this machine, whoever the other one is: descriptors, memory."""

LOOKUP_THREADS = 32
"""A look-up takes a thread until the name service has answered; those that hang must leave some to others."""

MAX_ADDRESSES = 4
"""Of each kind: every address of a host that is down is tried, and each try takes a descriptor."""

# "There is no such name" and "the name exists, without an address"; every other code is the name service's trouble.
_NOT_FOUND = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

# IPv4 first: what listens on loopback mostly does so there, and a second address is tried 0.3 s later.
_LOOPBACK: tuple[tuple[type[IPv4Address | IPv6Address], str], ...] = (
    (IPv4Address, "127.0.0.1"),
    (IPv6Address, "::1"),
)


_FAMILIES = {IPv4Address: socket.AF_INET, IPv6Address: socket.AF_INET6}
_KINDS = {family: kind for kind, family in _FAMILIES.items()}


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
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
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


@frozen
class _Question:
    """What is asked of the system's name service."""

    host: str
    port: int
    kinds: frozenset[type[IAddress]]
    transport: str

    def ask(self, getaddrinfo: Callable[..., Any]) -> Any:
        """In a thread."""
        families = [_FAMILIES[kind] for kind in self.kinds if kind in _FAMILIES]
        family = families[0] if len(families) == 1 else socket.AF_UNSPEC
        kind = socket.SOCK_DGRAM if self.transport == "UDP" else socket.SOCK_STREAM
        return getaddrinfo(self.host, self.port, family, kind)

    def literal(self) -> list[IAddress] | None:
        """The answer, if the host is an address."""
        try:
            version = ipaddress.ip_address(self.host).version
        except ValueError:
            return None
        return self.addresses([(socket.AF_INET if version == 4 else socket.AF_INET6, 0, 0, "", (self.host, self.port))])

    def addresses(
        self, answer: Iterable[tuple[socket.AddressFamily, int, int, str, tuple[Any, ...]]]
    ) -> list[IAddress]:
        """The first of each wanted kind, in the order in which they were given."""
        found: list[IAddress] = []
        left = dict.fromkeys((_FAMILIES[kind] for kind in self.kinds if kind in _FAMILIES), MAX_ADDRESSES)
        for family, _, _, _, place in answer:
            if left.get(family):
                left[family] -= 1
                found.append(_KINDS[family](self.transport, *place))
        return found


@implementer(IHostnameResolver)
class SystemResolver:
    """
    Asks the system's name service, in threads; for one name once at a time, however many want to know it.

    So a name whose look-up hangs takes one thread, not one for each session.  Addresses are their own answer.

    Args:
        reactor: has the threads.
        getaddrinfo: asks.
    """

    def __init__(self, reactor: Any, getaddrinfo: Callable[..., Any] = socket.getaddrinfo) -> None:
        self._reactor = reactor
        self._getaddrinfo = getaddrinfo
        self._asked: dict[_Question, list[IResolutionReceiver]] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """The receiver gets each address, then the end; without an address there is none, or no answer."""
        resolution = _Answered(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        kinds = frozenset(_FAMILIES if addressTypes is None else addressTypes)
        question = _Question(hostName, portNumber, kinds, transportSemantics)
        literal = question.literal()
        if literal is not None:
            _tell([resolutionReceiver], literal)
        elif question in self._asked:
            self._asked[question].append(resolutionReceiver)
        else:
            self._asked[question] = [resolutionReceiver]
            self._ask(question)
        return resolution

    def _ask(self, question: _Question) -> None:
        pool = self._reactor.getThreadPool()
        asking: Deferred[Any] = deferToThreadPool(self._reactor, pool, question.ask, self._getaddrinfo)
        # Whatever goes wrong (no such name, no answer, no descriptor) leaves the name without addresses; who cares
        # about the reason asks for it.
        asking.addCallbacks(question.addresses, lambda _: [])
        asking.addCallback(lambda addresses: _tell(self._asked.pop(question), addresses))


def _tell(receivers: Iterable[IResolutionReceiver], addresses: Sequence[IAddress]) -> None:
    for receiver in receivers:
        for address in addresses:
            receiver.addressResolved(address)
        receiver.resolutionComplete()


def install(reactor: IReactorPluggableNameResolver) -> None:
    """Every name that this reactor looks up from now on goes through the resolvers above, once."""
    others = reactor.nameResolver
    if isinstance(others, LocalhostResolver):
        return
    if IReactorThreads.providedBy(reactor):
        reactor.suggestThreadPoolSize(LOOKUP_THREADS)
        others = SystemResolver(reactor)
    reactor.installNameResolver(LocalhostResolver(others))


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
        if isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES:
            return LimitReached(f"{name}: {os.strerror(error.errno).lower()}")
        return NameLookupFailed(f"{name}: the name service does not answer ({type(error).__name__})")
    return NameLookupFailed(f"{name}: the name service answers again")


class Diagnoses:
    """
    Why names were not found; looked into once for all who want to know, and no longer than somebody does.

    Args:
        classify: finds it out for a host.
    """

    def __init__(self, classify: Callable[[str], Coroutine[Deferred[Any], Any, MailProxyError]]) -> None:
        self._classify = classify
        self._asking: dict[str, Deferred[MailProxyError]] = {}
        self._waiting: dict[str, dict[Deferred[MailProxyError], None]] = {}

    def of(self, host: str) -> Deferred[MailProxyError]:
        """Fires with what is wrong; all who wait for the same get the same error."""
        waiter: Deferred[MailProxyError] = Deferred(lambda waiter: self._leave(host, waiter))
        others = self._waiting.setdefault(host, {})
        others[waiter] = None
        if len(others) == 1:
            asking = self._asking[host] = Deferred.fromCoroutine(self._classify(host))
            asking.addBoth(lambda answer: self._tell(host, answer))
        return waiter

    def _tell(self, host: str, answer: Any) -> None:
        self._asking.pop(host, None)
        for waiter in self._waiting.pop(host, ()):
            waiter.callback(answer)

    def _leave(self, host: str, waiter: Deferred[MailProxyError]) -> None:
        del self._waiting[host][waiter]
        if not self._waiting[host]:
            del self._waiting[host]
            self._asking.pop(host).cancel()
