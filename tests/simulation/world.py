"""
A world around the whole proxy: everything that happens in it follows from one number.

The proxy is the real one, assembled by `service.make_service`; only the reactor, TLS's cryptography and chance are the
world's own.  Clients, mail servers and services are actors.  What must not be, whoever sees it, ends in `violations`;
`judge.py` says what else is looked at when all is over.
"""

from __future__ import annotations

import gc
import itertools
import os
import socket
import traceback
import weakref
from collections import deque
from contextlib import ExitStack
from functools import partial
from random import Random
from unittest import mock

import attrs
from twisted.internet.address import IPv4Address
from twisted.logger import globalLogPublisher
from twisted.protocols import tls

from mailproxy import assembly, service
from mailproxy.observe import sessions
from tests.simulation import flights, judge, plan
from tests.simulation.audit import Auditor
from tests.simulation.door import Doorkeeper
from tests.simulation.flights import Replayed
from tests.simulation.ledger import Ledger
from tests.simulation.mail import normalized, octets_of
from tests.simulation.marker import ImmediateClock, MarkerServerTLS, MarkerTLS
from tests.simulation.network import Pace, SimulatedTransport, wires
from tests.simulation.operator import Operator
from tests.simulation.pop3_server import POP3Server
from tests.simulation.reactor import SimulatedReactor
from tests.simulation.scales import weigh
from tests.simulation.services import WebService
from tests.simulation.site import ADDRESSES, BY_HOST, NAMES, PLACES, configured
from tests.simulation.smtp_server import SMTPServer
from tests.simulation.taps import POP3Tap, SMTPTap, Tap
from tests.simulation.vault import Vault

LAST_EVENTS = 120

LONGEST_NOTE = 100

LONGEST = 500_000.0
"""Seconds after which every session of the proxy must have ended by itself."""


