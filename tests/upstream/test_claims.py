"""Who waits for a connection: in order, for one that will do, and not for ever."""

import pytest
from attrs import evolve
from twisted.internet.task import Clock

from mailproxy.destination.model import Password
from mailproxy.errors import DestinationUnavailable, LimitReached
from mailproxy.upstream.claims import Claim, Claims
from tests.upstream.pools import CHANNEL, Stream, other


def make(number, *, clock=None, channel=CHANNEL, fresh=False):
    claim = Claim(clock or Clock(), number, 20.0, lambda _: None, fresh=fresh)
    claim.channel = channel
    return claim


def stream_of(channel, *, reused=False):
    stream = Stream(Clock(), channel.login, over_tls=False)
    stream.channel, stream.reused = channel, reused
    return stream


def test_a_connection_is_for_the_first_one_that_may_have_it():
    claims = Claims()
    elsewhere = make(1, channel=other(way="globex"))
    looking_up = make(2, channel=None)
    fresh = make(3, fresh=True)
    any_will_do = make(4)
    for claim in (elsewhere, looking_up, fresh, any_will_do):
        claims.add(claim)
    assert claims.ready() == [elsewhere, fresh, any_will_do]
    assert claims.first(stream_of(CHANNEL, reused=True)) is any_will_do
    assert claims.first(stream_of(CHANNEL, reused=True)) is None
    assert claims.first(stream_of(CHANNEL)) is fresh
    assert list(claims) == [elsewhere, looking_up]


def test_one_that_was_made_for_it_will_do_whatever_was_looked_up_before():
    claim = make(5)
    renewed = stream_of(other(credentials=Password("alice", "renewed")))
    assert not claim.accepts(renewed)
    assert not claim.accepts(renewed, begun=4)
    assert claim.accepts(renewed, begun=6)


@pytest.mark.parametrize(("channel", "kind"), [(None, DestinationUnavailable), (CHANNEL, LimitReached)])
def test_its_time_is_bounded(channel, kind):
    clock, late = Clock(), []
    claim = make(1, clock=clock, channel=channel)
    claim.bound(late.append)
    clock.advance(19.9)
    assert late == []
    clock.advance(0.2)
    assert late == [claim]
    assert isinstance(claim.late(), kind)
    assert not clock.getDelayedCalls()


def test_a_channel_is_compared_in_full():
    equal = evolve(CHANNEL, login=evolve(CHANNEL.login, credentials=Password("alice", "secret")))
    assert equal is not CHANNEL
    assert make(1).accepts(stream_of(equal))
    assert "secret" not in repr(CHANNEL)
