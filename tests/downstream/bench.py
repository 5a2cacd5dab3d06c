"""
A listener on connections in memory: mail clients by hand, mail servers by hand, and the real protocol between them.
"""

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.logger import Logger, formatEvent

from mailproxy.destination.model import Destination, Login, MailProtocol, Timeouts, TLSMode, TLSSettings
from mailproxy.downstream.factory import SessionFactory
from mailproxy.downstream.protocol import Surroundings
from mailproxy.observe.sessions import ListenerLog
from mailproxy.session.actions import (
    AbortUpstream,
    CloseDownstream,
    OpenUpstream,
    SendDownstream,
    SendUpstream,
    Waiting,
)
from mailproxy.upstream.stream import UpstreamStream
from tests.support.transports import HIGH_MARK, PIPE_OCTETS, READ_OCTETS, Network

STALL, CLOSE, FAREWELL = 180.0, 5.0, 4.0
TIMEOUTS = {
    Waiting.UPSTREAM_REPLY: 300.0,
    Waiting.UPSTREAM_DATA_REPLY: 120.0,
    Waiting.UPSTREAM_FINAL_REPLY: 600.0,
    Waiting.UPSTREAM_RSET_REPLY: 20.0,
    Waiting.UPSTREAM_QUIT_REPLY: 110.0,
    Waiting.UPSTREAM_BODY: 175.0,
    Waiting.DOWNSTREAM_COMMAND: 310.0,
    Waiting.DOWNSTREAM_LINE: 60.0,
    Waiting.DOWNSTREAM_CONTENT: 290.0,
}
FOREVER = 3600.0
FLOOD = b"0123456789abcdef" * 65536
MOST_HELD = HIGH_MARK + READ_OCTETS + 3 * PIPE_OCTETS
"""A full write buffer, the read that filled it, and what the kernels of both connections hold."""
CROWDED = b"421 crowded\r\n"


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

    `answers` has, for the name of an event, a function of its arguments to a list of actions.
    """

    def __init__(self, **answers):
        self.answers = answers
        self.events = []
        self.reading = self.reading_upstream = True
        self.waiting = Waiting.NOBODY
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
        self._hear("receive_downstream", chunk)

    def downstream_ended(self):
        self._hear("downstream_ended")

    def downstream_lost(self):
        self._hear("downstream_lost")

    def upstream_opened(self, capabilities):
        self._hear("upstream_opened", capabilities)

    def upstream_failed(self, error):
        self._hear("upstream_failed", error)

    def receive_upstream(self, chunk):
        self._hear("receive_upstream", chunk)

    def upstream_lost(self, error):
        self._hear("upstream_lost", error)

    def expired(self):
        self._hear("expired")

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

    def __init__(self, make, around, log, rooms):
        super().__init__(around, log, rooms)
        self.make_session = make


class Bench:
    """
    Args:
        make_session: for each client.
        rooms: of the factory.
        network: more of `Network`'s arguments.
    """

    def __init__(self, make_session, *, rooms=(), **network):
        self.network = Network(**network)
        self.clock = self.network.clock
        self.events = []
        self.openings = []
        self.protocols = []
        log = ListenerLog("dest", "acme", logger=Logger("mailproxy.session", observer=self.events.append))
        around = Surroundings(
            clock=self.clock,
            open_upstream=self._open,
            timeouts=TIMEOUTS,
            stall_seconds=STALL,
            close_seconds=CLOSE,
            upstream_quit_seconds=FAREWELL,
        )
        self.factory = Factory(make_session, around, log, rooms)
        self.counters = log.counters

    def _open(self):
        opening = Deferred(self._given_up)
        self.openings.append(opening)
        return opening

    def _given_up(self, opening):
        opening.was_given_up = True

    def connect(self, **plug):
        """A mail client is connected: its end, and our protocol."""
        protocol = self.factory.buildProtocol(None)
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
        assert not self.clock.getDelayedCalls()
        assert not self.network.transports
        assert self.counters.active == 0
        self.outcomes()