class World:
    """
    Args:
        seed: decides everything.
        config: of the proxy, as `site.write` makes it.
        last_events: how many to show of a world in which something must not have been; None for all.
    """

    def __init__(self, seed, config, *, last_events=LAST_EVENTS):
        self.seed = seed
        self.random = Random(seed)
        self.plan = plan.make(self.random)
        self.auditor = Auditor(self, config.path.parent)
        config = attrs.evolve(config, ledger=self.auditor.config())
        self.places = {place.owner: place for place in self.plan.places}
        """What is listened for now, by owner."""
        settings = self.plan.settings(config)
        settings |= self.plan.upstream_settings(attrs.evolve(config, **settings))
        self.config = configured(config, self.plan.places, config.destinations, **settings)
        self.destinations = config.destinations
        """The configuration in force."""
        self.reactor = SimulatedReactor(self)
        self.vault = Vault(self, config.path.parent)
        self.ledger = Ledger(self)
        self.door = Doorkeeper(self)
        self.operator = Operator(self)
        self.violations = []
        self.trace = deque(maxlen=last_events)
        self.logs = []
        """Of all listeners that there ever were."""
        self.silent = False
        self.stopped_at = None
        self.hurried = False
        self.paths = {}
        """Addresses in MAIL and RCPT commands that clients gave, each with its client."""
        self.messages = {}
        self.answers = {}
        self.taps = {}
        self.clients = []
        self.transports = {}
        self.protocols = weakref.WeakSet()
        self.replayed = self.delivered = self.collected = self.used_again = self.successes = 0
        self.most_buffered = self.heaviest = 0
        """Octets that were in one write buffer of the proxy, and in all that one session keeps, at a time."""
        self._numbers = itertools.count(1)
        self._ports = itertools.count(20000)
        self._listening_ports = itertools.count(3000)

    # What everybody may ask

    @property
    def stopped_early(self):
        """Whether somebody has told the proxy to stop."""
        return self.stopped_at is not None

    def config_of(self, session):
        """The configuration in force when a client came."""
        return session.config

    def next_port(self):
        """A port that nobody listens on."""
        return next(self._listening_ports)

    def note(self, who, what, octets=b""):
        """An event for the trace; what one hears piece by piece is one event."""
        last = self.trace[-1] if self.trace else None
        if last is not None and last[1:3] == (who, what) == (who, "hears") and len(last[3]) < LONGEST_NOTE:
            self.trace[-1] = (*last[:3], last[3] + octets[:LONGEST_NOTE])
        else:
            self.trace.append((self.reactor.seconds(), who, what, bytes(octets[:LONGEST_NOTE])))

    def forbid(self, what):
        """Something is the case that must not be."""
        if not self.violations:
            self.first_trace = list(self.trace)
        self.violations.append(what)

    def may_be_open(self, host):
        return any(place.host == host and place.open_text for place in PLACES)

    # What happens to the proxy's connections

    def fate_of_lookup(self, host):
        self.ledger.looks_up(host)
        dice = self.random.random()
        if dice < self.plan.trouble * 0.3:
            return None, self.random.uniform(0, 60)
        return ADDRESSES.get(host), self.random.uniform(0, 30 if dice < self.plan.trouble * 0.6 else 0.1)

    def fate_of_second_lookup(self):
        kind = self.random.choice((socket.EAI_NONAME, socket.EAI_AGAIN))
        return socket.gaierror(kind, "no such luck"), self.random.uniform(0, 8)

    def fate_of_connection(self, host, port):
        dice = self.random.random()
        if dice < self.plan.trouble * 0.2:
            return "lost in the post", 0
        if dice < self.plan.trouble * 0.4:
            return "refused", self.random.uniform(0, 2)
        return "connected", self.random.uniform(0, 12 if dice < self.plan.trouble * 0.7 else 0.1)

    def refused_upstream(self, address):
        """The proxy has heard that nobody listens there."""
        self.ledger.not_reached(NAMES[address[0]])

    def connect_upstream(self, address, factory):
        """The proxy's connection to a server is there."""
        host, port = NAMES[address[0]], address[1]
        number = next(self._numbers)
        place = BY_HOST.get((host, port))
        kind = Tap if place is None else SMTPTap if place.is_smtp else POP3Tap
        tap = self.taps[number] = kind(self, number, host)
        near, far = wires(self.plan.pipe_octets)
        pace = self.pace()
        temper = self.plan.temper_of(self.random)
        if place is None:
            WebService(self, far, pace, host, temper, number)
        else:
            (SMTPServer if place.is_smtp else POP3Server)(self, far, pace, place, temper, number)
        peer = IPv4Address("TCP", *address)
        protocol = factory.buildProtocol(peer)
        if place is not None:
            self.ledger.arrives(tap)
        self.attach(protocol, near, tap, begins=True, host=IPv4Address("TCP", "10.0.0.1", number + 1024), peer=peer)

    def connect_downstream(self, make, owner):
        """A mail client connects; nothing comes of it where nobody listens."""
        place = self.places.get(owner)
        listening = self.reactor.ports.get(place.listen) if place is not None else None
        if listening is None:
            if place is not None and not self.stopped_early:
                self.forbid(f"nobody listens for {owner} at {place.listen}")
            self.note("somebody", f"is refused at {owner}")
            return
        number = next(self._numbers)
        near, far = wires(self.plan.pipe_octets)
        pace = self.pace()
        client = make(self, far, pace, place, number)
        self.clients.append(client)
        peer = IPv4Address("TCP", f"127.0.0.{self.random.randint(2, 5)}", next(self._ports))
        protocol = self.door.let_in(listening, client, peer)
        self.attach(protocol, near, client.tap, begins=False, host=listening.getHost(), peer=peer)

    def attach(self, protocol, wire, tap, *, begins, host, peer):
        transport = SimulatedTransport(
            self.reactor,
            wire,
            begins=begins,
            pace=self.pace(),
            tap=tap,
            closed=self.detach,
            high_mark=self.plan.high_mark,
            host=host,
            peer=peer,
        )
        transport.protocol = protocol
        self.protocols.add(protocol)
        self.transports[transport] = None
        protocol.makeConnection(transport)
        transport.touch()

    def detach(self, transport):
        """A connection of the proxy is over."""
        del self.transports[transport]
        self.most_buffered = max(self.most_buffered, transport.most_buffered)

    def pace(self):
        latency = self.random.choice((0.0005, 0.002, 0.01, 0.05))
        piece = self.random.choice((6, 40, 400, 1500, 1500, 4096, 4096, 4096))
        return Pace(self.random, latency, piece)

    # Mail

    def final_dot(self, tap, path, body):
        """The proxy has ended mail data: it must be what the client sent, and all of it."""
        message = self.messages.get(path)
        if message is None:
            self.forbid(f"{tap.name}: an end of mail data for {path!r}, which nobody sent")
        elif not message.complete:
            self.forbid(f"{tap.name}: an end of mail data that {message.client.name} has not sent")
        elif self.must_be_refused(message):
            self.forbid(f"{tap.name}: an end of mail data that is too large, or has in it what it must not")
        elif normalized(message.body) != body:
            self.forbid(f"{tap.name}: mail data of {message.client.name} is not as it was: {message.body!r} {body!r}")

    def no_dot(self, tap, path, part):
        """The proxy has left mail data without an end: what there is of it must be what the client sent first."""
        message = self.messages.get(path)
        whole = b"" if message is None else normalized(message.body)
        if not whole.startswith(part):
            self.forbid(f"{tap.name}: mail data for {path!r} has in it what nobody sent: {part[-200:]!r}")

    def must_be_refused(self, message):
        """Whether the proxy itself says no to this mail data."""
        policy, stray = message.client.config.smtp, normalized(message.body) != message.body
        limit = policy.max_message_octets
        return (
            b"\0" in message.body
            or (limit and octets_of(message.body) > limit)
            or (stray and policy.bare_newline == "reject")
        )

    # From the beginning to the end

    def run(self):
        """All that happens has happened; `violations` says what must not have."""
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(tls, "_get_default_clock", ImmediateClock))
            stack.enter_context(mock.patch.object(sessions, "numbers", sessions.Numbers()))
            stack.enter_context(mock.patch.object(assembly, "ListenerLog", self._listener_log))
            stack.enter_context(mock.patch.object(service, "audit_of", self.auditor.audit_of))
            stack.enter_context(mock.patch.object(assembly, "Flights", partial(Replayed, self)))
            if self.seed % flights.SHARE == 0:
                stack.enter_context(mock.patch.object(service, "orders", flights.recorded))
            stack.enter_context(mock.patch.object(os, "fsync"))  # no world is to wait for a real disk
            stack.callback(self.vault.put_back)
            globalLogPublisher.addObserver(self._log)
            stack.callback(globalLogPublisher.removeObserver, self._log)
            try:
                self._live()
            except Exception:  # noqa: BLE001 - whatever it was, it has a seed
                self.forbid(f"an exception that nobody caught: {traceback.format_exc()}")
            gc.collect()  # what nobody heard of a Deferred is logged now
            judge.look_back(self)
        return self

    def _live(self):
        self.service = service.make_service(
            self.config,
            self.reactor,
            client_tls=MarkerTLS,
            server_tls=MarkerServerTLS,
            random=self.random.random,
        )
        self.service.privilegedStartService()
        self.service.startService()
        self.plan.schedule(self)
        self.reactor.run(LONGEST)
        judge.at_rest(self)
        if not self.stopped_early:
            self.operator.stop()
        self.reactor.run(LONGEST * 2)

    def _listener_log(self, *args, **kwargs):
        log = sessions.ListenerLog(*args, **kwargs)
        self.logs.append(log)
        return log

    def weigh(self):
        """Every session is looked at for what it keeps."""
        judge.counts(self)
        for seat in self.door.taken():
            self.heaviest = max(self.heaviest, weigh(seat.protocol))

    def fall_silent(self):
        self.note("everybody", "falls silent")
        self.silent = True

    def stop(self):
        self.operator.stop()

    def reload(self, places, settings, **more):
        self.operator.reload(places, settings, **more)

    def _log(self, event):
        judge.log_event(self, event)

    def report(self):
        """What must not have been, and what came before it."""
        lines = [f"seed {self.seed}: {self.violations[0]}"]
        lines += [f"  also: {each}" for each in self.violations[1:5]]
        lines += [f"  {time:12.4f} {who}: {what} {octets!r}" for time, who, what, octets in self.first_trace]
        lines.append(f"  again: make simulate SEED={self.seed}")
        return "\n".join(lines)
