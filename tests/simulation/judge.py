"""
What must not be, and who looks: here when all is over and in every event that is logged, elsewhere while it happens.

    a 2xx is the mail server's to that very command      `clients.MailClient.must_match`, out of what `taps` have seen
    one reply for each command, in order                 `smtp_clients.SMTPClient.reply`, `POP3Client.judge`
    mail data is as it was sent, or has no end           `world.World.final_dot`
    ... however the octets are cut                       every world cuts them otherwise (`network.Pace`)
    nothing counts before TLS is verified                `actors.Actor._take`, `clients.must_not_be_secured`
    no credential leaves before that                     `taps.Tap.closed`
    a connection is one session's at a time, between two transactions, and one identity's for good
                                                         `taps.SMTPTap.belongs_to`, `taps.MailTap.judge_owners`
    QUIT of POP3 is the client's                         `_pop3_quits`; and no response has an end of our own: `body`
    every session ends, whoever falls silent             `at_rest`, and `clients.MailClient.drip` for slow ones
    memory is bounded, and given back                    `_base_line`, with what `scales.weigh` has found
    no secret and no control character is logged         `log_event`; nor told to a client: `clients.look_back`
    ... nor seen by operators                            `look_at_what_operators_see`
    a session has one outcome and one place              `_outcomes`, `door.Doorkeeper`
    ... and so at any moment                             `counts`, whenever something is logged or sessions are weighed
    a login is not pressed                               `ledger.Ledger`
    a drain cuts nobody off, and comes to its end        `clients.MailClient.expects_drain`, `operator.Operator`
    another configuration is in use at once, or not      `operator.Operator.reload`
    what is told of a message is on record for good      `audit.Auditor.look_back`
    where nothing goes wrong, everything goes well       `_sunny`
"""

from __future__ import annotations

import re

from twisted.logger import LogLevel, formatEvent

from mailproxy.observe.metrics import exposition
from mailproxy.observe.stats import render
from tests.simulation.secrets import owners
from tests.simulation.taps import MailTap, POP3Tap

CONTROL = re.compile(r"[\x00-\x1f\x7f-\uffff]")

_SEEN = re.compile(r"(?:smtp|pop3)\.[\w.-]+: [0-9]+|# [ -~]*|(?:mailproxy)_\w+(?:\{[\w=\",.+-]*\})? [0-9.e+-]+")
"""A line of the statistics, or of the metrics."""

MOST_READ = 12_000
"""What one read, of 4 KiB at most, and what it makes the proxy say, may put into a buffer that was not full yet."""

MOST_KEPT = 90_000
"""What a session itself may keep, beside the write buffers: what is sent ahead, replies, and TLS in between."""


def log_event(world, event):
    """No secret, no control character, no fault of the proxy's own."""
    counts(world)
    text = formatEvent(event)
    world.note("log", text.replace(str(world.config.path.parent), "."))
    if event.get("log_failure") is not None:
        world.forbid(f"a failure was logged: {event['log_failure'].getTraceback()}")
    elif event["log_level"] is LogLevel.critical and event["log_namespace"] != "mailproxy.ledger":
        world.forbid(f"a critical event was logged: {text}")
    elif owners(text.encode()):
        world.forbid(f"a secret was logged: {text}")
    elif CONTROL.search(text):
        world.forbid(f"an event with control characters was logged: {text!r}")


def counts(world):
    """Every session of every listener is active or has one outcome, and nobody counts otherwise."""
    for log in world.logs:
        if not log.counters.adds_up:
            world.forbid(f"{log.label}: sessions, active ones and outcomes do not add up: {log.counters}")


def look_at_what_operators_see(world):
    """No secret is in statistics or metrics, nor a line of anybody else's making."""
    seen = world.service.observations()
    for text in (render(seen), exposition(seen, "application/openmetrics-text")[1].decode()):
        if owners(text.encode()):
            world.forbid(f"a secret is in what operators see: {text}")
        if not all(_SEEN.fullmatch(line) for line in text.splitlines()):
            world.forbid(f"a line that is none of ours is in what operators see: {text}")


