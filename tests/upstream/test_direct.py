"""Without a pool each session has a connection that nobody had before."""

import pytest
from twisted.internet.defer import Deferred

from mailproxy.observe.observation import PoolFigures
from mailproxy.upstream.direct import Direct
from tests.support.transports import Network
from tests.upstream.pools import GIVEN_BACK, OFFERED, QUIT_SECONDS, Connector


@pytest.mark.parametrize("more", [{}, {"reset": True, "sound": False}])
def test_what_a_session_had_says_goodbye(more):
    network = Network()
    connector = Connector(network)
    direct = Direct(lambda: connector.open(20.0), QUIT_SECONDS)
    opened = []
    direct.open(fresh=True).addCallback(opened.append)
    direct.open().addCallback(opened.append)
    first, second = opened
    assert first is not second
    direct.take_back(first, **GIVEN_BACK | more)
    network.settle()
    assert connector.servers[first].hear() == b"QUIT\r\n"
    direct.open().addCallback(opened.append)
    assert opened[2] not in (first, second)
    network.advance(QUIT_SECONDS + 0.1)
    assert first.transport is None


def test_what_is_in_use_is_told():
    connector = Connector(Network())
    direct = Direct(lambda: connector.open(20.0), QUIT_SECONDS)
    connector.manual = True
    opened = []
    direct.open().addCallback(opened.append)
    assert direct.figures() == PoolFigures(opening=1)
    connector.succeed()
    assert direct.figures() == PoolFigures(in_use=1, made=1)
    opened[0].abort()
    connector.network.settle()
    assert direct.figures() == PoolFigures(made=1)


def test_nothing_is_known_of_the_mail_server():
    assert Direct(Connector(Network()).open, QUIT_SECONDS).known() is None


def test_the_mail_server_is_told_of_a_client_if_there_is_one():
    asked = []
    direct = Direct(lambda **about: asked.append(about) or Deferred(), QUIT_SECONDS)
    direct.open(fresh=True)
    direct.introduce("the client")
    assert asked == [{}, {"client": "the client"}]


def test_what_a_mail_server_offers_again_is_kept_once():
    connector = Connector(Network())
    direct = Direct(lambda: connector.open(20.0), QUIT_SECONDS)
    opened = []
    for _ in range(2):
        direct.open().addCallback(opened.append)
    first, second = opened
    assert first.capabilities == OFFERED
    assert first.capabilities is second.capabilities
