"""
A reactor without a system behind it: its time goes by at once, its connections lead into a world in memory.

Two kinds of things happen in it.  Delayed calls are the proxy's own, and none may be left when all is over.  Events
are the world's: octets on their way, peers that think.  Both stand in one order, that of time and then of making.
"""

from __future__ import annotations

import errno
import heapq
import socket
from itertools import count

from twisted.internet.address import IPv4Address
from twisted.internet.base import DelayedCall
from twisted.internet.error import CannotListenError, UserError
from twisted.internet.error import ConnectionRefusedError as TwistedConnectionRefusedError
from twisted.internet.error import TimeoutError as TwistedTimeoutError
from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.python.failure import Failure
from zope.interface import implementer

WEIGHED_EVERY = 2000
"""Events after which somebody looks at how much is in memory."""

MOST_EVENTS = 400_000
"""Nothing that one world does takes more of them; beyond is a loop without end."""


@implementer(IReactorTime, IReactorTCP, IReactorPluggableNameResolver)
class SimulatedReactor:
    """
    Args:
        world: answers `resolve(host)`, `route(host, port)` and `connected(transport, ...)`; see `world.py`.
    """

    def __init__(self, world):
        self._world = world
        self._now = 0.0
        self._order = count()
        self._queue = []
        self._calls = {}
        self.events = 0
        self.ports = {}
        self.foreign = set()
        """Ports that another program has."""
        self.nameResolver = Names(world)
        self.pool = Threads(world)

    # Time

    def seconds(self):
        return self._now

    def callLater(self, delay, callable, *args, **kwargs):  # noqa: A002 - Twisted's name
        assert delay >= 0
        call = DelayedCall(self._now + delay, callable, args, kwargs, self._forget, self._push, self.seconds)
        self._calls[call] = None
        self._push(call)
        return call

    def getDelayedCalls(self):
        return list(self._calls)

    def _forget(self, call):
        self._calls.pop(call, None)

    def _push(self, call):
        heapq.heappush(self._queue, (call.getTime(), next(self._order), call))

    def later(self, delay, event):
        """An event of the world."""
        heapq.heappush(self._queue, (self._now + delay, next(self._order), event))

    def run(self, until):
        """All that happens before a time has happened; whether more will."""
        while self._queue and self._queue[0][0] <= until:
            time, _, what = heapq.heappop(self._queue)
            if isinstance(what, DelayedCall):
                self._run_call(time, what)
            else:
                self._step(time)
                what()
        return bool(self._queue)

    def _run_call(self, time, call):
        if not call.active() or call.time > time:
            return  # it was cancelled, or moved to an earlier time and stands there, too
        if call.delayed_time:
            call.activate_delay()
            self._push(call)
            return
        self._step(time)
        del self._calls[call]
        call.called = 1
        call.func(*call.args, **call.kw)

    def _step(self, time):
        self._now = max(self._now, time)
        self.events += 1
        assert self.events < MOST_EVENTS, "there is no end of it"
        if self.events % WEIGHED_EVERY == 0:
            self._world.weigh()

    # Listening

    def listenTCP(self, port, factory, backlog=50, interface=""):
        if port in self.ports or port in self.foreign:
            raise CannotListenError(interface, port, OSError(errno.EADDRINUSE, "Address already in use"))
        listening = ListeningPort(self, port, factory, interface)
        self.ports[port] = listening
        return listening

    # Connecting

    def connectTCP(self, host, port, factory, timeout=30, bindAddress=None):
        connector = Connector(self, self._world, (host, port), factory, timeout)
        connector.start()
        return connector

    # Names

    def installNameResolver(self, resolver):
        before, self.nameResolver = self.nameResolver, resolver
        return before

    def getThreadPool(self):
        return self.pool

    def callFromThread(self, callable, *args, **kwargs):  # noqa: A002 - Twisted's name
        callable(*args, **kwargs)


@implementer(IListeningPort)
class ListeningPort:
    def __init__(self, reactor, port, factory, interface):
        self._reactor = reactor
        self._address = IPv4Address("TCP", interface or "0.0.0.0", port)
        self.factory = factory
        factory.doStart()

    def startListening(self):
        raise NotImplementedError

    def stopListening(self):
        del self._reactor.ports[self._address.port]
        self.factory.doStop()

    def getHost(self):
        return self._address


@implementer(IConnector)
class Connector:
    """A connection that comes to be, or does not."""

    def __init__(self, reactor, world, place, factory, timeout):
        self._reactor = reactor
        self._world = world
        self._place = place
        self._factory = factory
        self._timer = reactor.callLater(timeout, self._fail, TwistedTimeoutError())
        self._over = False

    def start(self):
        self._factory.doStart()
        self._factory.startedConnecting(self)
        fate, delay = self._world.fate_of_connection(*self._place)
        if fate == "connected":
            self._reactor.later(delay, self._connect)
        elif fate == "refused":
            self._reactor.later(delay, self._refuse)

    def _connect(self):
        if not self._over:
            self._end()
            self._world.connect_upstream(self._place, self._factory)
            self._factory.doStop()

    def _refuse(self):
        if not self._over:
            self._fail(TwistedConnectionRefusedError())
            self._world.refused_upstream(self._place)

    def _fail(self, error):
        if not self._over:
            self._end()
            self._factory.clientConnectionFailed(self, Failure(error))
            self._factory.doStop()

    def _end(self):
        self._over = True
        if self._timer.active():
            self._timer.cancel()

    def stopConnecting(self):
        self._fail(UserError())

    disconnect = stopConnecting

    def connect(self):
        raise NotImplementedError

    def getDestination(self):
        return IPv4Address("TCP", *self._place)


@implementer(IHostnameResolver)
class Names:
    """Answers as the world wants: with an address, with nothing, or never."""

    def __init__(self, world):
        self._world = world

    def resolveHostName(
        self,
        resolutionReceiver,
        hostName,
        portNumber=0,
        addressTypes=None,
        transportSemantics="TCP",
    ):
        resolution = Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        address, delay = self._world.fate_of_lookup(hostName)

        def answer():
            if address is not None:
                resolutionReceiver.addressResolved(IPv4Address("TCP", address, portNumber))
            resolutionReceiver.resolutionComplete()

        self._world.reactor.later(delay, answer)
        return resolution


@implementer(IHostResolution)
class Resolution:
    def __init__(self, name):
        self.name = name

    def cancel(self):
        raise NotImplementedError


class Threads:
    """Threads that only ever ask for an address a second time, and are told that there is none."""

    def __init__(self, world):
        self._world = world

    def callInThreadWithCallback(self, onResult, func, *args, **kwargs):
        assert func is socket.getaddrinfo
        error, delay = self._world.fate_of_second_lookup()
        self._world.reactor.later(delay, lambda: onResult(False, Failure(error)))
