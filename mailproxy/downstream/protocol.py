"""
The connection of one mail client: it runs a session, and carries out what the session decides.

One class for SMTP and POP3: what differs is the session.  Here are the sockets, the clock and the flow of octets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailproxy.downstream.account import Account, Client
from mailproxy.downstream.connection import ClientConnection
from mailproxy.downstream.pump import Pump
from mailproxy.downstream.surroundings import Surroundings, Upstream
from mailproxy.downstream.waits import UPSTREAM_WAITS, Waits
from mailproxy.downstream.whereabouts import ends_of, source_of
from mailproxy.errors import LimitReached, MailProxyError, UpstreamTimeout
from mailproxy.flight.flights import Flight
from mailproxy.observe.sessions import SessionLog
from mailproxy.relay import Backpressure, Intake
from mailproxy.session.actions import (
    AbortDownstream,
    AbortUpstream,
    Action,
    CloseDownstream,
    OpenUpstream,
    ReleaseUpstream,
    Report,
    SendDownstream,
    SendUpstream,
    Session,
    StartTLS,
    Transacted,
    TransactionBegun,
    Waiting,
)
from mailproxy.session.recording import NO_RECORDER, Event, Recorder
from mailproxy.wire.introduction import Introduction
from mailproxy.wire.proxyprotocol import Addresses

__all__ = ["SessionProtocol", "Surroundings"]

_SESSION = "the session"
"""Who holds an intake while the session does not want to read."""

_OTHERS = "the others"
"""Who holds it while it is their turn."""

_LEDGER = "the ledger"
"""Who holds it while a record goes to disk."""


class TurnChanged(Protocol):
    """Hears whether it is up to a client to say its first line."""

    def __call__(self, protocol: SessionProtocol, *, silent: bool) -> None:
        """It has changed."""


class SessionProtocol(ClientConnection):
    """
    Joins one mail client to a session.

    Args:
        session: decides.
        around: what the listener's sessions share.
        log: of this session.
        done: called once, when the connection is gone and nothing is left to do for the session.
        turn_changed: called when it is no longer up to the client to say its first line, because it has, or waits for
            our login, or the session is over; and when it is again.  While it is, `make_room` may come.
        hurried: there is a crowd, so that the client has less time to begin.
    """

    __slots__ = (
        "_account",
        "_begun",
        "_done",
        "_ended",
        "_intake",
        "_log",
        "_opening",
        "_pump",
        "_recorder",
        "_session",
        "_silent",
        "_timeouts",
        "_to_downstream",
        "_to_upstream",
        "_turn_changed",
        "_upstream",
        "_upstream_intake",
        "_waits",
        "addresses",
    )

    def __init__(
        self,
        session: Session,
        around: Surroundings,
        log: SessionLog,
        done: Callable[[SessionProtocol], None],
        turn_changed: TurnChanged,
        *,
        hurried: bool = False,
    ) -> None:
        super().__init__(around, hurried=hurried)
        self.addresses: Addresses | None = None
        """Where the client is, once that is known, and if anybody has to know."""
        self._session = session
        self._recorder = session.recorder
        self._log = log
        self._done = done
        self._turn_changed = turn_changed
        self._silent = True
        self._upstream: Upstream | None = None
        self._opening: Deferred[Any] | None = None
        self._timeouts = around.timeouts
        if hurried:
            first = Waiting.DOWNSTREAM_FIRST_COMMAND
            self._timeouts = {**around.timeouts, first: around.seconds(first, hurried=True)}
        self._pump = Pump(around.clock)
        self._account = None if around.book is None else Account(around.book, log.id)
        self._begun = False
        self._ended = False

    # The mail client

    def connectionMade(self) -> None:
        """The client is connected; the session begins, behind TLS once the handshake is done."""
        self._waits = Waits(self._around.clock, self._timeouts, self._around.min_content_rate, self._expired)
        self._intake = Intake(self.transport)
        self._to_downstream = self._backpressure(self._downstream_stalled)
        if self._around.introduce is not None and self.addresses is None:
            self.addresses = ends_of(self.transport)
        super().connectionMade()

    def ready(self) -> None:
        """The session begins; or it goes on behind TLS."""
        # Not before the handshake: TLS would call itself full, and we would not read what it waits for.
        self.transport.registerProducer(self._to_downstream, True)
        self._govern()
        begun, self._begun = self._begun, True
        if begun and self._account is not None:
            self._account.secured(self._client())
        self._recorder.note(Event.SECURED if begun else Event.START)
        self._tell(self._session.downstream_secured if begun else self._session.start)

    def handshake_failed(self, sentence: str) -> None:
        """The session is over, and so is what it has at the mail server."""
        self._log.tls_failed(sentence)
        self._end_it("downstream_tls_failed")

    def dataReceived(self, data: bytes) -> None:
        """Octets of the client."""
        self._log.counters.octets.from_client += len(data)
        if self._listening:
            self._waits.heard(Waiting.DOWNSTREAM_CONTENT, len(data))
            self._recorder.arrived(Event.CLIENT, len(data))
            self._tell(self._session.receive_downstream, data)
        else:
            self.overhear(len(data))

    def client_ended(self) -> None:
        """The client has closed its sending side."""
        self._recorder.note(Event.CLIENT_ENDED)
        self._tell(self._session.downstream_ended)

    def client_gone(self) -> None:
        """The client is gone; the session may have something to see through."""
        self._to_downstream.stopProducing()
        if self._ended:
            self._finish()
            return
        if self._said_goodbye:
            self.client_ended()
        if not self._ended:
            self._recorder.note(Event.CLIENT_LOST)
            self._tell(self._session.downstream_lost)

    # The mail server

    def upstream_received(self, chunk: bytes) -> None:
        """Octets of the mail server."""
        self._log.answered(len(chunk))
        self._waits.heard(Waiting.UPSTREAM_BODY, len(chunk))
        self._recorder.arrived(Event.SERVER, len(chunk))
        self._tell(self._session.receive_upstream, chunk)

    def upstream_lost(self, error: MailProxyError) -> None:
        """The mail server is gone."""
        self._forget_upstream()
        self._log.failed(error, self._session.waiting.value)
        self._recorder.refer(Event.LOST, error)
        self._tell(self._session.upstream_lost, error)

    def upstream_wanted(self) -> None:
        """Others wait for a connection like ours."""
        self._recorder.note(Event.WANTED)
        self._tell(self._session.upstream_wanted)

    def _opened(self, upstream: Upstream) -> None:
        self._opening = None
        self._upstream = upstream
        self._log.opened(secured=upstream.secured)
        self._to_upstream = self._backpressure(self._upstream_stalled)
        self._upstream_intake = Intake(upstream.transport)
        if self._account is not None:
            self._account.met(upstream)
        self._govern()
        self._obey(upstream.login.destination.timeouts)
        self._log.quote = upstream.quoted
        self._session.conceal = upstream.concealed
        upstream.hand_over(self, self._to_upstream)
        used = b"reused %d" % upstream.messages if upstream.reused else b""
        self._recorder.refer(Event.OPENED, upstream.capabilities, used)
        opened = partial(self._session.upstream_opened, reused=upstream.reused, messages=upstream.messages)
        self._tell(opened, upstream.capabilities)

    def _not_opened(self, failure: Failure) -> None:
        if self._opening is None:
            return  # we gave it up ourselves
        self._opening = None
        if not isinstance(failure.value, MailProxyError):
            failure.raiseException()
        self._log.failed(failure.value, "no session at the mail server")
        self._recorder.refer(Event.FAILED, failure.value)
        self._tell(self._session.upstream_failed, failure.value)

    def _obey(self, timeouts: Any) -> None:
        """The destination's own timeouts, where it has any, bound the waits for its mail server."""
        self._waits.timeouts = self._timeouts  # the same for all sessions, where nothing else was said
        if timeouts.read is not None:
            self._waits.timeouts = {**self._timeouts, **dict.fromkeys(UPSTREAM_WAITS, timeouts.read)}
        if timeouts.write is not None:
            self._to_upstream.stall_seconds = timeouts.write

    def _forget_upstream(self) -> None:
        self._upstream = None
        self._to_upstream.stopProducing()
        self._govern()

    def _upstream_stalled(self) -> None:
        upstream = self._upstream
        if upstream is not None:
            upstream.abort()
            self.upstream_lost(UpstreamTimeout("the mail server takes no more octets"))

    def _downstream_stalled(self) -> None:
        doing = "the end of the session" if self._ended else self._session.waiting.value
        self._log.failed(LimitReached("the client takes no more octets"), doing)
        self.give_up()

    # The session's decisions

    def _tell(self, hear: Callable[..., None], *args: object) -> None:
        """The session hears of something, and what it decides is carried out; an error of ours ends it."""
        try:
            hear(*args)
            self._carry_out()
            self._mind_the_turn()
        except Exception:  # noqa: BLE001 - whatever it was: both legs end, nothing is half done
            self.crashed()

    def _carry_out(self) -> None:
        ran = self._pump.run(self._session.next_action, _DEEDS, self, self._go_on)
        if ran and not self._ended:
            if self._pump.in_line and not self._handshaking:
                self._intake.hold(_OTHERS)
            self._mind_reading()
            self._mind_the_clock()

    def _go_on(self) -> None:
        self._intake.release(_OTHERS)
        self._tell(_nothing)

    def _send_downstream(self, action: SendDownstream) -> None:
        if self._connected:
            self._log.counters.octets.to_client += len(action.raw)
            self.transport.write(action.raw)

    def _send_upstream(self, action: SendUpstream) -> None:
        if self._upstream is not None:
            self._log.asked(len(action.raw))
            self._upstream.write(action.raw)

    def _start_tls(self, _action: StartTLS) -> None:
        """
        The transport's producer makes a fresh start behind the handshake: moved over while it is paused, it would
        never hear that it may go on.
        """
        if self._connected:
            self.transport.unregisterProducer()
            self._to_downstream.stopProducing()
            self._to_downstream = self._backpressure(self._downstream_stalled)
            self._waits.pause()
            self.start_tls()
            self._govern()

    def _open_upstream(self, action: OpenUpstream) -> None:
        self._log.opening()
        if self._account is not None and not self._account.open:
            self._begin_account()
        opening = self._opening = self._ask_for_upstream(fresh=action.fresh)
        opening.addCallbacks(self._opened, self._not_opened)
        opening.addErrback(self._opening_crashed)

    def _ask_for_upstream(self, *, fresh: bool) -> Deferred[Any]:
        introduce = self._around.introduce
        if introduce is None:
            return self._around.upstreams.open(fresh=fresh)
        helo, extended = self._session.helo
        return introduce(Introduction(self.addresses, helo, extended))

    def _opening_crashed(self, failure: Failure) -> None:
        self._log.crashed(failure)
        self._crash()

    def _release_upstream(self, action: ReleaseUpstream) -> None:
        upstream = self._upstream
        if upstream is not None:
            self._forget_upstream()
            self._around.upstreams.take_back(
                upstream,
                messages=action.messages,
                taken=action.taken,
                refusals=action.refusals,
                reset=action.reset,
                sound=action.sound,
            )

    def _abort_upstream(self, _action: AbortUpstream | None = None) -> None:
        upstream, opening = self._upstream, self._opening
        if upstream is not None:
            self._forget_upstream()
            upstream.abort()
        if opening is not None:
            self._opening = None
            opening.cancel()

    def _close_downstream(self, action: CloseDownstream) -> None:
        """What was written is delivered, then the connection ends; and the session does."""
        self._end(action.outcome)
        if not self._connected:
            self._finish()
            return
        self._intake.release(_SESSION)
        self._intake.release(_OTHERS)
        self._to_downstream.stopProducing()
        self.transport.unregisterProducer()
        self.see_off()

    def does_not_close(self) -> None:
        """It may not even have heard all: a response can be large, and the way slow."""
        self.deliver(self._around.stall_seconds, self._downstream_stalled)

    def _abort_downstream(self, action: AbortDownstream) -> None:
        self._end(action.outcome)
        self.give_up()

    def _report(self, action: Report) -> None:
        self._log.report(action.event, action.fields)

    # The ledger

    def _begin_account(self, _action: TransactionBegun | None = None) -> None:
        assert self._account is not None, "there is a ledger"
        self._account.begun(self._client() if self._connected else None, self._upstream)

    def _client(self) -> Client:
        """For the ledger; a PROXY header knows better than the connection where the client is."""
        place = self.transport.getPeer() if self.addresses is None else source_of(self.addresses)
        return Client(self.transport, place, self._over_tls)

    def _transacted(self, action: Transacted) -> None:
        """What a client is told of a message that was taken, waits until that is on record for good."""
        assert self._account is not None, "there is a ledger"
        durable = self._account.transacted(action)
        if durable is not None and not durable.called:
            self._pump.held = True
            self._intake.hold(_LEDGER)
            durable.addCallback(self._recorded)

    def _close_account(self, outcome: str) -> None:
        """What was under way is told of; this must not keep anything from its end."""
        account, self._account = self._account, None
        if account is not None:
            try:
                account.ended(self._session.account(), outcome)
            except Exception:  # noqa: BLE001 - whatever it was: both legs have to end
                self._log.crashed()

    def _close_recorder(self, outcome: str) -> None:
        """A session that ended badly can be looked at; who said nothing, and met no trouble, has nothing to show."""
        flights, recorder = self._around.flights, self._recorder
        if flights is not None and isinstance(recorder, Recorder):
            self._recorder = self._session.recorder = NO_RECORDER
            if self._log.trouble is not None or self._session.has_spoken:
                flights.note(self._flight(outcome, recorder))

    def _flight(self, outcome: str, recorder: Recorder) -> Flight:
        return Flight(
            session=self._log.id,
            client=self._log.peer,
            ended=self._around.clock.seconds(),
            outcome=outcome,
            trouble=self._log.trouble,
            policy=self._session.policy,
            ledger=self._around.book is not None,
            recorder=recorder,
        )

    def _recorded(self, _: object) -> None:
        self._pump.held = False
        if not self._ended:
            self._intake.release(_LEDGER)
            self._tell(_nothing)

    # Ends

    def drain(self) -> None:
        """The listener goes away: nothing new is begun; whose handshake is not done was promised nothing."""
        if self._handshaking:
            self.stop()
        elif not self._ended:
            self._recorder.note(Event.DRAIN)
            self._tell(self._session.drain)

    def cut(self, *, last: bool) -> None:
        """The time to drain is over; only who waits for a mail server's last word waits on, until `last`."""
        if self._handshaking:
            self.stop()
        elif not self._ended:
            self._recorder.note(Event.CUT, int(last))
            self._tell(partial(self._session.cut, last=last))

    def stop(self) -> None:
        """Both legs end at once; no message is completed by that, and no deletion confirmed."""
        if not self._ended:
            self._end_it("shutdown")
        self.give_up()

    def crashed(self) -> None:
        """An exception that nobody foresaw is being handled: both legs end."""
        self._log.crashed()
        self._crash()

    def _crash(self) -> None:
        self._end_it("internal_error")
        self.give_up()

    def make_room(self, words: bytes) -> None:
        """The client has said nothing so far, and another needs its place: it is told, and both legs end at once."""
        self._log.made_room()
        self._end_it("made_room")
        self._to_downstream.stopProducing()
        self.transport.unregisterProducer()
        self.dismiss(words)

    @property
    def peer(self) -> str:
        """Where the client is, for the log."""
        return self._log.peer

    def _mind_the_turn(self) -> None:
        """Who is not greeted before a login waits for us, and is not silent."""
        silent = self._opening is None and not (self._ended or self._session.has_spoken)
        if silent != self._silent:
            self._silent = silent
            self._turn_changed(self, silent=silent)

    def _end_it(self, outcome: str) -> None:
        """The session is over, and had no say in that."""
        self._recorder.note(Event.OWNER, 0, outcome.encode())
        for report in self._session.untold():
            self._report(report)
        self._end(outcome)

    def _end(self, outcome: str) -> None:
        """The session is over; whatever it has at the mail server and has not let go is aborted."""
        self._ended = True
        self._mind_the_turn()
        self._pump.stop()
        self._waits.stop()
        self._abort_upstream()
        self._log.ended(outcome, spoken=self._session.has_spoken)
        self._close_account(outcome)
        self._close_recorder(outcome)

    def give_up(self) -> None:
        """The client's connection ends now, delivered or not."""
        super().give_up()
        if not self._connected:
            self._finish()

    def _finish(self) -> None:
        self._done(self)

    # Reading and the clock

    def _backpressure(self, stalled: Callable[[], None]) -> Backpressure:
        return Backpressure(
            self._around.clock,
            stall_seconds=self._around.stall_seconds,
            stalled=stalled,
            changed=self._flow_changed,
        )

    def _govern(self) -> None:
        """Who is held back by a full transport.  A handshake has to be read whatever is full."""
        client = [] if self._handshaking else [self._intake]
        server = [] if self._upstream is None else [self._upstream_intake]
        self._to_downstream.govern([*client, *server])
        if self._upstream is not None:
            self._to_upstream.govern(client)

    def _flow_changed(self) -> None:
        if not self._ended:
            self._mind_the_clock()

    def _mind_reading(self) -> None:
        self._intake.want(_SESSION, wanted=self._handshaking or self._session.reading)
        if self._upstream is not None:
            self._upstream_intake.want(_SESSION, wanted=self._session.reading_upstream)

    def _mind_the_clock(self) -> None:
        """
        The current wait has its deadline; while the octets it waits for are held back by the other leg, its time
        stands still.  A handshake has a deadline of its own.
        """
        if not self._handshaking:
            waiting = self._session.waiting
            self._waits.look(waiting, self._session.wait_serial, held=self._held_back(waiting))

    def _held_back(self, waiting: Waiting) -> bool:
        if waiting is Waiting.DOWNSTREAM_CONTENT:
            return self._upstream is not None and self._to_upstream.full
        return waiting in UPSTREAM_WAITS and self._to_downstream.full

    def _expired(self) -> None:
        """The session says what follows; one that has nothing to say would stay for ever."""
        session, serial = self._session, self._session.wait_serial
        if session.waiting is not Waiting.NOBODY:
            self._recorder.note(Event.EXPIRED)
            self._tell(session.expired)
        if not self._ended and session.wait_serial == serial:
            self._tell(_complain)


def _nothing() -> None:
    """Nothing has happened; the session goes on."""


def _complain() -> None:
    raise RuntimeError("the session does nothing about a deadline that has passed")


# ruff: noqa: SLF001 - the table below is the class's own, beside it only because methods must exist first
_DEEDS: Mapping[type[Action], Callable[[SessionProtocol, Any], None]] = {
    SendDownstream: SessionProtocol._send_downstream,
    SendUpstream: SessionProtocol._send_upstream,
    StartTLS: SessionProtocol._start_tls,
    OpenUpstream: SessionProtocol._open_upstream,
    ReleaseUpstream: SessionProtocol._release_upstream,
    AbortUpstream: SessionProtocol._abort_upstream,
    CloseDownstream: SessionProtocol._close_downstream,
    AbortDownstream: SessionProtocol._abort_downstream,
    Report: SessionProtocol._report,
    TransactionBegun: SessionProtocol._begin_account,
    Transacted: SessionProtocol._transacted,
}
