"""
A listener on connections in memory: mail clients by hand, mail servers by hand, and the real protocol between them.
"""

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.logger import Logger, formatEvent

from mailproxy.destination.model import Destination, Login, MailProtocol, Timeouts, TLSMode, TLSSettings
from mailproxy.downstream.factory import SessionFactory
from mailproxy.downstream.protocol import Surroundings
from mailproxy.downstream.rooms import Rooms
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.actions import (
    AbortUpstream,
    CloseDownstream,
    OpenUpstream,
    Report,
    SendDownstream,
    SendUpstream,
    Waiting,
)
from mailproxy.session.recording import NO_RECORDER
from mailproxy.upstream.stream import UpstreamStream
from tests.support.transports import HIGH_MARK, PIPE_OCTETS, READ_OCTETS, Network

STALL, CLOSE, FAREWELL, OVERLOAD, HANDSHAKE = 180.0, 5.0, 4.0, 11.0, 30.0
TIMEOUTS = {
    Waiting.UPSTREAM_REPLY: 300.0,
    Waiting.UPSTREAM_DATA_REPLY: 120.0,
    Waiting.UPSTREAM_FINAL_REPLY: 600.0,
    Waiting.UPSTREAM_RSET_REPLY: 20.0,
    Waiting.UPSTREAM_QUIT_REPLY: 110.0,
    Waiting.UPSTREAM_BODY: 175.0,
    Waiting.DOWNSTREAM_FIRST_COMMAND: 305.0,
    Waiting.DOWNSTREAM_COMMAND: 310.0,
    Waiting.DOWNSTREAM_LINE: 60.0,
    Waiting.DOWNSTREAM_CONTENT: 290.0,
}
FOREVER = 3600.0
FLOOD = b"0123456789abcdef" * 65536
MOST_HELD = HIGH_MARK + READ_OCTETS + 3 * PIPE_OCTETS
"""A full write buffer, the read that filled it, and what the kernels of both connections hold."""
CROWDED = b"421 crowded\r\n"
SHUTDOWN = b"421 shutting down\r\n"


def login(timeouts=None):
    destination = Destination(
        "d",
        MailProtocol.SMTP,
        "mail.test",
        25,
        TLSSettings(TLSMode.NONE),
        login=False,
        timeouts=timeouts or Timeouts(),
    )
    return Login(destination, None)


class BareStream(UpstreamStream, Protocol):
    """A mail server that lets everybody in."""

    farewell = b"QUIT\r\n"


class FakeSession:
    """
    A session that only remembers, and decides what a test says.

    `answers` has, for the name of an event, a function of its arguments to a list of actions.  It waits for what a test
    says, and else for what is bounded elsewhere.
    """

    def __init__(self, **answers):
        self.answers = answers
        self.events = []
        self.reading = self.reading_upstream = True
        self.recorder = NO_RECORDER
        self.has_spoken = False
        self.waiting = Waiting.UPSTREAM_LOGIN
        self.wait_serial = 0
        self.actions = []

    def wait(self, waiting):
        self.waiting = waiting
        self.wait_serial += 1

    def next_action(self):
        return self.actions.pop(0) if self.actions else None

    def _hear(self, event, *details):
        self.events.append((event, *details))
        if event in self.answers:
            self.actions += self.answers[event](*details)

    def start(self):
        self._hear("start")

    def receive_downstream(self, chunk):
        self.has_spoken = self.has_spoken or b"\n" in chunk
        self._hear("receive_downstream", chunk)

    def downstream_ended(self):
        self._hear("downstream_ended")

    def downstream_lost(self):
        self._hear("downstream_lost")

    def upstream_opened(self, capabilities, *, reused, messages):
        assert (reused, messages) == (False, 0)
        self._hear("upstream_opened", capabilities)

    def upstream_wanted(self):
        self._hear("upstream_wanted")

    def upstream_failed(self, error):
        self._hear("upstream_failed", error)

    def receive_upstream(self, chunk):
        self._hear("receive_upstream", chunk)

    def upstream_lost(self, error):
        self._hear("upstream_lost", error)

    def expired(self):
        self._hear("expired")

    def downstream_secured(self):
        self._hear("downstream_secured")

    def untold(self):
        return [action for action in self.actions if isinstance(action, Report)]

    def drain(self):
        self._hear("drain")

    def cut(self, *, last):
        self._hear("cut", last)

    def heard(self, event):
        return [details for name, *details in self.events if name == event]


