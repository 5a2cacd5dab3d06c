"""
A listener: a port that stays, and behind it a gate whose keeper can change.

Sessions belong to the keeper that let them in.  When a new configuration brings another one, they go on with theirs,
and everybody who comes later gets the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Any

from attrs import Factory, define
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReadDescriptor, IStreamServerEndpoint
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailproxy.config.endpoints import opened_endpoint, parse_endpoint
from mailproxy.downstream.factory import SessionFactory
from mailproxy.downstream.rooms import Door
from mailproxy.inherited import InheritedEndpoint
from mailproxy.observe.condition import Condition
from mailproxy.observe.observation import Observation, State
from mailproxy.recipes import Order
from mailproxy.sockets import serving

_log = Logger(namespace="mailproxy.listeners")

_LAST_CLIENTS = 2000
"""About so many are let in before a port closes."""


@define(eq=False)
class Keeper:
    """
    A factory and what it was made for.

    `end` lets go of what it needs, once its last session is gone; `state` is how all of that is at this moment, and
    `condition` how its way to the mail server has been doing.
    """

    order: Order
    factory: SessionFactory
    door: Door
    end: ExitStack
    state: Callable[[], State] = State
    condition: Condition = Factory(Condition)

    def observation(self) -> Observation:
        """What an operator sees of it."""
        who = self.order.recipe.identity
        counters = self.factory.log.counters
        prefix = self.order.stat_prefix
        return Observation(who.protocol.value, who.destination, who.tenant, prefix, counters, self.state())

    def settle(self) -> None:
        """Name and bound of the listener, which its keepers share, are those that this one is made for."""
        self.factory.log.label = self.order.label
        self.door.limit = self.order.recipe.max_sessions


class Gate(ServerFactory):
    """Lets clients in to the current keeper."""

    noisy = False

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.visits = 0
        """How many clients have come."""
        self.before: list[Keeper] = []
        """Those whose sessions are not all gone."""

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """What the current keeper makes of the client."""
        self.visits += 1
        return self.keeper.factory.buildProtocol(addr)

    def change(self, keeper: Keeper) -> None:
        """From now on clients are let in to this one; the one before ends with its last session."""
        before, self.keeper = self.keeper, keeper
        self.before.append(before)
        before.factory.emptied().addCallback(self._emptied, before)

    def close(self) -> None:
        """All sessions are gone, and nobody comes any more."""
        for keeper in (self.keeper, *self.before):
            keeper.end.close()

    def _emptied(self, _: object, keeper: Keeper) -> None:
        self.before.remove(keeper)
        keeper.end.close()


class Listener:
    """
    One endpoint and its gate.

    Args:
        endpoint: where it listens.
        keeper: the first one.
        serving: says which transports a port's connections get.
    """

    def __init__(
        self, endpoint: IStreamServerEndpoint, keeper: Keeper, serving: Callable[[Any], Any] = serving
    ) -> None:
        self._serving = serving
        self.gate = Gate(keeper)
        self.address: Any = None
        """Where it listens, once it does."""
        self.bound = parse_endpoint(keeper.order.endpoint)
        self._endpoint = endpoint
        self._port: Any = None

    @property
    def order(self) -> Order:
        """What is wanted of it at present."""
        return self.gate.keeper.order

    @property
    def factory(self) -> SessionFactory:
        """Whom clients are let in to."""
        return self.gate.keeper.factory

    @property
    def factories(self) -> list[SessionFactory]:
        """All whose sessions may live."""
        return [keeper.factory for keeper in (self.gate.keeper, *self.gate.before)]

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._port is not None

    @property
    def descriptors(self) -> int:
        """How many it takes besides sessions: a socket of systemd's is kept open, and connections may owe a header."""
        header = self.order.recipe.header
        return (2 if isinstance(self._endpoint, InheritedEndpoint) else 1) + (header.most if header else 0)

    def listen(self) -> str | None:
        """The port is bound; else why not."""
        problems: list[str] = []
        self._endpoint.listen(self.gate).addCallbacks(self._bound, self._not_bound, errbackArgs=(problems,))
        return problems[0] if problems else None

    def close_port(self) -> Deferred[Any]:
        """Nobody new comes in; fires when others may listen there."""
        port, self._port, self.address = self._port, None, None
        if port is None:
            return succeed(None)
        self._let_in_who_waits(port)
        return maybeDeferred(port.stopListening)

    def _let_in_who_waits(self, port: Any) -> None:
        """
        Clients that are connected, as far as they know, and only not accepted by us yet would see a reset.  At a socket
        that outlives us they can wait for who comes after us.
        """
        if IReadDescriptor.providedBy(port) and not getattr(self._endpoint, "outlives", False):
            let_in = getattr(port, "let_in", port.doRead)  # one that is shared may leave clients to others otherwise
            first, before = self.gate.visits, -1
            while before < self.gate.visits < first + _LAST_CLIENTS:
                before = self.gate.visits
                let_in()

    def leads_to(self, peer: Any, own: Any) -> bool:
        """Whether a connection from our address `own` to `peer` ends here."""
        if getattr(self.address, "port", None) != peer.port:
            return False
        anywhere = self.address.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
        here = peer.host == own.host or ip_address(peer.host).is_loopback
        return bool(self.address.host == peer.host or (anywhere and here))

    def _bound(self, port: Any) -> None:
        self._port = self._serving(port)
        self.address = port.getHost()
        place = opened_endpoint(self.order.endpoint, getattr(self.address, "port", None))
        _log.info("{label}: listening on {place}", label=self.order.label, place=place)

    def _not_bound(self, failure: Failure, problems: list[str]) -> None:
        reason = getattr(failure.value, "socketError", failure.value)
        problems.append(f"{self.order.label}: cannot listen on {self.order.endpoint}: {reason}")