def at_rest(world):
    """Nobody will do anything any more, and nobody has told the proxy to stop: every session has ended by itself."""
    if world.seed % 4 == 0:
        look_at_what_operators_see(world)
    for seat in world.door.taken():
        world.forbid(f"a session at {seat.place.owner} does not end")
    left = [call.func for call in world.reactor.getDelayedCalls()]
    if left:
        world.forbid(f"delayed calls that come too late: {left}")


def look_back(world):
    """The world is as it was before, and everybody's story fits the others'."""
    _base_line(world)
    _outcomes(world)
    for client in world.clients:
        client.look_back()
    _pop3_quits(world)
    _sunny(world)
    world.auditor.look_back()


def _base_line(world):
    if world.reactor.getDelayedCalls():
        world.forbid(f"delayed calls are left: {[call.func for call in world.reactor.getDelayedCalls()]}")
    if world.transports:
        world.forbid(f"{len(world.transports)} connections are left open")
    if world.reactor.ports:
        world.forbid(f"ports are left open: {sorted(world.reactor.ports)}")
    if world.protocols:
        world.forbid(f"{len(world.protocols)} protocols are still in memory: {list(world.protocols)}")
    if world.most_buffered > world.plan.high_mark + MOST_READ:
        world.forbid(f"{world.most_buffered} octets were in one buffer")
    if world.heaviest > 2 * (world.plan.high_mark + MOST_READ) + MOST_KEPT:
        world.forbid(f"a session kept {world.heaviest} octets")


def _outcomes(world):
    total = 0
    for log in world.logs:
        counters = log.counters
        total += counters.sessions
        if counters.active or counters.sessions != sum(counters.outcomes.values()):
            world.forbid(f"{log.label}: sessions and outcomes differ: {counters}")
        if counters.outcomes["internal_error"]:
            world.forbid(f"{log.label}: internal_error")
        _measured(world, log)
    if total != len(world.clients):
        world.forbid(f"{len(world.clients)} clients made {total} sessions")
    if world.door.taken() or world.service._rooms.taken:
        world.forbid(f"places are left that nobody has: {world.service._rooms.taken}")


def _measured(world, log):
    """What was measured is there as often as what it was measured of."""
    counters = log.counters
    durations = counters.durations
    if sum(durations.session.counts) != counters.sessions - sum(counters.turned_away.values()):
        world.forbid(f"{log.label}: {sum(durations.session.counts)} sessions were measured: {counters}")
    delivered = counters.replies["upstream.content.2xx"]
    if sum(durations.transaction.counts) > counters.events["transaction"] or delivered > counters.events["message"]:
        world.forbid(f"{log.label}: more ends of transactions than transactions: {counters}")
    if any(number > counters.sessions for number in counters.seen.values()):
        world.forbid(f"{log.label}: more was the case than there were sessions: {counters}")


def _pop3_quits(world):
    """QUIT goes upstream only because this client sent it."""
    quits = [tap for tap in world.taps.values() if isinstance(tap, POP3Tap) and tap.quit]
    for tap in quits:
        if tap.session is not None and not tap.session.sent_quit:
            world.forbid(f"{tap.name}: QUIT, which {tap.session.name} did not send")
    for owner in {tap.owner for tap in quits}:
        sent = [client for client in world.clients if client.place.owner == owner and client.sent_quit]
        if len(sent) < len([tap for tap in quits if tap.owner == owner]):
            world.forbid(f"more QUITs at {owner} than clients sent")


def _sunny(world):
    """Where nothing goes wrong, everything goes well."""
    if world.plan.trouble or world.plan.mischief or world.plan.ends or world.plan.crowded:
        return
    for tap in world.taps.values():
        if isinstance(tap, MailTap) and tap.garbled:
            world.forbid(f"{tap.name} heard what is no reply")
    refused = {message.client for message in world.messages.values() if world.must_be_refused(message)}
    for client in world.clients:
        excused = client.place.destination == "lax" or client.drained_with or client in refused
        if not excused and client.sent_quit != client.goodbye:
            world.forbid(f"{client.name} did not come to its QUIT although nothing went wrong")
