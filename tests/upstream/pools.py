"""
A pool on connections in memory: logins succeed when the test says so, or at once, and it holds the mail servers' ends.
"""

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from mailproxy.destination.model import Destination, Login, MailProtocol, Password, TLSMode, TLSSettings
from mailproxy.errors import RefusedSession
from mailproxy.relay import Backpressure
from mailproxy.upstream.channel import Channel
from mailproxy.upstream.pool import Pool, PoolSettings
from mailproxy.upstream.resting import Shelf
from mailproxy.upstream.stream import UpstreamStream
from mailproxy.wire.smtp import Extensions
from tests.support.transports import Network

LOGIN_SECONDS = 20.0
QUIT_SECONDS = 5.0
GIVEN_BACK = {"messages": 1, "taken": True, "refusals": 0, "reset": False, "sound": True}
SETTINGS = PoolSettings(connections=0, messages=100, age_seconds=300.0, idle_seconds=30.0, min_idle=0)
DESTINATION = Destination("d", MailProtocol.SMTP, "mail.test", 587, TLSSettings(TLSMode.REQUIRED), login=True)
CHANNEL = Channel("acme", Login(DESTINATION, Password("alice", "secret")), "roots")
OFFERED = Extensions(b"mail.test", {"PIPELINING": ""})


class Stream(UpstreamStream, Protocol):
    """Is logged in from the beginning."""

    farewell = b"QUIT\r\n"

    def converse(self, chunk):
        raise AssertionError(f"{chunk} for nobody")


@frozen
class Attempt:
    """One that is under way; it may take so many seconds, `until` then."""

    seconds: float
    until: float
    answer: Deferred
    channel: Channel


class Connector:
    """
    Logs in with `channel`; `manual` says that the test decides when, `failure` that it fails at once.

    `lookups` is None where they are answered at once, else those that wait.
    """

    def __init__(self, network, channel=CHANNEL):
        self.network = network
        self.now = channel
        self.manual = False
        self.failure = None
        self.lookups = None
        self.capabilities = OFFERED
        self.attempts = []
        self.opened = 0
        self.cancelled = 0
        self.servers = {}

    async def channel(self):
        if self.lookups is not None:
            waiting = Deferred()
            self.lookups.append(waiting)
            await waiting
        return self.now

    def look_up(self, error=None):
        """The next look-up ends."""
        waiting = self.lookups.pop(0)
        if error is None:
            waiting.callback(None)
        else:
            waiting.errback(error)

    def open(self, seconds):
        self.opened += 1
        answer = Deferred(self._cancelled)
        attempt = Attempt(seconds, self.network.clock.seconds() + seconds, answer, self.now)
        self.attempts.append(attempt)
        if self.failure is not None:
            self.fail(self.failure)
        elif not self.manual:
            self.succeed()
        return answer

    def _cancelled(self, answer):
        self.cancelled += 1
        self.attempts = [attempt for attempt in self.attempts if attempt.answer is not answer]

    def succeed(self, number=0, channel=None):
        """An attempt ends well; the mail server's end."""
        attempt = self.attempts.pop(number)
        channel = channel or attempt.channel
        stream = Stream(self.network.clock, channel.login, over_tls=False)
        stream.channel = channel
        server = self.network.plug(stream)
        self.servers[stream] = server
        stream.ready.addBoth(lambda _: None)
        stream.logged_in(self.capabilities, pending=False)
        attempt.answer.callback(stream)
        return server

    def fail(self, error, number=0):
        """An attempt ends badly."""
        self.attempts.pop(number).answer.errback(error)


class Borrower:
    """A session that wants a connection."""

    def __init__(self, pool, *, fresh=False, when_served=None):
        self.pool = pool
        self.stream = self.error = self.lost = None
        self.reused = None
        self.heard = b""
        self.wanted = 0
        self.lets_go = False
        self._when_served = when_served
        self.claim = pool.open(fresh=fresh)
        self.claim.addCallbacks(self._served, self._failed)

    def _served(self, stream):
        assert self.stream is None
        self.stream = stream
        self.reused = stream.reused
        producer = Backpressure(self.pool._clock, stall_seconds=60.0, stalled=lambda: None, changed=lambda: None)
        stream.hand_over(self, producer)
        if self._when_served is not None:
            self._when_served(self)

    def _failed(self, failure):
        assert self.error is None
        self.error = failure.value

    def upstream_received(self, chunk):
        self.heard += chunk

    def upstream_lost(self, error):
        self.lost = error
        self.stream = None

    def upstream_wanted(self):
        self.wanted += 1
        if self.lets_go:
            self.give_back()

    def give_back(self, **how):
        stream, self.stream = self.stream, None
        self.pool.take_back(stream, **GIVEN_BACK | how)
        return stream

    def abort(self):
        stream, self.stream = self.stream, None
        stream.abort()

    def leave(self):
        """It does not want to wait any more."""
        self.claim.cancel()


class Bed:
    """One pool, and all around it."""

    def __init__(self, *, shelf=None, network=None, channel=CHANNEL, **settings):
        self.network = network or Network()
        self.clock = self.network.clock
        self.shelf = Shelf(1000) if shelf is None else shelf
        self.connector = Connector(self.network, channel)
        self.pool = Pool(
            self.clock,
            self.connector,
            evolve(SETTINGS, **settings),
            self.shelf,
            wait_seconds=LOGIN_SECONDS,
            quit_seconds=QUIT_SECONDS,
        )

    def borrow(self, **more):
        return Borrower(self.pool, **more)

    def server(self, stream):
        """The mail server's end of a connection."""
        return self.connector.servers[stream]

    def goodbye(self, server):
        """The mail server has heard QUIT, and goes."""
        self.network.settle()
        heard = server.hear()
        server.say(b"221 bye\r\n")
        self.network.settle()
        server.close()
        self.network.settle()
        return heard

    def refuse(self, number=0):
        self.connector.fail(RefusedSession("no"), number)


def other(**changes):
    """The channel with something else in it."""
    login = {each: changes.pop(each) for each in ("destination", "credentials") if each in changes}
    return evolve(CHANNEL, login=evolve(CHANNEL.login, **login), **changes)
