"""
A TCP connection to a host: its name is looked up, and its addresses are tried until one answers.

Source: RFC 8305 §5 (another address is tried while the one before has not answered, not only when it has refused).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConnector, IHostResolution, IResolutionReceiver
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mailproxy.deadline import Deadline

NEXT_ADDRESS_SECONDS = 0.3
"""How long an address has for itself before the next one is tried beside it."""


class Dialled(Protocol):
    """A protocol that wants to be connected; it fires `arrived` at the end of its `connectionMade`."""

    arrived: Deferred[None] | None


@implementer(IResolutionReceiver)
class _Answer:
    """Collects the addresses of a name."""

    def __init__(self) -> None:
        self.addresses: list[Any] = []
        self.complete: Deferred[list[Any]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """There will be an end."""

    def addressResolved(self, address: IAddress) -> None:
        """One more."""
        self.addresses.append(address)

    def resolutionComplete(self) -> None:
        """That is all."""
        self.complete.callback(self.addresses)


def look_up(reactor: Any, host: str, port: int) -> Deferred[list[Any]]:
    """The addresses of a host, with the port; none where there is no such name, or no answer."""
    answer = _Answer()
    reactor.nameResolver.resolveHostName(answer, host, portNumber=port)
    return answer.complete


def dial(reactor: Any, addresses: Sequence[Any], seconds: float, protocol: Dialled) -> Deferred[None]:
    """
    Fires when the protocol is connected to the first of the addresses that answers.

    It fails with what was wrong with the last one.  Cancelling ends all tries.

    Args:
        reactor: connects and tells the time.
        addresses: at least one.
        seconds: for each of them.
        protocol: to be connected.
    """
    race = _Race(reactor, addresses, seconds, protocol)
    connected = protocol.arrived = Deferred(race.give_up)
    race.try_next()
    return connected


class _Race:
    """The addresses of one host."""

    def __init__(self, reactor: Any, addresses: Sequence[Any], seconds: float, protocol: Dialled) -> None:
        self._reactor = reactor
        self._left = list(addresses)
        self._seconds = seconds
        self._protocol: Dialled | None = protocol
        self._tries: dict[_Try, IConnector | None] = {}
        self._next = Deadline(reactor)

    def try_next(self) -> None:
        """Another address is tried, and the one behind it in a while."""
        self._next.clear()
        address = self._left.pop(0)
        one = _Try(self)
        self._tries[one] = None
        connector = self._reactor.connectTCP(address.host, address.port, one, self._seconds)
        if one in self._tries:
            self._tries[one] = connector
            if self._left:
                self._next.set(NEXT_ADDRESS_SECONDS, self.try_next)

    def won(self, one: _Try) -> Dialled | None:
        """An address has answered: it gets the protocol, if it is the first."""
        protocol, self._protocol = self._protocol, None
        self._tries.pop(one, None)
        self._stop()
        return protocol

    def lost(self, one: _Try, reason: Failure) -> None:
        """One does not answer."""
        if self._tries.pop(one, _NOBODY) is _NOBODY or self._protocol is None:
            return
        if self._left:
            self.try_next()
        elif not self._tries:
            connected, self._protocol.arrived = self._protocol.arrived, None
            self._protocol = None
            if connected is not None:
                connected.errback(reason)

    def give_up(self, _connected: object) -> None:
        """Nobody wants to be connected any more."""
        if self._protocol is not None:
            self._protocol.arrived = None
            self._protocol = None
        self._stop()

    def _stop(self) -> None:
        self._next.clear()
        self._left.clear()
        tries, self._tries = self._tries, {}
        for connector in tries.values():
            if connector is not None:
                connector.stopConnecting()


_NOBODY: Any = object()


class _Try(ClientFactory):
    """One address."""

    noisy = False

    def __init__(self, race: _Race) -> None:
        self._race: _Race | None = race

    def buildProtocol(self, addr: object) -> Any:  # noqa: ARG002 - Twisted's
        race, self._race = self._race, None
        return None if race is None else race.won(self)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:  # noqa: ARG002 - Twisted's
        race, self._race = self._race, None
        if race is not None:
            race.lost(self, reason)