def pipe(**answers):
    """A session that passes everything on, and ends when either side does."""
    return FakeSession(
        **{
            "start": lambda: [OpenUpstream()],
            "receive_downstream": lambda chunk: [SendUpstream(chunk)],
            "receive_upstream": lambda chunk: [SendDownstream(chunk)],
            "downstream_lost": lambda: [AbortUpstream(), CloseDownstream("downstream_lost")],
            "upstream_lost": lambda error: [CloseDownstream("upstream_lost")],
        }
        | answers
    )


class Factory(SessionFactory):
    crowded = CROWDED
    shutdown = SHUTDOWN

    def __init__(self, make, around, log, door):
        super().__init__(around, log, door)
        self.make_session = make


class Bench:
    """
    Args:
        make_session: for each client.
        rooms: that the listener shares with others.
        limit: of the listener.
        around: what differs in the surroundings.
        network: more of `Network`'s arguments.
    """

    def __init__(self, make_session, *, rooms=None, tenant="acme", limit=0, around=(), **network):
        self.network = Network(**network)
        self.clock = self.network.clock
        self.events = []
        self.openings = []
        self.taken_back = []
        self.protocols = []
        log = ListenerLog("dest", tenant, logger=Logger("mailproxy.session", observer=self.events.append))
        self.rooms = rooms or Rooms()
        self.around = Surroundings(
            **{
                "clock": self.clock,
                "upstreams": self,
                "timeouts": {**TIMEOUTS, Waiting.DOWNSTREAM_HANDSHAKE: HANDSHAKE},
                "stall_seconds": STALL,
                "close_seconds": CLOSE,
                "overload_seconds": OVERLOAD,
                **dict(around),
            }
        )
        self.factory = Factory(make_session, self.around, log, self.rooms.door(tenant, limit))
        self.counters = log.counters

    def open(self, *, fresh=False):
        """As `Upstreams.open`."""
        opening = Deferred(self._given_up)
        opening.fresh = fresh
        self.openings.append(opening)
        return opening

    def take_back(self, stream, **how):
        """As `Upstreams.take_back`."""
        self.taken_back.append((stream, how))
        stream.release(FAREWELL)

    def known(self):
        """As `Upstreams.known`."""

    def _given_up(self, opening):
        opening.was_given_up = True

    def connect(self, address=None, **plug):
        """A mail client is connected: its end, and our protocol."""
        protocol = self.factory.buildProtocol(address)
        self.protocols.append(protocol)
        client = self.network.plug(protocol, **plug)
        self.network.settle()
        return client, protocol

    def let_in(self, capabilities=None, *, timeouts=None, number=-1):
        """The upstream connection that was asked for is there: the mail server's end, and our stream."""
        stream = BareStream(self.clock, login(timeouts), over_tls=False)
        server = self.network.plug(stream)
        stream.ready.addCallback(self.openings[number].callback)
        stream.logged_in(capabilities, pending=False)
        self.network.settle()
        return server, stream

    def run(self, seconds=0.0):
        self.network.advance(seconds)

    def lines(self):
        """What the log says."""
        return [formatEvent(event) for event in self.events]

    def tracebacks(self):
        return [event["log_failure"] for event in self.events if "log_failure" in event]

    def outcomes(self):
        """The outcomes so far; every session has one or is active."""
        counters = self.counters
        assert counters.sessions == counters.active + sum(counters.outcomes.values())
        return dict(counters.outcomes)

    def assert_clean(self):
        """Nothing is left of any session."""
        self.network.settle()
        assert not self.factory.sessions
        assert not self.factory.turned_away
        assert not self.rooms.taken
        assert not self.clock.getDelayedCalls()
        assert not self.network.transports
        assert self.counters.active == 0
        self.outcomes()
